"""The recipe's model and Trainer, made parallel as the section `parallel` says."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch.distributed import ProcessGroup
from transformers import PreTrainedModel, Trainer, TrainingArguments

from nemo_automodel.recipes.mistakes import RecipeError
from nemo_automodel.recipes.parallel.apply import parallelize
from nemo_automodel.recipes.parallel.meshes import Meshes
from nemo_automodel.recipes.parallel.sizes import sizes_of
from nemo_automodel.recipes.parallel.training import ParallelTrainer


def parallel_trainer(
    recipe: dict[str, Any], model: PreTrainedModel, arguments: TrainingArguments
) -> tuple[Callable[..., Trainer], ProcessGroup]:
    """Makes the model parallel, in place; gives the Trainer to call with it, and the group of those that hold the same
    layers."""
    sizes = sizes_of(recipe, arguments.world_size)
    if sizes is None:
        raise RecipeError("parallel: there is no such section")
    meshes = Meshes(sizes, arguments.device.type)
    root = parallelize(model.to(arguments.device), meshes, bf16=arguments.bf16, **recipe.get("fsdp", {}))
    return partial(ParallelTrainer, meshes=meshes, root=root), meshes.stage
