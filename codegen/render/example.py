"""The example YAML of a model: fine-tuning through `nemo_automodel.recipes`, dumped by a YAML library."""

from typing import Any

import yaml

from codegen.plan.types import ModelPlan
from codegen.spec.loaded import LoadedSpec


def render_example(plan: ModelPlan, spec: LoadedSpec) -> str:
    """The text of the example, without its header."""
    checkpoint = str(spec.docs.get("hub") or f"checkpoints/{plan.name}")
    content: dict[str, Any] = {
        "model": {
            "_target_": "nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained",
            "pretrained_model_name_or_path": checkpoint,
        },
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
