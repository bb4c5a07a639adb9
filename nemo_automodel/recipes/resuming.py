"""The checkpoint that a run goes on from."""

from pathlib import Path

from transformers import TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from nemo_automodel.recipes.mistakes import RecipeError

ADAPTER_FILE, OPTIMIZER_FILE = "adapter_config.json", "optimizer.pt"
OPTIMIZER_FOLDER = "optimizer"  # of a sharded run


def last_checkpoint(arguments: TrainingArguments, adapted: bool) -> str:
    """The folder of the last checkpoint in `trainer.output_dir`. adapted: the recipe trains an adapter.

    Raises:
        RecipeError: there is none, or it cannot be resumed by this recipe or in so many processes.
    """
    folder = Path(arguments.output_dir or "")
    checkpoint = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    if checkpoint is None:
        raise RecipeError(f"trainer.output_dir: {folder} has no checkpoint to resume from")
    where = f"trainer.output_dir: {checkpoint}"
    if (Path(checkpoint) / ADAPTER_FILE).is_file() != adapted:
        raise RecipeError(
            f"{where} {'holds the whole model' if adapted else 'holds an adapter'}: its recipe was another"
        )
    # The Trainer starts with an empty optimizer, without a word, where it does not find its own file.
    was_sharded = (Path(checkpoint) / OPTIMIZER_FOLDER).is_dir()
    if not was_sharded and not (Path(checkpoint) / OPTIMIZER_FILE).is_file():
        raise RecipeError(f"{where} holds no state of the optimizer (trainer.save_only_model?): it cannot be resumed")
    if was_sharded != (arguments.world_size > 1):
        cure = "with torchrun" if was_sharded else "on one process"
        raise RecipeError(f"{where} can only be resumed {cure}, as it was written")
    return checkpoint
