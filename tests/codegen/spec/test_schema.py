"""The JSON Schema gives the checker's verdicts on structure: over all specs and over hundreds of broken ones."""

import copy
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from codegen.catalog import default
from codegen.configs import table, vision_table
from codegen.errors import Problem
from codegen.language.check import is_of_images
from codegen.language.defaults import defaults
from codegen.language.frame import FRAME, FrameReader
from codegen.language.keys import Section, keys
from codegen.language.load import Node, load
from codegen.language.reference import reference_page
from codegen.language.resolve import Resolver
from codegen.language.schema import json_schema, schema_text
from codegen.language.spec import Spec
from codegen.language.splits import SECTIONS
from codegen.language.values import NOWHERE
from codegen.language.vision.check import ImageTextFrame
from codegen.language.vision.sections import ImageTextSpec
from codegen.language.vision.text import apart

ROOT = Path(__file__).parents[3]
SPECS = sorted((ROOT / "specs").rglob("*.yaml"))
SCHEMA = jsonschema.Draft202012Validator(json_schema())
# Problems that need the config class or what lies below an overlay, or stand inside an expression.
OF_THE_CONFIG = (
    "is missing beside a config class of its own",
    r": tests\.(tiny|also\.\d+)\.",
    r": (variants|layers)\..*: needs a kind",
    "has no model type",
    "has no config class",
    "has no causal",
    "no such field",
    "has no field",
    "no kind is known",
    "known names:",
    "is not known here",
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
    if is_of_images(root):
        structure_of_images(root, problems)
    else:
        frame = FrameReader(root, table(), problems.setdefault).read()
        Resolver(frame.config, frozenset((*FRAME, *SECTIONS, "why")), problems).resolve(root)
    return [problem for problem in problems if not any(re.search(words, str(problem)) for words in OF_THE_CONFIG)]


def structure_of_images(root: Node, problems: dict[Problem, None]) -> None:
    frame = ImageTextFrame(root, vision_table(), problems.setdefault, ROOT / "specs", ROOT).read()
    if frame.overrides:
        problems.setdefault(Problem(NOWHERE, "overrides", "is not for models of images and text yet", ""))
    known = frozenset((*FRAME, "why"))
    plain, laid = apart(root)
    Resolver(frame.config, known, problems, ImageTextSpec).overlaid(defaults(ImageTextSpec), plain, "")
    if laid is None:
        return
    below = next((path for path in SPECS if path.stem == plain.plain()["text"].get("spec")), None)
    if below is not None:
        Resolver(None, frozenset((*FRAME, *SECTIONS, "why")), problems).resolve(
            load(below.read_text(), ""), laid, "text"
        )
    for name in laid.mapping.keys() - {*keys(Spec), *SECTIONS, "why"}:
        problems.setdefault(Problem(NOWHERE, f"text.{name}", "is not a key here", ""))


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
        if isinstance(path[-1], str) and not (path[-1] == "kind" and path[0] in (*SECTIONS, "text")):
            changed = copy.deepcopy(tree)
            del at(changed, path[:-1])[path[-1]]
            yield f"{path} gone", changed


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("index", range(len(SPECS)), ids=[path.stem for path in SPECS])
def test_committed_specs_are_accepted(index: int) -> None:
    assert not list(SCHEMA.iter_errors(as_json(TREES[index]))) and not structural(TREES[index])


@pytest.mark.parametrize("images, count, least", [(False, 900, 50), (True, 500, 20)], ids=["text", "images"])
def test_verdicts_on_broken_specs_agree(images: bool, count: int, least: int) -> None:
    choose = random.Random(5)
    trees = [tree for tree in TREES if is_of_images(as_node(tree)) == images]
    cases = [case for tree in trees for case in broken(tree, choose)]
    sample = choose.sample(cases, min(count, len(cases)))
    refused = 0
    for what, tree in sample:
        found = structural(tree)
        errors = [error.message[:100] for error in SCHEMA.iter_errors(as_json(tree))]
        assert bool(found) == bool(errors), f"{tree.get('name', '')} {what}: {found} against {errors}"
        refused += bool(found)
    assert refused > count // 3 and len(sample) - refused > least


def test_the_page_lists_every_key_of_images_and_text() -> None:
    """With its default and what it means."""
    page = reference_page().partition("## Images and text")[2]

    def listed(section: type[Section]) -> None:
        for name, key in keys(section).items():
            shown = [part for part in (default(key) or "").split(", else ") if part]
            named = f"| `{name}`" in page or f".{name}` |" in page
            assert named and key.doc.replace("|", "\\|") in page and all(one in page for one in shown)
            for inner in (*filter(None, (key.section,)), *(key.kinds or {}).values()):
                listed(inner)

    listed(ImageTextSpec)


def test_committed_schema_and_page_are_up_to_date() -> None:
    cure = "run: codegen schema --write"
    assert (ROOT / "specs/spec.schema.json").read_text(encoding="utf-8") == schema_text(), cure
    assert (ROOT / "docs/spec-reference.md").read_text(encoding="utf-8") == reference_page(), cure
