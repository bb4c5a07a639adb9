"""Levels 2 and 3 of the proof: components and whole models against the reference, in fp32 and bf16."""

import pytest
import torch

from nemo_automodel.parity import components, end_to_end
from nemo_automodel.parity.bits import other_bits
from nemo_automodel.parity.ours import has_one_order
from nemo_automodel.testing.asserting import all_pass, close
from nemo_automodel.testing.binding import Binding, summed_alike


class NumericsContract(Binding):
    def test_logits_have_one_row_a_token(self, main, backend):
        batch = self.batch()
        out = self.ours(main, backend)(**batch.inputs)
        assert out.logits.shape == (*batch.ids.shape, self.config(main).get_text_config().vocab_size)
        assert out.logits.dtype == torch.float32
        assert out.loss is None

    def test_components_equal_the_reference(self, variant, backend):
        all_pass(components.compare(self.given(variant), self.ours(variant, backend), self.batch()))

    def test_components_in_bf16(self, main, backend):
        ours = self.ours(main, backend, torch.bfloat16)
        all_pass(components.compare_in_bf16(self.given(main), ours, self.batch()))

    def test_model_equals_the_reference(self, variant, backend):
        """Hidden states, logits, loss and every gradient, on batches without, with left and with right padding."""
        all_pass(end_to_end.compare(self.given(variant), self.ours(variant, backend), self.batches()))

    def test_keywords_of_the_loss(self):
        """Labels that are shifted already, another number for those that do not count, another count to divide by."""
        batch = self.batch("left")
        labels = torch.nn.functional.pad(batch.labels, (0, 1), value=-100)[:, 1:]
        labels = labels.masked_fill(labels == -100, 5)
        options = {"labels": labels, "shift_labels": labels, "ignore_index": 5, "num_items_in_batch": torch.tensor(9)}
        losses = [
            model(**batch.inputs, **options).loss.detach()
            for model in (self.ours(), self.given().model)
            if model is self.ours() or self.in_transformers
        ]
        close(losses[0], losses[-1])
        del options["ignore_index"]
        assert self.ours()(**batch.inputs, **options).loss != losses[0]

    def test_values_that_the_spec_compares_with(self, value):
        """Without a cache: transformers makes none where every layer has a state."""
        ours, reference = self.ours(value), self.given(value).model
        close(*(self.logits(model, self.batch("short"), use_cache=False) for model in (ours, reference)))

    def test_model_in_bf16(self, variant, backend):
        ours = self.ours(variant, backend, torch.bfloat16)
        all_pass(end_to_end.compare_in_bf16(self.given(variant), ours, self.batches("plain", "left")))

    def test_bf16_equals_the_reference_bit_for_bit(self, main):
        """Projections apart, eager attention: every dtype and every order of additions is the reference's, but those of
        states, which are summed chunk by chunk: what holds one is within the bound of the test above."""
        ours, reference, batch = self.ours(main, "split", torch.bfloat16), self.given(main).in_bf16, self.batch()
        ours = summed_alike(ours, reference)
        if has_one_order(ours):
            assert torch.equal(self.logits(ours, batch), self.logits(reference, batch)), other_bits(
                ours, reference, batch
            )
        else:
            assert not other_bits(ours, reference, batch)

    def test_default_attention_equals_the_reference(self, main, backend):
        """What a caller gets who names no implementation: sdpa, unless the model soft-caps its scores."""
        reference = self.given(main)
        ours = self.auto_class.from_pretrained(reference.folder, backend={"projections": backend}).eval()
        for batch in self.batches().values():
            close(self.logits(ours, batch), self.logits(reference.model, batch))

    def test_sdpa_is_refused_where_scores_are_capped(self, main):
        """transformers' sdpa drops the cap without a word, and is the default."""
        capped = any(getattr(module, "softcap", None) for module in self.ours(main).modules())
        assert not (capped and self.model_class._supports_sdpa)
        if self.model_class._supports_sdpa:
            ours = self.fresh(main)
            ours.set_attn_implementation("sdpa")
            close(self.logits(ours, self.batch("left")), self.logits(self.given(main).model, self.batch("left")))
        else:
            assert self.model_class._from_config(self.config(main)).config._attn_implementation == "eager"
            with pytest.raises(ValueError, match="scaled_dot_product_attention"):
                self.model_class._from_config(self.config(main), attn_implementation="sdpa")
