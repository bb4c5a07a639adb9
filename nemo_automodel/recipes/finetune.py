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
from typing import Any, NoReturn

import torch
from transformers import Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from nemo_automodel.components.moe.balance import MoEBalanceCallback, routers
from nemo_automodel.recipes.arguments import optimizer_of, training_arguments
from nemo_automodel.recipes.checkpoints import adapter_config, build_model, check_model
from nemo_automodel.recipes.command import parser
from nemo_automodel.recipes.compiling import compile_layers, compile_options
from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.fp8 import convert, fp8_options
from nemo_automodel.recipes.freezing import check_freeze, freeze
from nemo_automodel.recipes.inputs import OFFERED, SECTIONS, build_datasets, check_inputs, collator_for, load_reader
from nemo_automodel.recipes.losses import draw
from nemo_automodel.recipes.mistakes import RecipeError, all_of, naming, refuse, unknown
from nemo_automodel.recipes.packing import check_packing
from nemo_automodel.recipes.parallel.refusals import check_parallel
from nemo_automodel.recipes.parallel.run import parallel_trainer
from nemo_automodel.recipes.parts import check
from nemo_automodel.recipes.quantization import is_quantised, quantization_config
from nemo_automodel.recipes.saving import TokenizerCallback
from nemo_automodel.recipes.sharding import OPTIMIZER_FOLDER, ShardedTrainer, shard
from nemo_automodel.recipes.targets import NOTHING_ELSE, Allowed, is_of_chat
from nemo_automodel.recipes.throughput import ThroughputCallback
from nemo_automodel.recipes.tree import register_tree
from nemo_automodel.recipes.values import misfits

ADAPTER_FILE, OPTIMIZER_FILE = "adapter_config.json", "optimizer.pt"
READERS = ("tokenizer", "processor")
SHARDING_OPTIONS = ("reshard_after_forward", "cpu_offload")


def main(argv: list[str] | None = None) -> int:
    """Run the recipe; 0 when it trained and saved, 2 when the YAML or an override is wrong."""
    arguments = parser("python -m nemo_automodel.recipes.finetune", __doc__).parse_intermixed_args(argv)
    allowed = Allowed(tuple(arguments.dataset_module), arguments.trust_remote_code)
    try:
        register_tree(Path.cwd())
        trainer = finetune(load_recipe(arguments.recipe, arguments.overrides), arguments.resume, allowed)
    except RecipeError as error:
        print("\n".join(f"{arguments.recipe}: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return 2
    trainer.accelerator.end_training()
    return 0


def finetune(recipe: dict[str, Any], resume: bool = False, allowed: Allowed = NOTHING_ELSE) -> Trainer:
    """Train, save the model, the training state and a picture of the losses into `trainer.output_dir`, and return the
    trainer.

    A data set to evaluate on, without `trainer.eval_strategy`, is evaluated once at the end.

    Raises:
        RecipeError: a section does not fit, or there is nothing to resume from.
    """
    arguments = _checked(recipe, allowed)
    checkpoint = _last_checkpoint(arguments, adapted=adapter_config(recipe, allowed) is not None) if resume else None
    trainer = build_trainer(recipe, arguments, checkpoint, allowed)
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()
    if trainer.eval_dataset is not None and arguments.eval_strategy == "no":
        trainer.evaluate()
    trainer.save_state()
    if trainer.is_world_process_zero():
        draw(trainer.state.log_history, Path(trainer.args.output_dir))
    return trainer


def _checked(recipe: dict[str, Any], allowed: Allowed) -> TrainingArguments:
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
    check_parallel(recipe, arguments, allowed)
    return arguments


def build_trainer(
    recipe: dict[str, Any],
    arguments: TrainingArguments,
    checkpoint: str | None = None,
    allowed: Allowed = NOTHING_ELSE,
) -> Trainer:
    """A Trainer over the recipe's parts; under `torchrun` one over a sharded model."""
    sharded = arguments.world_size > 1
    set_seed(
        arguments.seed
    )  # for what is drawn before the Trainer does so: adapters, fresh weights; equal on all ranks
    reader = load_reader(recipe, allowed)
    model = build_model(recipe, adapter_config(recipe, allowed), allowed, checkpoint if sharded else None)
    if "freeze" in recipe:
        freeze(model, recipe["freeze"])
    datasets = build_datasets(recipe, model, reader, allowed)
    chat = is_of_chat(recipe)
    batches = {"processing_class": reader} if chat else {"data_collator": collator_for(datasets, reader, sharded)}
    if getattr(arguments, "packing", False):
        check_packing(model if is_quantised(model) else model.to(arguments.device))
    if options := fp8_options(recipe):
        convert(model, options)
    if compiled := compile_options(recipe):
        compile_layers(model, compiled)
    trainer, group = _trainer_class(chat, sharded), None
    if sharded and "parallel" in recipe:
        trainer, group = parallel_trainer(recipe, model, arguments)
    elif sharded:
        options = recipe.get("fsdp", {})
        shard(model.to(arguments.device), arguments.device.type, bf16=arguments.bf16, **options)
    with naming("trainer", recipe["trainer"]):
        return trainer(
            model,
            arguments,
            **batches,
            train_dataset=datasets["dataset"],
            eval_dataset=datasets.get("eval_dataset"),
            optimizer_cls_and_kwargs=optimizer_of(recipe),
            callbacks=[
                ThroughputCallback(),
                *([MoEBalanceCallback(group)] if routers(model) else []),
                *([TokenizerCallback(reader)] if reader is not None else []),
            ],
        )


def _trainer_class(chat: bool, sharded: bool) -> type[Trainer]:
    if not chat:
        return ShardedTrainer if sharded else Trainer
    from nemo_automodel.recipes.sft import ChatTrainer, ShardedChatTrainer  # imports trl, an extra

    return ShardedChatTrainer if sharded else ChatTrainer


def _sharding_mistakes(recipe: dict[str, Any]) -> list[str]:
    options: dict[str, Any] = recipe.get("fsdp", {})
    return unknown("fsdp", options, SHARDING_OPTIONS, "sharding") or list(misfits("fsdp", options, shard))


def _alone_only(arguments: TrainingArguments) -> list[str]:
    """Fields that do not work on a sharded model."""
    if arguments.world_size == 1:
        return []
    return [
        f"trainer.{name}: does not work on a sharded model; leave it out under torchrun"
        for name in ("torch_compile", "load_best_model_at_end", "auto_find_batch_size")
        if getattr(arguments, name)
    ]


def _last_checkpoint(arguments: TrainingArguments, adapted: bool) -> str:
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


def leave(code: int) -> NoReturn:
    """Exits; under torchrun on CPUs at once, as threads of gloo now and then abort an interpreter that shuts down."""
    if "TORCHELASTIC_RUN_ID" in os.environ and not torch.accelerator.is_available():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    leave(main())
