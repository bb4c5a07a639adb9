"""Everything that a spec generates, in memory, from its plan."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:  # at run time only where a spec is one of images and text
    from codegen.plan.vision.types import ImageTextSpecPlan


def render(plan: SpecPlan) -> Generated:
    """Files, the entry in the registry and the row of the documentation's index."""
    model = plan.model
    row, artifacts = index_row(plan), artifacts_of(plan, model_files(model))
    return Generated(model.name, artifacts, (registry(model),), row, plan.kind, model.config.model_type)


def artifacts_of(
    plan: "SpecPlan | ImageTextSpecPlan", package: Mapping[str, str], about: tuple[str, ...] = ()
) -> tuple[Artifact, ...]:
    """Everything of one model, as far as the tree wants it. package: the files of its package; about: further lines of
    its page."""
    name, places, images = plan.model.name, plan.model.places, not isinstance(plan, SpecPlan)
    files = {f"{places.models}/{name}/{file}": text for file, text in package.items()}
    if places.tests is not None:
        files[f"{places.tests}/{name}/__init__.py"] = ""
        files[f"{places.tests}/{name}/test_{name}.py"] = render_test(plan.contract, places, cached_format)
    example = f"{places.example_folders[images]}/{name}/{name}.yaml" if places.example_folders else ""
    if example:
        files[example] = render_example(plan, cached_format)
    artifacts = [Artifact(path, text, plan.spec) for path, text in files.items()]
    if places.pages:
        page = render_page(plan, about, example)
        artifacts.append(Artifact(f"{places.pages[images]}/{name}.md", page, plan.spec, "<!--"))
    return tuple(artifacts)


def model_files(plan: ModelPlan, format_all: Format = cached_format) -> dict[str, str]:
    """The Python files of the model's package: name -> text without header."""
    files = {
        "__init__.py": render_init(plan.places.module(plan.name, "model"), plan.architectures[0], plan.config),
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
    module = plan.places.module(plan.name, "model")
    model_type = plan.config.model_type if plan.config.owned else None
    return RegistryEntry(plan.architectures, module, plan.architectures[0], config, model_type)
