"""The documentation page of a model, and its row in the coverage table."""

from collections.abc import Mapping
from typing import Any

from codegen.markdown import escaped
from codegen.plan.features import features
from codegen.plan.types import ModelPlan
from codegen.spec.loaded import LoadedSpec

INDEX = "docs/model-coverage/llm/index.md"


def _hub(spec: LoadedSpec) -> str:
    return str(spec.docs.get("hub", ""))


def index_row(plan: ModelPlan, spec: LoadedSpec) -> Mapping[str, Any]:
    """Fields of an IndexRow: architecture, features, an example on the hub."""
    cells = (", ".join(plan.architectures), ", ".join(features(plan)), _hub(spec))
    return {"index": INDEX, "page": f"{plan.name}.md", "title": plan.name, "cells": cells}


def render_page(plan: ModelPlan, spec: LoadedSpec) -> str:
    """The text of the page, without its header."""
    lines = [
        f"# {escaped(plan.name)}",
        "",
        escaped(spec.summary),
        "",
        f"- Architectures: {', '.join(f'`{name}`' for name in plan.architectures)}",
        f"- Config class: `{plan.config.class_name}` (`model_type: {plan.config.model_type}`)",
    ]
    lines += [f"- Example on the hub: {escaped(_hub(spec))}"] if _hub(spec) else []
    lines += ["", "## What it has", "", *(f"- {escaped(feature)}" for feature in features(plan)), ""]
    lines += [
        "## Where it stands",
        "",
        f"- Spec: `{spec.path}`",
        f"- Model: `nemo_automodel/components/models/{plan.name}/model.py`",
        f"- Tests that prove it: `tests/unit_tests/models/{plan.name}/test_{plan.name}.py`",
        f"- Example: `examples/llm_finetune/{plan.name}/{plan.name}.yaml`",
        "",
        f"Prove it again with `codegen parity {plan.name}`.",
    ]
    return "\n".join(lines) + "\n"
