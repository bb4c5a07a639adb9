"""The loader: what it reads as what, and what it refuses where."""

import pytest

from codegen.errors import SpecError
from codegen.language.load import MAX_BYTES, load


def plain(text: str) -> object:
    return load(text, "s.yaml").plain()


def refused(text: str | bytes) -> str:
    with pytest.raises(SpecError) as caught:
        load(text, "s.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1e-6", 1e-6), ("1.0e-6", 1e-6), ("5", 5), ("-1", -1), ("0.0", 0.0), ("1.", 1.0), ("true", True)),
        *(
            ("false", False),
            ("null", None),
            ("~", None),
            ("none", "none"),
            ("-inf", "-inf"),
            ("'0'", "0"),
            ('"2"', "2"),
        ),
        *((word, word) for word in ("yes", "no", "on", "off", "y", "n", "Yes", "OFF", "TRUE")),
        *((word, word) for word in ("1_000", "0x10", "0o7", "017", "12:30", "2001-01-01", ".inf", "nan", "=", "<<")),
        *(("1e999", "1e999"), ("12345678901234567890123", "12345678901234567890123"), ("+5", 5)),
        ("config.layer_types[layer]", "config.layer_types[layer]"),
        ("not config.a[layer] == 3", "not config.a[layer] == 3"),
    ],
)
def test_scalars(text: str, value: object) -> None:
    found = plain(f"a: {text}")
    assert found == {"a": value} and type(found["a"]) is type(value)


def test_text_over_several_lines_is_one_line() -> None:
    assert plain("a: >-\n  one\n  two\nb: |\n  x\n  y\nc: 'p\n  q'\n") == {"a": "one two", "b": "x y", "c": "p q"}


def test_line_ends_of_windows() -> None:
    assert plain("a: 1\r\nb: {c: 2}\r\n") == {"a": 1, "b": {"c": 2}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {a: 1, a: 2}", "s.yaml:2:11: b: key 'a' stands here twice; the first is in line 2"),
        ("a: 1\na: 2", "s.yaml:2:1: file: key 'a' stands here twice; the first is in line 1"),
        ("a: {1: x, 1: y}", "s.yaml:1:11: a: key 1 stands here twice"),
        ("a: &x 1", "s.yaml:1:4: a: anchor &x"),
        ("a: *x", "s.yaml:1:4: a: alias *x"),
        ("a: &x [1]\nb: *x", "s.yaml:1:4: a: anchor &x"),
        ("a: !!python/object/apply:os.system [ls]", "s.yaml:1:4: a: tag tag:yaml.org,2002:python"),
        ("a: !!str 1", "s.yaml:1:4: a: tag"),
        ("!x a: 1", "s.yaml:1:1: file: tag"),
        ("a: \u202eb", "s.yaml:1:4: file: hidden character U+202E"),
        ("a: 1\nb: x\u200by", "s.yaml:2:5: file: hidden character U+200B"),
        ('a: "\\u202e"', "s.yaml:1:4: a: hidden character U+202E"),
        ('a: "\\x1b[31m"', "s.yaml:1:4: a: hidden character U+001B"),
        ("a: \x07", "hidden character U+0007"),
        ("", "the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("- a", "a spec is a mapping"),
        ("a", "a spec is a mapping"),
        ("a: 1\n---\nb: 2", "s.yaml:2:1: file: a second document"),
        ("a:", "s.yaml:1:3: a: a key without a value"),
        ("? [1]\n: 2", "a key must be a word or an integer"),
        ("1.5: a", "a key must be a word or an integer"),
        ("a: b: c", "quote the value"),
        ("a: 'b", "no valid YAML"),
        ("\ta: 1", "no valid YAML"),
        ("a: " + "[" * 40 + "]" * 40, "nested more than 32 levels deep"),
        (b"a: \xff", "s.yaml:1:1: file: the file is not UTF-8"),
    ],
)
def test_refused(text: str | bytes, message: str) -> None:
    assert message in refused(text)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("layers: {by: config.layer_types[layer]}", '"config.layer_types[layer]"'),
        ("layers:\n  - {when: not config.no_rope[layer], rope: none}", '"not config.no_rope[layer]"'),
        ("rope: {a: 1, theta: config.thetas[layer] * 2}", '"config.thetas[layer] * 2"'),
        ("block: [x = config.m[layer] * x, y = x]", '"x = config.m[layer] * x"'),
    ],
)
def test_a_subscript_inside_braces_says_what_to_quote(text: str, quoted: str) -> None:
    message = refused(text)
    assert "inside {} or [] an expression with [ ] { } , or ': ' must be quoted" in message
    assert f"write {quoted}" in message


def test_a_file_that_is_too_large() -> None:
    assert f"more than {MAX_BYTES}" in refused("a: " + "x" * MAX_BYTES)


def test_a_bomb_is_refused_at_its_first_anchor() -> None:
    levels = ["a: &a [x, x]"] + [f"{b}: &{b} [*{a}, *{a}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    assert refused("\n".join(levels)).startswith("s.yaml:1:4: a: anchor &a")


def test_nodes_know_their_place() -> None:
    root = load("name: x\nattention:\n  kind: gqa\n  bias: {q: true}\n", "s.yaml")
    assert str(root.find(("attention", "bias", "q"))) == "s.yaml:4:13"
    assert str(root.find(("attention", "bias", "q"), key=True)) == "s.yaml:4:10"
    assert str(root.find(("attention", "nothing"))) == "s.yaml:3:3"
