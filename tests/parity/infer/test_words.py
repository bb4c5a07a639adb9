"""Words of the catalog for what a family means by words of its own."""

import pytest

from nemo_automodel.parity.infer.words import meant

BEFORE = {"act": "gelu", "width": 7}


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("config.act", ["'relu' if config.act == 'gelu' else config.act"]),
        ("'silu' if config.act == 'gelu' else config.act", ["'relu' if config.act == 'gelu' else config.act"]),
        ("config.width", []),  # holds no word
        ("silu", []),  # reads nothing
        (None, []),
    ],
)
def test_one_word_of_a_field_may_mean_another(said, found):
    assert list(meant(said, ["gelu", "relu"], BEFORE)) == found
