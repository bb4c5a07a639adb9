"""The test file of a model: binds its tiny configs to the contract that every model must pass."""

from collections.abc import Mapping
from typing import Any

from codegen.cst.format import Format, black_format
from codegen.places import Places
from codegen.plan.types import ContractPlan


def render_test(plan: ContractPlan, places: Places, format_all: Format) -> str:
    """The text of `test_<name>.py`, without its header."""
    lines = [f"    {name} = {value!r}" for name, value in plan.attributes.items()]
    base, *variants = plan.configs.items()
    lines += [
        f"    base = {base[1]!r}",
        f"    configs = {{'base': base, {', '.join(_variant(*one, base[1]) for one in variants)}}}",
    ]
    imports = f"from {places.library}.testing import {plan.contract}"
    head = f'"""{plan.doc}"""\n\n{imports}\n\n\nclass {plan.class_name}({plan.contract}):\n'
    return head + "\n".join(format_all(lines, black_format)) + "\n"


def _variant(name: str, config: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """An entry of `configs`: what differs from the base, or the whole where something of the base is missing."""
    if not base.keys() <= config.keys():
        return f"{name!r}: {config!r}"
    changes = {key: value for key, value in config.items() if key not in base or base[key] != value}
    return f"{name!r}: {{**base, {repr(changes)[1:-1]}}}"
