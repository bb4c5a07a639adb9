"""Conditions differ from their neighbours on some tiny config, whatever they are made of."""

import ast

import pytest

from codegen.configs import table
from codegen.language.check import read_text
from codegen.language.values import expression
from codegen.tiny.configs import configs
from codegen.tiny.neighbours import neighbours

MOE = "name: qwen3_moe\nmlp: {kind: moe}\nlayers: {when: %s, mlp: gated}\n"


@pytest.mark.parametrize(
    ("condition", "others"),
    [
        ("layer in config.a", {"layer not in config.a"}),
        ("config.a or not config.b", {"config.a", "not config.b", "config.a or config.b"}),
        ("(layer + 1) % config.a", {"(layer - 1) % config.a", "(layer + 2) % config.a"}),
        ("config.a > 0", {"config.a <= 0", "config.a > 1"}),
        ("config.a == 'x'", {"config.a != 'x'"}),
    ],
)
def test_neighbours(condition, others):
    tree = expression(condition).tree
    assert {ast.unparse(other) for other in neighbours(tree)} == others
    assert ast.unparse(tree) == condition  # it is left as it was


@pytest.mark.parametrize(
    ("condition", "fields"),
    [
        ("layer in config.mlp_only_layers or (layer + 1) % config.decoder_sparse_step", {"mlp_only_layers"}),
        ("(layer + 1) % config.decoder_sparse_step", {"decoder_sparse_step"}),
        ("layer in config.mlp_only_layers", set()),
    ],
)
def test_what_the_base_does_not_show_another_config_does(condition, fields):
    found = configs(read_text(MOE % condition, "specs/x.yaml"), table())
    base, others = found["base"], [value for name, value in found.items() if name.startswith("value_")]
    changed = {field for other in others for field in other if other[field] != base.get(field)}
    assert changed >= fields and bool(changed) == bool(fields)
