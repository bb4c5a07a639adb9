"""Equations are read off tensors as they were computed: drawn at random, written, computed again."""

import ast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_automodel.parity.infer.wiring import Unit, Wiring, flat, numbers

FIELDS = {"residual": 0.37, "alpha": 1.7, "hidden_size": 48, "layers": 6}
SHAPE = (2, 5, 48)


def drawn(seed):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def act(name, x):
    """A module of that name: nothing that a sum of its inputs would be."""
    weight = torch.randn(48, 48, generator=torch.Generator().manual_seed(sum(map(ord, name)))) / 7
    return torch.sin(x @ weight) + torch.cos(x)


class Traced:
    """Runs equations, and keeps what each call gets and gives."""

    def __init__(self, x):
        self.first, self.units = x, []

    def run(self, lines):
        values = {"x": self.first}
        for line in lines:
            target, _, text = line.partition(" = ")
            values[target] = self._value(ast.parse(text, mode="eval").body, values)
        return values["x"]

    def _value(self, node, values):
        match node:
            case ast.Name():
                return values[node.id]
            case ast.Constant():
                return node.value
            case ast.Attribute():
                return FIELDS[node.attr]
            case ast.Call(func=ast.Name(id="sqrt")):
                return self._value(node.args[0], values) ** 0.5
            case ast.Call():
                given = self._value(node.args[0], values)
                made = act(ast.unparse(node.func), given)
                self.units.append(Unit(ast.unparse(node.func), given, made))
                return made
            case ast.BinOp():
                left, right = self._value(node.left, values), self._value(node.right, values)
                return {ast.Add: torch.add, ast.Mult: torch.mul, ast.Div: torch.div}[type(node.op)](left, right)
        raise TypeError(ast.dump(node))


def read(lines):
    """The equations that are found for a run of these."""
    traced = Traced(drawn(3))
    last = traced.run(lines)
    wiring = Wiring(traced.first, numbers(FIELDS))
    assert all(wiring.add(unit) for unit in traced.units)
    found = wiring.found(flat(last))
    assert found is not None
    return wiring.equations(found), last


@pytest.mark.parametrize(
    "lines",
    [
        ["x = x + attention(norm(x))", "x = x + mlp(other(x))"],
        ["x = norm(x + attention(x))", "x = other(x + mlp(x))"],
        ["x = x + other(attention(norm(x)))", "x = x + fourth(mlp(third(x)))"],
        ["h = norm(x)", "x = x + attention(h) + mlp(h)"],
        ["h = norm(x)", "x = attention(h) + mlp(h) + x"],
        ["x = x + attention(norm(x)) * config.residual", "x = x + mlp(other(x)) * config.residual"],
        ["h = norm(x)", "x = x + (mlp(h) + shared(h)) * config.residual"],
        ["x = x + attention(norm(x)) * (config.alpha / sqrt(config.layers))"],
        ["x = norm(x) / config.alpha"],
        ["x = norm(x)", "x = x * config.alpha + attention(x)"],
    ],
)
def test_equations_are_found_as_they_are_written(lines):
    assert read(lines)[0] == lines


@st.composite
def blocks(draw):
    """Some equations: each part is called once, of a sum of what is there."""
    lines, names = [], ["x"]
    for turn, part in enumerate(draw(st.permutations(["attention", "mlp", "norm", "other"]))):
        terms = draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
        scaled = [
            f"{one} * config.{draw(st.sampled_from(('alpha', 'residual')))}" if draw(st.booleans()) else one
            for one in terms
        ]
        lines.append(f"v{turn} = {part}({' + '.join(scaled)})")
        names.append(f"v{turn}")
    last = draw(st.lists(st.sampled_from(names[:-1]), max_size=2, unique=True))
    return [*lines, f"x = {' + '.join([*last, names[-1]])}"]


@settings(max_examples=60, deadline=None)
@given(blocks())
def test_found_equations_compute_the_same_bits(lines):
    found, wanted = read(lines)
    again = Traced(drawn(3)).run(found)
    torch.testing.assert_close(again, wanted, rtol=1e-5, atol=1e-5)


def test_what_no_sum_makes_is_not_found():
    wiring = Wiring(drawn(3), numbers(FIELDS))
    assert not wiring.add(Unit("mlp", drawn(4), drawn(5)))
    assert wiring.found(flat(drawn(3) * 0.913)) is None  # a factor that no field holds


@pytest.mark.parametrize("name", ["gelu", "tanh"])
def test_a_function_between_two_modules_is_called(name):
    x = drawn(0)
    inner = act("dense", x)
    given = getattr(torch.nn.functional, name)(inner)
    wiring = Wiring(x, numbers(FIELDS))
    assert wiring.add(Unit("dense", x, inner)) and wiring.add(Unit("norm", given, act("norm", given)))
    assert wiring.equations(wiring.found(flat(act("norm", given)))) == [f"x = norm({name}(dense(x)))"]
