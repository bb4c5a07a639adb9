"""The recipe's YAML: sections and dotted overrides, read without running anything in the file."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from nemo_automodel.recipes.mistakes import RecipeError, close_match, near_file, refuse
from nemo_automodel.recipes.targets import ROLES, TARGET

REQUIRED_SECTIONS = ("model", "dataset", "optimizer", "trainer")
OPTIONAL_SECTIONS = (
    "tokenizer",
    "processor",
    "eval_dataset",
    "chat",
    "peft",
    "quantization",
    "fp8",
    "compile",
    "freeze",
    "fsdp",
    "parallel",
)
LISTS = ("freeze",)
REMOTE_CODE = "trust_remote_code"


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-5 as a string and lets the last of two equal keys win; here it is a number, and an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
            seen.append(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The sections of `path`, with `dotted.key=value` overrides applied in order; values are read as YAML.

    Raises:
        RecipeError: unreadable YAML, an unknown or missing section, a malformed override, or something that only the
            command line may allow.
    """
    try:
        recipe = _parse(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"there is no such file{near_file(Path(path))}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"cannot be read: {error}") from error
    if not isinstance(recipe, dict):
        raise RecipeError(f"expected a mapping with the sections {', '.join(REQUIRED_SECTIONS)}")
    for override in overrides:
        _apply_override(recipe, override)
    refuse([*_sections(recipe), *_forbidden(recipe, "")])
    return recipe


def _parse(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError as error:
        raise yaml.YAMLError("nested too deeply") from error


def _apply_override(recipe: dict[str, Any], override: str) -> None:
    dotted, equals, value = override.partition("=")
    keys = dotted.split(".")
    if not equals or not all(keys):
        raise RecipeError(f"override '{override}': write it as section.key=value")
    node = recipe
    for depth, key in enumerate(keys[:-1], start=1):
        node = node.setdefault(key, {})
        if not isinstance(node, dict):
            raise RecipeError(f"override '{override}': {'.'.join(keys[:depth])} is a value, not a section")
    try:
        node[keys[-1]] = _parse(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"override '{override}': the value is not valid YAML: {error}") from error


def _sections(recipe: dict[str, Any]) -> Iterator[str]:
    known = REQUIRED_SECTIONS + OPTIONAL_SECTIONS
    yield from (f"no section '{name}'" for name in REQUIRED_SECTIONS if name not in recipe)
    for name, section in recipe.items():
        if name not in known:
            yield f"'{name}' is not a section{close_match(str(name), known)}"
        elif name not in LISTS and not isinstance(section, dict):
            yield f"{name}: expected a mapping, got {section!r:.80}"


def _forbidden(value: Any, where: str) -> Iterator[str]:
    """What no file may say, at any depth."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _forbidden(item, f"{where}[{index}]")
    for key, item in value.items() if isinstance(value, dict) else ():
        inner = f"{where}.{key}" if where else str(key)
        if not isinstance(key, str):
            yield f"{inner}: expected text for a key"
        elif key == TARGET and where.rpartition(".")[2] not in ROLES:
            yield f"{inner}: is not allowed here; write plain values"
        elif key == REMOTE_CODE and item is not False:
            yield f"{inner}: is not allowed in a recipe: say --trust-remote-code on the command line"
        yield from _forbidden(item, inner)
