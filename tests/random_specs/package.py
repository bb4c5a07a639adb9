"""From a spec's mapping to its model class, in this process: generated into a scratch folder, without formatting."""

import importlib
import sys
from pathlib import Path
from typing import Any

import yaml

import nemo_automodel.components.models
from codegen.configs import table
from codegen.generate import plan_spec
from codegen.language.check import read_text
from codegen.plan.types import SpecPlan
from codegen.render.files import model_files

FOLDER = "nemo_automodel.components.models"


def planned(spec: dict[str, Any]) -> SpecPlan:
    """The plan of a spec. Raises SpecError where it is refused."""
    return plan_spec(read_text(text(spec), f"specs/{spec['name']}.yaml", table()))


def text(spec: dict[str, Any]) -> str:
    return yaml.safe_dump(spec, sort_keys=False)


def write(plan: SpecPlan, scratch: Path) -> None:
    """The model's package under `scratch`, from which `imported` takes it."""
    package = scratch / plan.model.name
    package.mkdir(parents=True, exist_ok=True)
    for name, content in model_files(plan.model, _as_it_is).items():
        (package / name).write_text(content)
    if str(scratch) not in nemo_automodel.components.models.__path__:
        nemo_automodel.components.models.__path__.append(str(scratch))
    importlib.invalidate_caches()


def imported(plan: SpecPlan) -> tuple[type, type]:
    """The model's class and its config's."""
    name = f"{FOLDER}.{plan.model.name}"
    config = importlib.import_module(plan.model.config.module)
    model = importlib.import_module(f"{name}.model")
    return model.ModelClass, getattr(config, plan.model.config.class_name)


def forget(name: str) -> None:
    """Drop the package of a spec from memory."""
    whole = f"{FOLDER}.{name}"
    for loaded in [module for module in sys.modules if module == whole or module.startswith(f"{whole}.")]:
        del sys.modules[loaded]
    nemo_automodel.components.models.__dict__.pop(name, None)


def _as_it_is(source: str, _: Any, mode: str = "") -> str:
    return source
