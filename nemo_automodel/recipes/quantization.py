"""The section `quantization`: weights of four bits under an adapter, by bitsandbytes (QLoRA, arXiv 2305.14314)."""

import os
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from nemo_automodel.recipes.mistakes import RecipeError, refuse, unknown
from nemo_automodel.recipes.targets import FRESH, TARGET
from nemo_automodel.recipes.values import misfits

DTYPES, TYPES = ("float32", "bfloat16", "float16"), ("nf4", "fp4")


@dataclass(frozen=True)
class FourBits:
    """What a recipe may say, by the names of transformers' BitsAndBytesConfig.

    bnb_4bit_compute_dtype: of products; by itself bfloat16 with trainer.bf16, float16 with trainer.fp16, else float32.
    """

    load_in_4bit: bool = field(default=True, metadata={"choices": (True,)})
    bnb_4bit_quant_type: str = field(default="nf4", metadata={"choices": TYPES})
    bnb_4bit_use_double_quant: bool = True
    bnb_4bit_compute_dtype: str | None = field(default=None, metadata={"choices": (None, *DTYPES)})


def quantization_config(recipe: dict[str, Any]) -> Any:
    """The BitsAndBytesConfig of the section, or None where there is none.

    Raises:
        RecipeError: a field does not exist or does not fit, there is nothing to train over four bits, or no package
            for them.
    """
    if "quantization" not in recipe:
        return None
    section = recipe["quantization"]
    refuse(unknown("quantization", section, FourBits.__dataclass_fields__, "it"))
    refuse([*misfits("quantization", section, FourBits), *_mistakes(recipe)])
    from transformers import BitsAndBytesConfig

    said = FourBits(**section)
    dtype = said.bnb_4bit_compute_dtype or _dtype(recipe["trainer"])
    return BitsAndBytesConfig(**{**vars(said), "bnb_4bit_compute_dtype": dtype})


def _mistakes(recipe: dict[str, Any]) -> list[str]:
    missing = find_spec("bitsandbytes") is None
    adapted = "peft" in recipe or "peft_config" in recipe["model"]
    said, fresh = "quantization_config" in recipe["model"], str(recipe["model"].get(TARGET)).endswith(FRESH)
    return [
        *(["quantization: needs the package bitsandbytes; run: pip install bitsandbytes"] if missing else []),
        *([] if adapted else ["quantization: weights of four bits cannot be trained: add an adapter, section peft"]),
        *(["model.quantization_config: section quantization says it already; keep one of them"] if said else []),
        *(["quantization: is of a checkpoint: take from_pretrained in model._target_"] if fresh else []),
        *(["quantization: does not work on a sharded model; run it on one process"] if is_one_of_several() else []),
    ]


def is_one_of_several() -> bool:
    """Whether torchrun started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _dtype(trainer: dict[str, Any]) -> str:
    return next((dtype for name, dtype in (("bf16", "bfloat16"), ("fp16", "float16")) if trainer.get(name)), "float32")


def is_quantised(model: Any) -> bool:
    return getattr(model, "hf_quantizer", None) is not None


def prepare(model: Any) -> Any:
    """The model with all weights frozen, and those that are not of four bits in float32, as QLoRA has norms and head.

    Raises:
        RecipeError: most of its matrices are none that bitsandbytes replaces: it takes linear layers alone.
    """
    from bitsandbytes.nn import Linear4bit, Params4bit
    from peft import prepare_model_for_kbit_training

    ends = {id(end.weight) for end in (model.get_input_embeddings(), model.get_output_embeddings()) if end is not None}
    matrices = [p for p in model.parameters() if p.dim() > 1 and id(p) not in ends]
    small = sum(2 * p.numel() for p in matrices if isinstance(p, Params4bit))  # two to a byte
    large = sum(p.numel() for p in matrices if not isinstance(p, Params4bit))
    if large > small:
        raise RecipeError(
            f"quantization: bitsandbytes takes linear layers alone, and {large:,} of {large + small:,} weights of "
            f"{type(model).__name__} are none (stacked experts?): train an adapter without the section"
        )
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False  # once evaluated, gradients would be of weights in another order
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)  # the Trainer sees to that
