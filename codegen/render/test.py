"""The test file of a model: binds its tiny configs to the contract that every model must pass."""

from pprint import pformat
from typing import Any

from codegen.configs import ConfigTable
from codegen.cst.format import Format, black_format
from codegen.plan.tiny import configs
from codegen.plan.types import ModelPlan
from codegen.spec.loaded import LoadedSpec


def render_test(plan: ModelPlan, spec: LoadedSpec, table: ConfigTable, format_one: Format) -> str:
    """The text of `test_<name>.py`, without its header."""
    attributes: dict[str, Any] = {
        "spec": plan.name,
        "architecture": plan.architectures[0],
        "model_module": f"nemo_automodel.components.models.{plan.name}.model",
        "config_class": f"{plan.config.module}:{plan.config.class_name}",
        "reference": spec.tests.get("reference"),
        "configs": configs(spec, table),
    }
    lines = [f"    {name} = {pformat(value, width=110, sort_dicts=False)}" for name, value in attributes.items()]
    doc = f'"""{plan.title} against its reference: the contract, on configs derived from {spec.path}."""'
    body = "\n".join(lines).replace("\n", "\n    ").replace("    \n", "\n")
    text = f"{doc}\n\nfrom tests.contract import ModelContract\n\n\nclass Test{plan.prefix}(ModelContract):\n{body}\n"
    return format_one(text, black_format)
