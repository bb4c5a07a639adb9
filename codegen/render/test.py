"""The test file of a model: binds its tiny configs to the contract that every model must pass."""

from collections.abc import Mapping
from typing import Any

from codegen.configs import ConfigTable
from codegen.cst.format import Format, black_format
from codegen.plan.tiny import configs
from codegen.plan.tiny_experts import has_experts
from codegen.plan.types import ModelPlan
from codegen.spec.loaded import LoadedSpec


def render_test(plan: ModelPlan, spec: LoadedSpec, table: ConfigTable, format_one: Format) -> str:
    """The text of `test_<name>.py`, without its header."""
    attributes: dict[str, Any] = {
        "spec": plan.name,
        "architecture": plan.architectures[0],
        "model_module": f"nemo_automodel.components.models.{plan.name}.model",
        "config_class": f"{plan.config.module}:{plan.config.class_name}",
    }
    attributes |= {name: spec.tests[name] for name in ("reference", "attention") if name in spec.tests}
    lines = [f"    {name} = {value!r}" for name, value in attributes.items()]
    base, *variants = configs(spec, table).items()
    lines += [
        f"    base = {base[1]!r}",
        f"    configs = {{'base': base, {', '.join(_variant(*one, base[1]) for one in variants)}}}",
    ]
    doc = f'"""{plan.title} against its reference: the contract, on configs derived from {spec.path}."""'
    contract = "MixtureContract" if has_experts(spec) else "ModelContract"
    head = f"{doc}\n\nfrom tests.contract import {contract}\n\n\nclass Test{plan.prefix}({contract}):\n"
    return format_one(head + "\n".join(lines) + "\n", black_format)


def _variant(name: str, config: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """An entry of `configs`: what differs from the base, or the whole where something of the base is missing."""
    if not base.keys() <= config.keys():
        return f"{name!r}: {config!r}"
    changes = {key: value for key, value in config.items() if key not in base or base[key] != value}
    return f"{name!r}: {{**base, {repr(changes)[1:-1]}}}"
