"""Fine-tunes a language model, or one of images and text, as an example YAML says.

    python -m nemo_automodel.recipes.finetune examples/llm_finetune/llama/llama.yaml trainer.max_steps=100
    python -m nemo_automodel.recipes.finetune examples/vlm_finetune/llava/llava.yaml trainer.max_steps=100
    torchrun --nproc-per-node 2 -m nemo_automodel.recipes.finetune examples/llm_finetune/llama/llama.yaml

Under `torchrun` the model is sharded with FSDP2. Checkpoints are in Hugging Face layout; `--resume` goes on from the
last one.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from nemo_automodel.recipes.command import parser
from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.lasting import lasting
from nemo_automodel.recipes.mistakes import RecipeError
from nemo_automodel.recipes.targets import NOTHING_ELSE, Allowed
from nemo_automodel.recipes.tree import register_tree

if TYPE_CHECKING:
    from transformers import Trainer


def main(argv: list[str] | None = None) -> int:
    """Run the recipe; 0 when it trained and saved, 2 when the YAML or an override is wrong."""
    # PyTorch asks for pages of 2 MB: a fifth of a sharded step on a CPU went into faults of small ones.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    arguments = parser("python -m nemo_automodel.recipes.finetune", __doc__).parse_intermixed_args(argv)
    allowed = Allowed(tuple(arguments.dataset_module), arguments.trust_remote_code)
    try:
        register_tree(Path.cwd())
        recipe = load_recipe(arguments.recipe, arguments.overrides)
        with lasting():
            from nemo_automodel.recipes import building, checking  # noqa: F401
        trainer = finetune(recipe, arguments.resume, allowed)
    except RecipeError as error:
        print("\n".join(f"{arguments.recipe}: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return 2
    trainer.accelerator.end_training()
    return 0


def finetune(recipe: dict[str, Any], resume: bool = False, allowed: Allowed = NOTHING_ELSE) -> "Trainer":
    """Train, save the model, the training state and a picture of the losses into `trainer.output_dir`, and return the
    trainer.

    A data set to evaluate on, without `trainer.eval_strategy`, is evaluated once at the end.

    Raises:
        RecipeError: a section does not fit, or there is nothing to resume from.
    """
    # Not above: they import torch and transformers, for which a mistake in the command line need not wait.
    from nemo_automodel.recipes.building import build_trainer
    from nemo_automodel.recipes.checking import checked
    from nemo_automodel.recipes.checkpoints import adapter_config
    from nemo_automodel.recipes.losses import draw
    from nemo_automodel.recipes.resuming import last_checkpoint

    arguments = checked(recipe, allowed)
    checkpoint = last_checkpoint(arguments, adapted=adapter_config(recipe, allowed) is not None) if resume else None
    trainer = build_trainer(recipe, arguments, checkpoint, allowed)
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()
    if trainer.eval_dataset is not None and arguments.eval_strategy == "no":
        trainer.evaluate()
    trainer.save_state()
    if trainer.is_world_process_zero():
        draw(trainer.state.log_history, Path(trainer.args.output_dir))
    return trainer


def leave(code: int) -> NoReturn:
    """Exits; under torchrun on CPUs at once, as threads of gloo now and then abort an interpreter that shuts down."""
    if "TORCHELASTIC_RUN_ID" in os.environ and not _has_accelerator():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _has_accelerator() -> bool:
    import torch

    return torch.accelerator.is_available()


if __name__ == "__main__":
    leave(main())
