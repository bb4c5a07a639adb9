"""The catalog says everything that the language declares, and the committed tables are what they claim to be."""

import json
from copy import deepcopy
from dataclasses import fields

import pytest

from codegen.catalog import axes, axis
from codegen.language import structure
from codegen.language.check import read_text
from codegen.language.keys import Section, keys
from codegen.language.spec import MIXERS, MLPS, PARTS, READY_KINDS, Spec
from codegen.language.values import expression
from codegen.language.vision.sections import ImageTextSpec

# A kind of a section is covered by whatever stands inside that kind.
CHOICES = [
    found
    for found in axes()
    if found.type == "choice" and not (found.name == "kind" and len(found.path) == 2 and found.unready_words)
]


def _classes(cls: type[Section]) -> set[type[Section]]:
    found = {cls}
    for key in keys(cls).values():
        for inner in [*([key.section] if key.section else []), *(key.kinds or {}).values()]:
            found |= _classes(inner)
    return found


def test_every_key_of_every_section_is_an_axis() -> None:
    owned = {(found.owner, found.name) for found in axes()}
    for cls in _classes(Spec):
        for name, key in keys(cls).items():
            if key.kinds is None and not (name == "kind" and cls in PARTS.values()):
                assert (cls, name) in owned, f"{cls.__name__}.{name}"


def test_rules_of_every_key_are_rules_of_cerberus_in_full() -> None:
    """They are trusted where specs are checked: none of them is wrong, or short for others."""
    for cls in _classes(Spec) | _classes(ImageTextSpec):
        for name, key in keys(cls).items():
            if key.type not in ("kinds", "named"):  # whose sections are checked one by one
                rules = {name: structure._rule(key)}
                assert structure.Validator(deepcopy(rules)).schema.schema == rules, f"{cls.__name__}.{name}"


def test_axes_are_unique_and_documented() -> None:
    paths = [found.path for found in axes()]
    assert len(paths) == len(set(paths))
    for found in axes():
        assert found.doc.endswith("."), found.path
        assert found.words or found.type != "choice", found.path


def test_kinds_are_axes_with_what_is_not_ready() -> None:
    assert axis("attention", "kind").words == tuple(MIXERS) and axis("mlp", "kind").words == tuple(MLPS)
    for slot in ("attention", "mlp"):
        unready = set(axis(slot, "kind").words) - set(READY_KINDS[slot])
        assert set(axis(slot, "kind").unready_words) == unready
    assert axis("attention", "gqa", "qk_norm", "over").words == ("head", "projection")
    assert axis("mlp", "gated", "bias").default == "config.mlp_bias, else False"
    with pytest.raises(KeyError):
        axis("attention", "gqa", "nothing")


def test_every_field_is_declared_as_a_key() -> None:
    """A field of a section without metadata would be a key that nothing reads."""
    for cls in _classes(Spec):
        for item in fields(cls):
            assert item.name == "why" or "key" in item.metadata, f"{cls.__name__}.{item.name}"


def test_defaults_parse() -> None:
    for found in axes():
        for text in (found.default or "").split(", else ") if found.type in ("expression", "mapping") else []:
            assert not text or expression(text)


@pytest.mark.parametrize("found", CHOICES, ids=lambda a: ".".join(a.path))
def test_every_word_can_be_written(found) -> None:
    """Each word of each choice is accepted where it stands, and a strange one is refused."""
    for word in (*found.words, "strange"):
        problems = _structural(_document(found.path, word))
        assert bool(problems) == (word == "strange"), (word, problems)


def _document(path: tuple[str, ...], word: object) -> dict[str, object]:
    """A spec in which the key at a path of the catalog holds the word."""
    slot, *steps = path
    kind = steps.pop(0) if slot in ("attention", "mlp", "parts") else None
    value = word
    for step in reversed(steps):
        value = {step: value}
    if kind is not None:
        value = {"kind": kind, **value} if isinstance(value, dict) else value
    return {"name": "llama", slot: {"named": value} if slot == "parts" else value}


def _structural(document: dict[str, object]) -> list[str]:
    from codegen.errors import SpecError

    try:
        read_text(json.dumps(document), "s.yaml")
    except SpecError as error:
        return [str(problem) for problem in error.problems if "is not known" in problem.message]
    return []
