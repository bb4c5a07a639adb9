"""Attributes and signatures that transformers' tools read, most of them without saying so."""

import inspect

import torch
from transformers import PreTrainedConfig

from nemo_automodel.parity import end_to_end
from nemo_automodel.testing.asserting import close
from nemo_automodel.testing.binding import Binding


class InterfaceContract(Binding):
    def test_the_registry_knows_the_architecture(self):
        model = self.auto_class.from_config(self.config())
        assert type(model) is self.model_class
        assert type(model).__name__ == self.architecture

    def test_signature_of_forward(self):
        """`generate` and the Trainer look for these names; the annotation tells that attentions can be asked for."""
        for model in (self.ours(), self.ours().base_model):
            parameters = inspect.signature(model.forward).parameters
            assert {"input_ids", "attention_mask", "position_ids", "past_key_values", "inputs_embeds"} <= set(
                parameters
            )
            assert "TransformersKwargs" in str(parameters["kwargs"].annotation)
        assert "logits_to_keep" in inspect.signature(self.ours().forward).parameters

    def test_use_cache_comes_from_the_config(self, main):
        """Or from the caller alone, where the config class has no such field (transformers' GPT-1 has no cache)."""
        for wanted in (True, False):
            has_field = hasattr(self.config(main), "use_cache")
            changes, asked = ({"use_cache": wanted}, {}) if has_field else ({}, {"use_cache": wanted})
            with torch.no_grad():
                out = self.fresh(main, **changes)(**self.batch().inputs, **asked)
            assert (out.past_key_values is not None) == wanted

    def test_attention_can_be_set(self):
        model = self.fresh()
        assert model._can_set_attn_implementation()
        model.set_attn_implementation("eager")
        assert {config._attn_implementation for config in configs_of(model)} == {"eager"}

    def test_embeddings_can_be_resized(self, stored, backend, tmp_path):
        model, batch = self.fresh(stored, backend), self.batch()
        before, size = self.logits(model, batch), self.config(stored).get_text_config().vocab_size
        beyond = model.get_input_embeddings().weight[size:].detach().clone()  # rows that are no tokens'
        model.resize_token_embeddings(size + 7)
        after = self.logits(model, batch)
        assert model.config.get_text_config().vocab_size == after.shape[-1] == size + 7
        assert torch.equal(model.get_input_embeddings().weight[size + 7 :], beyond)
        close(after[:, :size], before)
        model.save_pretrained(tmp_path)
        again = self.auto_class.from_pretrained(tmp_path, backend={"projections": backend}, attn_implementation="eager")
        close(self.logits(again, batch), after)

    def test_base_model_is_reachable(self):
        model = self.ours()
        assert model.base_model is getattr(model, model.base_model_prefix)
        assert model.get_decoder() is model.base_model

    def test_config_is_shared(self):
        """`set_attn_implementation` writes into one config, which every attention must read."""
        model = self.ours()
        assert set(map(id, configs_of(model))) == {id(model.config)}

    def test_generation_without_arguments(self):
        batch = self.batch()
        with torch.no_grad():
            tokens = self.fresh().generate(batch.ids, max_new_tokens=3, do_sample=False)
        assert batch.ids.shape[1] < tokens.shape[1] <= batch.ids.shape[1] + 3
        assert end_to_end.greedy(self.fresh(), batch).shape == (batch.ids.shape[0], end_to_end.NEW_TOKENS)


def configs_of(model):
    """The model configs that its modules read (a layer of experts has a config of its own as well)."""
    found = [getattr(module, "config", None) for module in model.modules()]
    return [config for config in found if isinstance(config, PreTrainedConfig)]
