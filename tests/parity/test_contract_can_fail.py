"""The contract notices the traps that transformers' own suite and plain parity let pass."""

import copy

import pytest
import torch
from transformers import PreTrainedModel

from nemo_automodel.components.models.common.causal_lm import CausalLM, DecoderModel
from nemo_automodel.components.models.common.decoder import Decoder
from nemo_automodel.components.models.common.hf_checkpointing_mixin import HFCheckpointingMixin
from nemo_automodel.components.models.common.norm import Norm
from nemo_automodel.components.models.llama.model import LlamaForCausalLM, LlamaModel
from nemo_automodel.testing import ModelContract


@pytest.fixture
def contract(project):
    """A contract with caches of its own: a broken model must not stay in those of others."""

    class Bound(ModelContract):
        architecture = "LlamaForCausalLM"
        model_module = "nemo_automodel.components.models.llama.model"
        config_class = "transformers:LlamaConfig"
        configs = {"base": project.configs["base"]}

    return Bound()


def no_plan(monkeypatch):
    monkeypatch.setattr(Decoder, "init_parallel_plans", lambda self: setattr(self, "_tp_plan", {}))


def no_defaults_from_the_config(monkeypatch):
    monkeypatch.setattr(DecoderModel, "forward", DecoderModel.forward.__wrapped__)


def checkpointing_is_not_switched_on_the_model(monkeypatch):
    deaf = property(lambda self: False, lambda self, value: None)
    monkeypatch.setattr(DecoderModel, "gradient_checkpointing", deaf)


def another_layer_class(monkeypatch):
    monkeypatch.setattr(LlamaModel, "_no_split_modules", ["LlamaBlock"])


def no_dict_of_masks(monkeypatch):
    masks = DecoderModel.masks

    def only_tensors(self, x, attention_mask, *rest):
        return masks(self, x, None if isinstance(attention_mask, dict) else attention_mask, *rest)

    monkeypatch.setattr(DecoderModel, "masks", only_tensors)


def norms_start_at_two(monkeypatch):
    monkeypatch.setattr(Norm, "start", 2.0)


def memory_names_on_disk(monkeypatch):
    monkeypatch.setattr(HFCheckpointingMixin, "save_pretrained", PreTrainedModel.save_pretrained)


def resume_ignores_disk_names(monkeypatch):
    def load_state_dict(self, state_dict, strict=True, assign=False):
        return torch.nn.Module.load_state_dict(self, state_dict, strict=False)

    monkeypatch.setattr(HFCheckpointingMixin, "load_state_dict", load_state_dict)


def own_config_in_attention(monkeypatch):
    init = LlamaForCausalLM.__init__

    def copied(self, config, backend=None):
        init(self, config, backend)
        self.model.layers[0].self_attn.config = copy.copy(config)

    monkeypatch.setattr(LlamaForCausalLM, "__init__", copied)


def no_annotation(monkeypatch):
    def forward(self, input_ids=None, **kwargs):
        return CausalLM_forward(self, input_ids=input_ids, **kwargs)

    CausalLM_forward = CausalLM.forward
    monkeypatch.setattr(CausalLM, "forward", forward)


TRAPS = [
    (no_plan, "test_tensor_parallel_plan_names_what_is_there", ("base", "split")),
    (no_defaults_from_the_config, "test_use_cache_comes_from_the_config", ("base",)),
    (checkpointing_is_not_switched_on_the_model, "test_checkpointing_keeps_no_cache", ("base",)),
    (another_layer_class, "test_no_split_modules_names_the_layers", ("base",)),
    (no_dict_of_masks, "test_masks_as_a_dict", ("base", "split")),
    (norms_start_at_two, "test_start_values_equal_the_reference", ("base", "split")),
    (memory_names_on_disk, "test_saving_a_model_that_was_never_loaded", ("base", "packed")),
    (resume_ignores_disk_names, "test_load_state_dict_takes_disk_names", ("base", "packed")),
    (own_config_in_attention, "test_config_is_shared", ()),
    (no_annotation, "test_signature_of_forward", ()),
]


@pytest.mark.parametrize(("trap", "test", "arguments"), TRAPS, ids=lambda value: getattr(value, "__name__", None))
def test_the_contract_notices(contract, monkeypatch, tmp_path, trap, test, arguments):
    method = getattr(contract, test)
    if "tmp_path" in method.__code__.co_varnames[: method.__code__.co_argcount]:
        arguments = (*arguments, tmp_path / "whole")
    method(*arguments)
    trap(monkeypatch)
    broken = type(contract.__class__.__name__, (contract.__class__,), {})()
    if arguments and arguments[-1] == tmp_path / "whole":
        arguments = (*arguments[:-1], tmp_path / "broken")
    with pytest.raises((AssertionError, KeyError, RuntimeError)):
        getattr(broken, test)(*arguments)
