"""One spec to everything that it generates: plan, render, format, verify. Writes nothing."""

from pathlib import Path

from codegen.artifacts import Artifact, Generated, IndexRow, RegistryEntry
from codegen.configs import ConfigClass, ConfigTable
from codegen.cst.format import Format
from codegen.errors import CodegenError
from codegen.format_cache import cached_format
from codegen.plan.build import build
from codegen.plan.types import ModelPlan
from codegen.render.adapter import render_adapter
from codegen.render.docs import index_row, render_page
from codegen.render.example import render_example
from codegen.render.layers import has_layers, render_layers
from codegen.render.model import render_model
from codegen.render.package import render_config, render_init
from codegen.render.test import render_test
from codegen.spec.loaded import LoadedSpec

MODELS = "nemo_automodel/components/models"


def config_class(spec: LoadedSpec, table: ConfigTable) -> ConfigClass:
    """The config class of a spec: a row of the table, or what the spec declares."""
    declared = spec.config
    if declared.fields is None:
        found = table.get(declared.class_name)
        if found is None:
            raise CodegenError(f"{spec.path}: config: {declared.class_name} is not in the table of config classes")
        return found
    names = declared.attribute_map
    return ConfigClass.from_declaration(declared.fields, declared.class_name, declared.model_type, names)


def model_files(plan: ModelPlan, format_one: Format = cached_format) -> dict[str, str]:
    """The Python files of the model's package: name -> text without header."""
    files = {
        "__init__.py": render_init(plan, format_one),
        "model.py": render_model(plan, format_one),
        "state_dict_adapter.py": render_adapter(plan, format_one),
    }
    if has_layers(plan):
        files["layers.py"] = render_layers(plan, format_one)
    if plan.config.fields is not None:
        files["config.py"] = render_config(plan, format_one)
    return files


def generate(spec: LoadedSpec, root: Path) -> Generated:
    """Everything that a spec generates, in memory.

    Raises:
        SpecError: where the spec asks for something that has no template yet.
    """
    table = ConfigTable()
    plan = build(spec, config_class(spec, table))
    files = {f"{MODELS}/{spec.name}/{name}": text for name, text in model_files(plan).items()}
    tests = f"tests/unit_tests/models/{spec.name}"
    files[f"{tests}/__init__.py"] = ""
    files[f"{tests}/test_{spec.name}.py"] = render_test(plan, spec, table, cached_format)
    files[f"examples/llm_finetune/{spec.name}/{spec.name}.yaml"] = render_example(plan, spec, cached_format)
    artifacts = [Artifact(path, text, spec.path) for path, text in files.items()]
    page = f"docs/model-coverage/llm/{spec.name}.md"
    artifacts.append(Artifact(page, render_page(plan, spec), spec.path, "<!--"))
    return Generated(spec.name, tuple(artifacts), _registry(plan), IndexRow(**index_row(plan, spec)))


def _registry(plan: ModelPlan) -> RegistryEntry:
    config = None
    if plan.config.fields is not None:
        config = (plan.config.model_type, plan.config.module, plan.config.class_name)
    module = f"nemo_automodel.components.models.{plan.name}.model"
    return RegistryEntry(plan.architectures, module, plan.architectures[0], config)
