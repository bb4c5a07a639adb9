"""The example YAML of a model: fine-tuning through `nemo_automodel.recipes`, dumped by a YAML library."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from codegen.cst.format import Format
from codegen.places import LIBRARY
from codegen.plan.types import SpecPlan

if TYPE_CHECKING:
    from codegen.plan.vision.types import ImageTextSpecPlan

TEXT = (
    "NeMoAutoModelForCausalLM",
    {"dataset": {"_target_": "nemo_automodel.recipes.data.MockDataset", "samples": 1024, "sequence_length": 512}},
)
IMAGES = (
    "NeMoAutoModelForImageTextToText",
    {
        "dataset": {"_target_": "nemo_automodel.recipes.images.MockImageTextDataset", "samples": 1024},
        "freeze": ["vision"],
    },
)


def render_example(plan: "SpecPlan | ImageTextSpecPlan", format_all: Format) -> str:
    """The text of the example, without its header."""
    name = plan.model.name
    entry, sections = TEXT if isinstance(plan, SpecPlan) else IMAGES
    content: dict[str, Any] = {
        "model": {
            "_target_": f"{LIBRARY}.{entry}.from_pretrained",
            "pretrained_model_name_or_path": plan.hub or f"path/to/{name}",
        },
        **sections,
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-05, "weight_decay": 0.01},
        "trainer": {
            "output_dir": f"output/{name}",
            "max_steps": 100,
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": 8,
            "max_grad_norm": 1.0,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 10,
            "gradient_checkpointing": True,
            "logging_steps": 1,
            "save_steps": 50,
        },
        "fsdp": {"reshard_after_forward": True},
    }
    text = json.dumps(content).replace(f'"{LIBRARY}.', f'"{plan.model.places.library}.')
    return format_all([text], _dumped)[0]


def _dumped(sources: Sequence[str]) -> list[str]:
    import yaml  # 20 ms, needed only where an example is new

    return [yaml.safe_dump(json.loads(source), sort_keys=False, allow_unicode=True, width=110) for source in sources]
