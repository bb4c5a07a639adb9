"""Configs that the reference cannot run, as `tests.excluded` says, and changes of the base that avoid them."""

import ast
from collections.abc import Iterator
from typing import Any

from codegen.configs import ConfigClass
from codegen.errors import SpecError
from codegen.language.loaded import LoadedSpec
from codegen.language.values import expression
from codegen.tiny.compared import equal
from codegen.tiny.evaluate import UNREADABLE, evaluate
from codegen.tiny.values import readable, unreadable

Config = dict[str, Any]
PATH = "tests.excluded"


def excludes(spec: LoadedSpec, config: ConfigClass, values: Config) -> bool:
    """Whether a config is among those that the spec excludes."""
    if "excluded" not in spec.tests:
        return False
    try:
        return bool(evaluate(_condition(spec), readable(config, values)))
    except UNREADABLE as error:
        raise SpecError([unreadable(spec.place(PATH), PATH, error)]) from None


def allowed(spec: LoadedSpec, config: ConfigClass, base: Config, change: Config) -> Config | None:
    """The change, with a number made equal to what the spec compares it with, or without that of its flags and absent
    numbers, where this takes it from among the configs that are excluded; None where no single one does."""
    if not excludes(spec, config, base | change):
        return change
    flags = [name for name, value in change.items() if isinstance(value, bool | None)]
    for kept in (change, *({k: v for k, v in change.items() if k != flag} for flag in flags)):
        for one in (kept, *_mended(spec, config, base, kept)) if kept else ():
            if not excludes(spec, config, base | one):
                return one
    return None


def _mended(spec: LoadedSpec, config: ConfigClass, base: Config, change: Config) -> Iterator[Config]:
    for mend in equal(_condition(spec), config, base):
        if all(type(value) is int and name not in change for name, value in mend.items()):
            yield change | mend


def _condition(spec: LoadedSpec) -> ast.expr:
    return expression(spec.tests["excluded"]).tree
