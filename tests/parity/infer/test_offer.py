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
