"""Everything that a spec generates, in memory, from its plan."""

from codegen.artifacts import Artifact, Generated, RegistryEntry
from codegen.cst.format import Format
from codegen.memory.formatted import cached_format
from codegen.plan.types import ModelPlan, SpecPlan
from codegen.render.adapter import render_adapter
from codegen.render.docs import index_row, render_page
from codegen.render.example import render_example
from codegen.render.model import render_model
from codegen.render.package import render_config, render_init
from codegen.render.test import render_test

MODELS = "nemo_automodel/components/models"


def render(plan: SpecPlan) -> Generated:
    """Files, the entry in the registry and the row of the documentation's index."""
    name = plan.model.name
    files = {f"{MODELS}/{name}/{file}": text for file, text in model_files(plan.model).items()}
    tests = f"tests/unit_tests/models/{name}"
    files[f"{tests}/__init__.py"] = ""
    files[f"{tests}/test_{name}.py"] = render_test(plan.contract, cached_format)
    example = f"examples/llm_finetune/{name}/{name}.yaml"
    files[example] = render_example(plan, cached_format)
    artifacts = [Artifact(path, text, plan.spec) for path, text in files.items()]
    artifacts.append(
        Artifact(f"docs/model-coverage/llm/{name}.md", render_page(plan, example=example), plan.spec, "<!--")
    )
    model_type = plan.model.config.model_type
    return Generated(name, tuple(artifacts), (registry(plan.model),), index_row(plan), plan.kind, model_type)


def model_files(plan: ModelPlan, format_all: Format = cached_format) -> dict[str, str]:
    """The Python files of the model's package: name -> text without header."""
    files = {
        "__init__.py": render_init(plan.name, plan.architectures[0], plan.config),
        "model.py": render_model(plan, format_all),
        "state_dict_adapter.py": render_adapter(plan, format_all),
    }
    if plan.config.fields is not None:
        files["config.py"] = render_config(plan, format_all)
    return files


def registry(plan: ModelPlan) -> RegistryEntry:
    """Under its architectures, and under its model type where that means this model."""
    config = None
    if plan.config.fields is not None:
        config = (plan.config.model_type, plan.config.module, plan.config.class_name)
    module = f"nemo_automodel.components.models.{plan.name}.model"
    model_type = plan.config.model_type if plan.config.owned else None
    return RegistryEntry(plan.architectures, module, plan.architectures[0], config, model_type)
