"""Calls what a section names with the section's other keys, after checking that they fit."""

from collections.abc import Callable, Collection
from dataclasses import is_dataclass
from inspect import Parameter, signature
from typing import Any

from nemo_automodel.recipes.mistakes import naming, refuse, unknown
from nemo_automodel.recipes.targets import (
    NOTHING_ELSE,
    OWN,
    OWN_CHAT,
    OWN_IMAGES,
    PRETRAINED,
    TARGET,
    Allowed,
    resolve_target,
)
from nemo_automodel.recipes.values import misfits

# peft imports the modules that these fields name.
REFUSED_FIELDS = {"peft": ("auto_mapping", "megatron_config", "megatron_core")}


def build(section: dict[str, Any], where: str, allowed: Allowed = NOTHING_ELSE, **offered: Any) -> Any:
    """Call the section's target with its other keys; nested sections with a `_target_` are built first.

    Of `offered`, the target gets what it declares and the section does not set.

    Raises:
        RecipeError: the target is refused (see `resolve_target`), does not take these arguments, or says itself what
            is wrong with them.
    """
    target = check(section, where, allowed, offered)
    arguments = {
        key: build(value, f"{where}.{key}", allowed) if isinstance(value, dict) and TARGET in value else value
        for key, value in section.items()
        if key != TARGET
    }
    accepted = signature(target).parameters
    arguments = {**{key: value for key, value in offered.items() if key in accepted}, **arguments}
    if target.__name__ == PRETRAINED:
        arguments["trust_remote_code"] = allowed.remote_code  # left unsaid, transformers asks at the terminal
    if _is_own(target, allowed):
        return target(**arguments)  # its traceback is its author's
    with naming(where, section):
        return target(**arguments)


def check(
    section: dict[str, Any], where: str, allowed: Allowed = NOTHING_ELSE, offered: Collection[str] = ()
) -> Callable[..., Any]:
    """The section's target.

    Raises:
        RecipeError: it is refused, or does not take the section's keys, or needs one that is neither there nor offered.
    """
    target = resolve_target(section, where, allowed)
    parameters = signature(target).parameters
    open_ended = any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())
    fields = {key: value for key, value in section.items() if key != TARGET}
    refused = REFUSED_FIELDS.get(target.__module__.partition(".")[0], ())
    known = [name for name in parameters if name not in refused]
    owner = getattr(target, "__qualname__", str(target))
    mistakes = [] if open_ended else unknown(where, fields, known, owner)
    mistakes += [
        f"{where}.{name}: is missing; {owner} needs it"
        for name, parameter in parameters.items()
        if parameter.default is Parameter.empty
        and parameter.kind is Parameter.POSITIONAL_OR_KEYWORD
        and name not in fields
        and name not in offered
    ]
    if target.__module__ in (OWN, OWN_CHAT, OWN_IMAGES) or is_dataclass(target):
        mistakes += misfits(where, fields, target)
    refuse(mistakes)
    return target


def _is_own(target: Callable[..., Any], allowed: Allowed) -> bool:
    return any(f"{target.__module__}.".startswith(f"{module}.") for module in allowed.dataset_modules)
