"""The recipe's YAML: sections, dotted overrides and `_target_` entries, read without running anything in the file."""

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from importlib import import_module
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

REQUIRED_SECTIONS = ("model", "dataset", "optimizer", "trainer")
OPTIONAL_SECTIONS = ("tokenizer", "eval_dataset", "fsdp")
TARGET = "_target_"
ALLOWED_TARGETS = ("nemo_automodel.", "torch.optim.", "transformers.")


class RecipeError(ValueError):
    """A mistake in a recipe or in an override. Each line of the message names the key, what is wrong and the cure."""


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-5 as a string; this loader reads it as the number that was meant."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The sections of `path`, with `dotted.key=value` overrides applied in order; values are read as YAML.

    Raises:
        RecipeError: unreadable YAML, an unknown or missing section, or a malformed override.
    """
    try:
        recipe = _parse(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"cannot be read: {error}") from error
    if not isinstance(recipe, dict):
        raise RecipeError(f"expected a mapping with the sections {', '.join(REQUIRED_SECTIONS)}")
    for override in overrides:
        _apply_override(recipe, override)
    _check_sections(recipe)
    return recipe


def close_match(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, or nothing."""
    return "".join(f"; did you mean '{match}'?" for match in get_close_matches(name, list(known), 1))


def resolve_target(section: dict[str, Any], where: str) -> Callable[..., Any]:
    """The callable that `section[_target_]` names.

    Raises:
        RecipeError: the section names none, or one outside `ALLOWED_TARGETS`, or one that does not exist.
    """
    name = section.get(TARGET)
    if not isinstance(name, str):
        raise RecipeError(f"{where}: no {TARGET}: name a callable, such as torch.optim.AdamW")
    refusal = f"{where}.{TARGET}: '{name}' is not allowed: a target starts with {', '.join(ALLOWED_TARGETS)}"
    if not name.startswith(ALLOWED_TARGETS) or any(part.startswith("_") for part in name.split(".")):
        raise RecipeError(refusal)
    target = _lookup(name, where)
    # An allowed module also holds what it imported itself, such as `os`: the definition's own module decides.
    if not f"{getattr(target, '__module__', '')}.".startswith(ALLOWED_TARGETS):
        raise RecipeError(refusal)
    return target


def build(section: dict[str, Any], where: str, **offered: Any) -> Any:
    """Call the section's target with its other keys; nested sections with a `_target_` are built first.

    Of `offered`, the target gets what it declares and the section does not set.

    Raises:
        RecipeError: the target is refused (see `resolve_target`), or it does not take these arguments.
    """
    target = resolve_target(section, where)
    arguments = {
        key: build(value, f"{where}.{key}") if isinstance(value, dict) and TARGET in value else value
        for key, value in section.items()
        if key != TARGET
    }
    accepted = signature(target).parameters
    arguments = {**{key: value for key, value in offered.items() if key in accepted}, **arguments}
    try:
        signature(target).bind(**arguments)
    except TypeError as error:
        raise RecipeError(f"{where}: {section[TARGET]}: {error}") from error
    return target(**arguments)


def _parse(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)


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


def _check_sections(recipe: dict[str, Any]) -> None:
    known = REQUIRED_SECTIONS + OPTIONAL_SECTIONS
    mistakes = [f"no section '{name}'" for name in REQUIRED_SECTIONS if name not in recipe]
    for name, section in recipe.items():
        if name not in known:
            mistakes.append(f"'{name}' is not a section{close_match(str(name), known)}")
        elif not isinstance(section, dict):
            mistakes.append(f"{name}: expected a mapping, got {section!r}")
    if mistakes:
        raise RecipeError("\n".join(mistakes))


def _lookup(name: str, where: str) -> Any:
    """Import the longest prefix that is a module, then follow attributes through classes only."""
    parts = name.split(".")
    found: Any = None
    for depth in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:depth])
        try:
            found = import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            continue
        break
    for part in parts[depth:]:
        if not hasattr(found, part):
            raise RecipeError(f"{where}.{TARGET}: '{name}' does not exist{close_match(part, dir(found))}")
        found = getattr(found, part)
    if isinstance(found, ModuleType) or not callable(found):
        raise RecipeError(f"{where}.{TARGET}: '{name}' is not callable")
    return found
