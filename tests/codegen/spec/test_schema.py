"""The JSON Schema gives the checker's verdicts on structure: over all specs and over hundreds of broken ones."""

import copy
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from codegen.configs import table
from codegen.errors import Problem
from codegen.language.check import of_images
from codegen.language.frame import FRAME, FrameReader
from codegen.language.load import Node, load
from codegen.language.reference import reference_page
from codegen.language.resolve import Resolver
from codegen.language.schema import json_schema, schema_text
from codegen.language.splits import SECTIONS
from codegen.language.values import NOWHERE

ROOT = Path(__file__).parents[3]
# Specs of models that take images have no JSON Schema yet: `codegen check` alone knows their sections.
SPECS = [path for path in sorted((ROOT / "specs").rglob("*.yaml")) if not of_images(path)]
SCHEMA = jsonschema.Draft202012Validator(json_schema())
# Problems that need the config class or what lies below an overlay, or stand inside an expression.
OF_THE_CONFIG = (
    r": tests\.(tiny|also\.\d+)\.",
    r": (variants|layers)\..*: needs a kind",
    "has no model type",
    "has no config class",
    "has no causal",
    "no such field",
    "has no field",
    "no kind is known",
    "known names:",
)
TREES = [load(path.read_bytes(), path.name).plain() for path in SPECS]


def as_json(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {str(name): as_json(child) for name, child in tree.items()}
    return [as_json(child) for child in tree] if isinstance(tree, list) else tree


def as_node(tree: Any) -> Node:
    if isinstance(tree, dict):
        return Node({k: as_node(v) for k, v in tree.items()}, NOWHERE, key_at=dict.fromkeys(tree, NOWHERE))
    return Node(tuple(map(as_node, tree)), NOWHERE) if isinstance(tree, list) else Node(tree, NOWHERE)


def structural(tree: Any) -> list[Problem]:
    """The checker's problems with shapes, keys and words; those that need a config class or several keys are not."""
    problems: dict[Problem, None] = {}
    root = as_node(tree)
    frame = FrameReader(root, table(), problems.setdefault).read()
    Resolver(frame.config, frozenset((*FRAME, *SECTIONS, "why")), problems).resolve(root)
    return [problem for problem in problems if not any(re.search(words, str(problem)) for words in OF_THE_CONFIG)]


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for name, child in children:
        yield from places(child, (*path, name))


def at(tree: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def put(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(tree)
    at(changed, path[:-1])[path[-1]] = value
    return changed


def broken(tree: Any, choose: random.Random) -> Iterator[tuple[str, Any]]:
    """The tree with one place changed: a strange key, a strange word, another shape, or nothing."""
    for path in places(tree):
        value = at(tree, path)
        if isinstance(value, dict):
            yield f"{path} + key", put(tree, (*path, "strange"), 1)
        replacement = choose.choice([{"strange": 1}, [], ["strange"], {}, 17, True, "strange_word", None, "none"])
        if isinstance(value, str) and ("=" in value or "config." in value or " " in value):
            replacement = choose.choice([{"strange": 1}, [["x"]], {}])  # words there may be expressions
        yield f"{path} = {replacement!r}", put(tree, path, replacement)
        # An overlay without a kind has the kind of what lies below: the schema allows the keys of all.
        if isinstance(path[-1], str) and not (path[-1] == "kind" and path[0] in SECTIONS):
            changed = copy.deepcopy(tree)
            del at(changed, path[:-1])[path[-1]]
            yield f"{path} gone", changed


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("index", range(len(SPECS)), ids=[path.stem for path in SPECS])
def test_committed_specs_are_accepted(index: int) -> None:
    assert not list(SCHEMA.iter_errors(as_json(TREES[index]))) and not structural(TREES[index])


def test_verdicts_on_broken_specs_agree() -> None:
    choose = random.Random(5)
    cases = [case for tree in TREES for case in broken(tree, choose)]
    sample = choose.sample(cases, 900)
    refused = 0
    for what, tree in sample:
        found = structural(tree)
        errors = [error.message[:100] for error in SCHEMA.iter_errors(as_json(tree))]
        assert bool(found) == bool(errors), f"{tree.get('name', '')} {what}: {found} against {errors}"
        refused += bool(found)
    assert refused > 300 and len(sample) - refused > 50


def test_committed_schema_and_page_are_up_to_date() -> None:
    cure = "run: codegen schema --write"
    assert (ROOT / "specs/spec.schema.json").read_text(encoding="utf-8") == schema_text(), cure
    assert (ROOT / "docs/spec-reference.md").read_text(encoding="utf-8") == reference_page(), cure
