"""Every section of a recipe looked at, before anything large is read."""

from dataclasses import dataclass
from typing import Any

from transformers import TrainingArguments

from nemo_automodel.recipes.arguments import optimizer_of, training_arguments
from nemo_automodel.recipes.checkpoints import adapter_config, check_model
from nemo_automodel.recipes.compiling import compile_options
from nemo_automodel.recipes.fp8 import fp8_options
from nemo_automodel.recipes.freezing import check_freeze
from nemo_automodel.recipes.inputs import OFFERED, SECTIONS, check_inputs
from nemo_automodel.recipes.mistakes import all_of, refuse, unknown
from nemo_automodel.recipes.parts import check
from nemo_automodel.recipes.quantization import quantization_config
from nemo_automodel.recipes.targets import Allowed
from nemo_automodel.recipes.values import misfits

READERS = ("tokenizer", "processor")


@dataclass(frozen=True)
class ShardingOptions:
    """The section `fsdp`: keywords of `sharding.shard`."""

    reshard_after_forward: bool = True
    cpu_offload: bool = False


def checked(recipe: dict[str, Any], allowed: Allowed) -> TrainingArguments:
    """The training arguments, after every section was looked at.

    Raises:
        RecipeError: with the mistakes of all sections.
    """
    arguments, *_ = all_of(
        lambda: training_arguments(recipe),
        lambda: optimizer_of(recipe),
        lambda: check_model(recipe["model"], allowed),
        lambda: adapter_config(recipe, allowed),
        *(lambda name=name: name in recipe and check(recipe[name], name, allowed, OFFERED) for name in SECTIONS),
        *(lambda name=name: name in recipe and check(recipe[name], name, allowed) for name in READERS),
        lambda: quantization_config(recipe),
        lambda: fp8_options(recipe),
        lambda: compile_options(recipe),
        lambda: "freeze" in recipe and check_freeze(recipe["freeze"]),
        lambda: refuse(_sharding_mistakes(recipe)),
    )
    check_inputs(recipe, allowed)
    refuse(_alone_only(arguments))
    if "parallel" in recipe:
        from nemo_automodel.recipes.parallel.refusals import check_parallel  # imports stages and experts

        check_parallel(recipe, arguments, allowed)
    return arguments


def _sharding_mistakes(recipe: dict[str, Any]) -> list[str]:
    options: dict[str, Any] = recipe.get("fsdp", {})
    mistakes = unknown("fsdp", options, ShardingOptions.__dataclass_fields__, "sharding")
    return mistakes or list(misfits("fsdp", options, ShardingOptions))


def _alone_only(arguments: TrainingArguments) -> list[str]:
    """Fields that do not work on a sharded model."""
    if arguments.world_size == 1:
        return []
    return [
        f"trainer.{name}: does not work on a sharded model; leave it out under torchrun"
        for name in ("torch_compile", "load_best_model_at_end", "auto_find_batch_size")
        if getattr(arguments, name)
    ]
