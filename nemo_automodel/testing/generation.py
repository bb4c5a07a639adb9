"""Generation: with and without a cache, greedily, by beams and by sampling; always what the reference writes."""

import pytest
import torch

from nemo_automodel.parity import end_to_end
from nemo_automodel.testing.asserting import all_pass
from nemo_automodel.testing.binding import Binding


class GenerationContract(Binding):
    def test_cached_logits_equal_uncached(self, main, backend):
        all_pass(end_to_end.compare_cache(self.ours(main, backend), self.batches("plain", "left")))

    def test_greedy_equals_the_reference(self, main, backend):
        """Token by token, on a batch with and without left padding."""
        batches = self.batches("plain", "left")
        all_pass(end_to_end.compare_generation(self.given(main), self.fresh(main, backend), batches))

    @pytest.mark.parametrize(
        "options", [{"use_cache": False}, {"cache_implementation": "static"}], ids=["none", "static"]
    )
    def test_greedy_is_the_same_with_every_cache(self, main, backend, options):
        model, batch = self.fresh(main, backend), self.batch("left")
        assert torch.equal(end_to_end.greedy(model, batch, **options), end_to_end.greedy(model, batch))

    @pytest.mark.parametrize("attention", ["sdpa", "eager"])
    def test_greedy_with_the_default_attention(self, main, attention):
        batch = self.batch("left")
        model = self.fresh(main, attention=None) if attention == "sdpa" else self.fresh(main)
        wanted = end_to_end.reference_greedy(self.given(main), batch)
        for options in ({}, {"cache_implementation": "static"}):
            assert torch.equal(end_to_end.greedy(model, batch, **options), wanted)

    searched = "left"

    def expected(self, variant, batch, **options):
        """What the reference writes. Ours without a cache stands in for a plain reference, which knows greedy only, and
        in sampling for one that must be asked about each text alone: the same numbers would not be drawn."""
        reference = self.given(variant)
        if not self.in_transformers or (self.positions != "given" and options.get("do_sample")):
            model = self.fresh(variant)
            torch.manual_seed(11)
            return end_to_end.greedy(model, batch, **options, use_cache=False)
        torch.manual_seed(11)
        return end_to_end.reference_greedy(reference, batch, **options)

    @pytest.mark.parametrize(
        "options",
        [{"num_beams": 3}, {"do_sample": True, "temperature": 0.7, "top_k": 20}],
        ids=["beams", "sampling"],
    )
    def test_search_equals_the_reference(self, main, backend, options):
        batch = self.batch(self.searched)
        wanted = self.expected(main, batch, **options)
        model = self.fresh(main, backend)
        torch.manual_seed(11)
        assert torch.equal(end_to_end.greedy(model, batch, **options), wanted)
