"""What holds of every model whose mixers carry states from token to token: caches, padding, packed documents."""

import pytest
import torch
from transformers import DynamicCache, StaticCache

SETTINGS = {"max_new_tokens": 8, "do_sample": False}


def ids(length=11, rows=2):
    return torch.randint(3, 60, (rows, length), generator=torch.Generator().manual_seed(2))


class StateTests:
    """The tests; a class of a mixer gives `model(backend=None, **fields)`, in eval mode.

    sums: the field of the backend that chooses between its forms. packed: fields of the config for packed documents.
    attends: whether some layers attend, and so read positions. equal: how logits are compared.
    """

    packed = {}
    attends = True
    equal = staticmethod(torch.testing.assert_close)

    @staticmethod
    def cache(made, length=None):
        """An empty one, of transformers' own making; static where it has a length."""
        if length is None:
            return DynamicCache(config=made.config)
        return StaticCache(config=made.config, max_cache_len=length)

    def test_forms_agree(self):
        wanted = self.model()(input_ids=ids(70)).logits
        self.equal(self.model(backend={self.sums: "stepwise"})(input_ids=ids(70)).logits, wanted)

    @pytest.mark.parametrize("steps", [(11,), (1,) * 11, (2, 1, 5, 3), (7, 4)])
    @pytest.mark.parametrize("static", [False, True])
    @torch.no_grad()
    def test_pieces_equal_the_whole(self, steps, static):
        made = self.model()
        cache = self.cache(made, 16 if static else None)
        found = [made(input_ids=one, past_key_values=cache).logits for one in ids().split(steps, dim=1)]
        self.equal(torch.cat(found, dim=1), made(input_ids=ids(), use_cache=False).logits)

    @torch.no_grad()
    def test_padding_on_either_side_changes_nothing(self):
        made, text = self.model(), ids(7)
        wanted, zeros = made(input_ids=text).logits, torch.zeros(2, 3, dtype=torch.long)
        for order, place in ((("pad", "text"), slice(3, None)), (("text", "pad"), slice(7))):
            padded = torch.cat([{"pad": zeros, "text": text}[one] for one in order], dim=1)
            mask = torch.cat([{"pad": zeros, "text": torch.ones_like(text)}[one] for one in order], dim=1)
            positions = {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)} if self.attends else {}
            found = made(input_ids=padded, attention_mask=mask, **positions).logits
            self.equal(found[:, place], wanted)

    @torch.no_grad()
    def test_packed_documents_do_not_see_each_other(self):
        """The second is longer than a chunk."""
        made, text = self.model(**self.packed), ids(71, rows=1)
        positions = torch.cat((torch.arange(4), torch.arange(67)))[None]
        found = made(input_ids=text, position_ids=positions, use_cache=False).logits
        wanted = [made(input_ids=one, use_cache=False).logits for one in text.split((4, 67), dim=1)]
        self.equal(found, torch.cat(wanted, dim=1))

    @pytest.mark.parametrize("how", [{"num_beams": 3}, {"cache_implementation": "static"}])
    def test_generation_equals_that_without_a_cache(self, how):
        made, text = self.model(), ids(6).repeat(1, 2)
        plain = {name: value for name, value in how.items() if name == "num_beams"}
        wanted = made.generate(text, **SETTINGS, **plain, use_cache=False)
        assert torch.equal(made.generate(text, **SETTINGS, **how, disable_compile=True), wanted)

    def test_a_cache_without_states_says_so(self):
        with pytest.raises(ValueError, match="layer 0 of this DynamicCache holds no states"):
            self.model()(input_ids=ids(), past_key_values=DynamicCache())


class RecurrentTests(StateTests):
    """Of mixers whose states remember all that was before, and cannot forget the last of it."""

    @torch.no_grad()
    def test_padding_on_the_right_leaves_the_state_as_it_is(self):
        made, text = self.model(), ids(7)
        states = []
        for padding in (0, 3):
            cache = self.cache(made)
            padded = torch.nn.functional.pad(text, (0, padding))
            made(input_ids=padded, attention_mask=(padded != 0).long(), past_key_values=cache)
            states.append(cache.layers[0].recurrent_states[0])
        torch.testing.assert_close(*states)

    def test_what_would_have_to_go_back_is_refused(self):
        with pytest.raises(ValueError, match="a recurrent state cannot be cropped"):
            self.model().generate(ids(6, 1).repeat(1, 2), **SETTINGS, prompt_lookup_num_tokens=3)
