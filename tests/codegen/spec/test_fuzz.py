"""Whatever a file holds, reading it gives a spec or a SpecError."""

from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codegen.errors import SpecError
from codegen.language import equations, expressions
from codegen.language.check import read_text
from codegen.language.keys import keys
from codegen.language.load import load
from codegen.language.spec import MIXERS, MLPS, WIRINGS, Spec

SPECS = sorted((Path(__file__).parents[3] / "specs").rglob("*.yaml"))
TEXTS = [path.read_text(encoding="utf-8") for path in SPECS]
WORDS = [*keys(Spec), *MIXERS, *MLPS, *WIRINGS, "kind", "by", "when", "kinds", "layers", "variants", "name", "config"]
WORDS += ["why", "none", "head", "config.layer_types[layer]", "x = mlp(x)", "names", "fused", "parts", "bias", "over"]
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=12)
names = st.sampled_from(WORDS) | st.integers(-2, 2) | st.booleans() | st.text(max_size=6)
trees = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5))


def reads(text: str | bytes) -> None:
    """Anything but a spec or a SpecError fails the test; every problem has a place and a message."""
    try:
        read_text(text, "fuzz.yaml")
    except SpecError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.location.file == "fuzz.yaml" and problem.location.line >= 1 and problem.message


@QUICK
@given(st.dictionaries(names, trees, max_size=6))
def test_any_mapping(tree: dict[object, object]) -> None:
    reads(yaml.safe_dump({"name": "llama", **tree}, allow_unicode=True))


@QUICK
@given(st.text() | st.binary())
def test_any_text(text: str | bytes) -> None:
    try:
        load(text, "fuzz.yaml")
    except SpecError as error:
        assert error.problems


@QUICK
@given(st.sampled_from(TEXTS), st.data())
def test_a_spec_with_a_few_characters_changed(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        gone = data.draw(st.integers(0, 8))
        text = text[:at] + data.draw(st.text("{}[]():,.=*&!|>-'\"#%@`\n a1xσ\u202e", max_size=4)) + text[at + gone :]
    reads(text)


@QUICK
@given(st.sampled_from(TEXTS), st.sampled_from(TEXTS), st.data())
def test_lines_of_two_specs_mixed(first: str, second: str, data: st.DataObject) -> None:
    lines = first.splitlines(keepends=True)
    more = second.splitlines(keepends=True)
    cut = data.draw(st.integers(0, len(lines)))
    reads("".join(lines[:cut] + more[data.draw(st.integers(0, len(more))) :]))


pieces = st.sampled_from(
    ["config", ".a", "[layer]", "(", ")", "x", "+", "*", " not ", " if ", " else ", "is None", "lambda", ":", "'a'"]
    + [
        "1",
        "1e9",
        "mlp",
        "norm",
        ",",
        "softcap",
        "sqrt",
        "=",
        "**",
        "{",
        "}",
        "for x in",
        "f'",
        "\\",
        "\n",
        "__class__",
    ]
)


@QUICK
@given(st.lists(pieces, max_size=12).map("".join) | st.text(max_size=30))
def test_any_expression_and_equation(text: str) -> None:
    for parse in (expressions.parse, equations.parse):
        try:
            parsed = parse(text)
        except expressions.Refused as refused:
            assert refused.message
        else:
            assert parsed.text.isascii()


@QUICK
@given(st.sampled_from("([{-~"), st.integers(1, 2000))
def test_deep_nesting(bracket: str, depth: int) -> None:
    for text in (bracket * depth, bracket * depth + "1" + {"(": ")", "[": "]", "{": "}"}.get(bracket, "") * depth):
        try:
            expressions.parse(text)
        except expressions.Refused:
            continue
