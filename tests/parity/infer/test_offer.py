"""Two changes at once."""

import pytest

from nemo_automodel.parity.infer.offer import SAID, Offer


@pytest.mark.parametrize(
    ("first", "second", "fits"),
    [
        ((("output",), ["logits = lm_head(x)"]), (("output", "keys"), "x"), False),
        (
            (("checkpoint",), {"fused": {"qkv": ["q", "k"]}}),
            (("checkpoint", "fused", "qkv", "parts"), ["k", "q"]),
            False,
        ),
        ((("rope",), "none"), (("rope", "layout"), "interleaved"), True),
        ((("rope",), {"theta": 1.0}), (("rope", "layout"), "interleaved"), True),
        ((("variants",), [{"when": "config.x"}]), (("variants", 0, "rope"), "none"), True),
        ((("rope",), "none"), (("rope_kind", "x"), 1), True),
        ((("output", "keys"), "x"), (("output",), ["logits = lm_head(x)"]), True),  # which it gives way to
    ],
)
def test_nothing_is_put_by_its_name_within_a_list(first, second, fits):
    one, other = Offer((first,), SAID), Offer((second,), SAID)
    assert one.fits(other) is fits
    if fits:
        assert one.with_(other).made({})
    else:
        with pytest.raises(TypeError):
            one.with_(other).made({})


def test_two_changes_under_one_condition_are_put_into_one_entry():
    entry = ("variants",), [{"when": "config.alibi"}]
    one, other = (Offer((entry, (("variants", 0, name), value)), SAID) for name, value in (("rope", "none"), ("x", 1)))
    assert one.with_(other).made({}) == {"variants": [{"when": "config.alibi", "rope": "none", "x": 1}]}


def test_what_is_said_of_one_kind_of_layers_may_be_said_of_all():
    path = ("layers", 0, "kinds", "sliding", "rope", "layout")
    assert Offer(((path, "interleaved"),), SAID, True).of_all() == Offer(((path[-2:], "interleaved"),), SAID)
    assert Offer(((path[-2:], "interleaved"),), SAID).of_all() is None
    assert Offer(((path[:4], {}),), SAID, True).of_all() is None
    assert Offer(((path, "interleaved"), (("norm",), "layernorm")), SAID, True).of_all() is None
