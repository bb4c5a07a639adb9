"""The section `fp8`: products of linear layers in eight bits, by torchao, on cards that have them."""

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from nemo_automodel.components.models.common.combined_projection.packing import PackedLinear
from nemo_automodel.recipes.mistakes import RecipeError, refuse, unknown
from nemo_automodel.recipes.quantization import is_one_of_several
from nemo_automodel.recipes.values import misfits

OLDEST = (8, 9)  # compute capability: Ada and Hopper
MULTIPLE = 16  # rows and columns of what such cards multiply


@dataclass(frozen=True)
class Fp8Options:
    """How factors are scaled: one scale for a tensor, or one for a row (torchao's names)."""

    scaling: str = field(default="tensorwise", metadata={"choices": ("tensorwise", "rowwise")})


def fp8_options(recipe: dict[str, Any]) -> Fp8Options | None:
    """What the section says, or None where there is none.

    Raises:
        RecipeError: a field does not exist or does not fit, or the machine or another section does not allow it.
    """
    if "fp8" not in recipe:
        return None
    refuse(unknown("fp8", recipe["fp8"], Fp8Options.__dataclass_fields__, "it"))
    refuse([*misfits("fp8", recipe["fp8"], Fp8Options), *_reasons(recipe)])
    return Fp8Options(**recipe["fp8"])


def _reasons(recipe: dict[str, Any]) -> list[str]:
    return [
        *([] if (card := _card()) is None else [f"fp8: {card}; take trainer.bf16=true"]),
        *(["fp8: needs the package torchao; run: pip install torchao"] if find_spec("torchao") is None else []),
        *(["fp8: section quantization has other weights; keep one of them"] if "quantization" in recipe else []),
        *(["fp8: is for one process; leave it out under torchrun"] if is_one_of_several() else []),
    ]


def _card() -> str | None:
    """Why the device has no such products, or None."""
    if not torch.cuda.is_available():
        return "products of eight bits need a CUDA card, and there is none"
    if torch.version.hip is None and torch.cuda.get_device_capability() < OLDEST:
        return (
            f"{torch.cuda.get_device_name()} has none: they begin with compute capability {'.'.join(map(str, OLDEST))}"
        )
    return None


def convert(model: Any, options: Fp8Options) -> None:
    """Linear layers but the head multiply in eight bits from now on, in place; weights stay as they are.

    Raises:
        RecipeError: projections are packed, or there is no such layer of a size that cards take.
    """
    if any(isinstance(module, PackedLinear) for module in model.modules()):
        raise RecipeError("fp8: packed projections would be left out: set model.backend.projections=split")
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    head = model.get_output_embeddings()
    taken = [module for module in model.modules() if _fits(module) and module is not head]
    if not taken:
        raise RecipeError(
            f"fp8: {type(model).__name__} has no linear layers whose sides are multiples of {MULTIPLE}; leave it out"
        )
    config = Float8LinearConfig.from_recipe_name(options.scaling)
    convert_to_float8_training(model, config=config, module_filter_fn=lambda module, name: module in taken)


def _fits(module: nn.Module) -> bool:
    sides = module.weight.shape if type(module) is nn.Linear else ()
    return bool(sides) and not any(side % MULTIPLE for side in sides)
