"""What single fields of a config say."""

import pytest

from codegen.configs import table
from codegen.new.body import Body
from codegen.new.signs import follow
from codegen.new.values import values

PLAIN = {"rope_type": "default", "rope_theta": 37.0}
KINDS = ["full_attention", "sliding_attention"]


def parameters(given, body):
    published = {"model_type": "unheard_of", "num_hidden_layers": 2, "layer_types": KINDS, "rope_parameters": given}
    follow(body, values(published, "UnheardOfConfig", table()), lambda _: False)
    return body.get("rope", "parameters")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (dict.fromkeys(KINDS, PLAIN), "config.rope_parameters[config.layer_types[layer]]"),
        ({KINDS[0]: PLAIN, KINDS[1]: None}, "config.rope_parameters[config.layer_types[layer]]"),
        (PLAIN, None),
        ({KINDS[0]: PLAIN}, None),  # which says nothing of the others
    ],
)
def test_parameters_by_kind_are_read_by_it(given, told):
    assert parameters(given, Body({})) == told


def test_what_the_nearest_spec_says_of_positions_stays():
    assert parameters(dict.fromkeys(KINDS, PLAIN), Body({"rope": "none"})) is None
    assert parameters(dict.fromkeys(KINDS, PLAIN), Body({"rope": {"parameters": "config.x"}})) == "config.x"
