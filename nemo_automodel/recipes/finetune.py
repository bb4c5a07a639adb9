"""Fine-tunes a causal language model as an example YAML says.

    python -m nemo_automodel.recipes.finetune examples/llm_finetune/llama/llama.yaml trainer.max_steps=100
    torchrun --nproc-per-node 2 -m nemo_automodel.recipes.finetune examples/llm_finetune/llama/llama.yaml

Under `torchrun` the model is sharded with FSDP2. Checkpoints are in Hugging Face layout; `--resume` goes on from the
last one.
"""

import argparse
import os
import sys
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any, NoReturn

import torch
from transformers import AutoTokenizer, PreTrainedModel, Trainer, TrainingArguments, default_data_collator
from transformers.trainer_utils import get_last_checkpoint

from nemo_automodel.components.moe.balance import MoEBalanceCallback, routers
from nemo_automodel.recipes.config import TARGET, RecipeError, build, close_match, load_recipe, resolve_target
from nemo_automodel.recipes.sharding import OPTIMIZER_FOLDER, ShardedTrainer, shard

WEIGHTS = "pretrained_model_name_or_path"
DATASETS = ("dataset", "eval_dataset")
SHARDING_OPTIONS = ("reshard_after_forward", "cpu_offload")


def main(argv: list[str] | None = None) -> int:
    """Run the recipe; 0 when it trained and saved, 2 when the YAML or an override is wrong."""
    parser = argparse.ArgumentParser(prog="python -m nemo_automodel.recipes.finetune", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("recipe", help="the example YAML")
    parser.add_argument("overrides", nargs="*", help="dotted.key=value, read as YAML")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in trainer.output_dir")
    arguments = parser.parse_args(argv)
    try:
        trainer = finetune(load_recipe(arguments.recipe, arguments.overrides), resume=arguments.resume)
    except RecipeError as error:
        print("\n".join(f"{arguments.recipe}: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return 2
    trainer.accelerator.end_training()
    return 0


def finetune(recipe: dict[str, Any], resume: bool = False) -> Trainer:
    """Train, save the model and the training state into `trainer.output_dir`, and return the trainer.

    Raises:
        RecipeError: a section does not fit, or there is nothing to resume from.
    """
    arguments = training_arguments(recipe)
    checkpoint = _last_checkpoint(arguments) if resume else None
    trainer = build_trainer(recipe, arguments, checkpoint)
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()
    trainer.save_state()
    return trainer


def training_arguments(recipe: dict[str, Any]) -> TrainingArguments:
    """The `trainer` section, with the optimizer's learning rate and weight decay in the Trainer's own places."""
    settings, optimizer = dict(recipe["trainer"]), recipe["optimizer"]
    known = [field.name for field in fields(TrainingArguments)]
    for name in settings:
        if name not in known:
            raise RecipeError(f"trainer.{name}: TrainingArguments has no such field{close_match(name, known)}")
    for name, source in {"learning_rate": "lr", "weight_decay": "weight_decay"}.items():
        if name in settings and source in optimizer:
            raise RecipeError(f"trainer.{name}: optimizer.{source} says it already; keep one of them")
        if source in optimizer:
            settings[name] = optimizer[source]
    return TrainingArguments(**{**_defaults(), **settings})


def _defaults() -> dict[str, Any]:
    """On a CPU the Trainer joins a distributed run only where it is told to; else every rank would train alone."""
    on_cpu = not torch.accelerator.is_available()
    return {"report_to": "none", "use_cpu": on_cpu, "dataloader_pin_memory": not on_cpu}


def build_trainer(recipe: dict[str, Any], arguments: TrainingArguments, checkpoint: str | None = None) -> Trainer:
    """A Trainer over the recipe's parts; under `torchrun` one over a sharded model."""
    sharded, sharding = arguments.world_size > 1, _sharding_options(recipe, arguments)
    model = _build_model(recipe["model"], checkpoint if sharded else None)
    tokenizer = _load_tokenizer(recipe)
    datasets = {
        name: build(recipe[name], name, tokenizer=tokenizer, vocab_size=model.config.vocab_size)
        for name in DATASETS
        if name in recipe
    }
    if sharded:
        shard(model.to(arguments.device), arguments.device.type, bf16=arguments.bf16, **sharding)
    optimizer = {key: value for key, value in recipe["optimizer"].items() if key not in (TARGET, "weight_decay")}
    return (ShardedTrainer if sharded else Trainer)(
        model,
        arguments,
        data_collator=default_data_collator,
        train_dataset=datasets["dataset"],
        eval_dataset=datasets.get("eval_dataset"),
        processing_class=tokenizer,
        optimizer_cls_and_kwargs=(resolve_target(recipe["optimizer"], "optimizer"), optimizer),
        callbacks=[MoEBalanceCallback()] if routers(model) else None,
    )


def _build_model(section: dict[str, Any], checkpoint: str | None) -> PreTrainedModel:
    """A sharded model cannot be filled later, so a checkpoint to resume from takes the place of the named weights."""
    if checkpoint is None:
        return build(section, "model")
    if WEIGHTS not in section:
        raise RecipeError(f"model.{WEIGHTS}: needed to resume a sharded run")
    return build({**section, WEIGHTS: checkpoint}, "model")


def _sharding_options(recipe: dict[str, Any], arguments: TrainingArguments) -> dict[str, Any]:
    options: dict[str, Any] = recipe.get("fsdp", {})
    for name in options:
        if name not in SHARDING_OPTIONS:
            raise RecipeError(f"fsdp.{name}: not known{close_match(name, SHARDING_OPTIONS)}")
    if arguments.world_size > 1 and arguments.torch_compile:
        raise RecipeError("trainer.torch_compile: does not work on a sharded model; leave it out under torchrun")
    return options


def _load_tokenizer(recipe: dict[str, Any]) -> Any:
    """The named tokenizer, or the model's own where a data set asks for one, or None."""
    if "tokenizer" in recipe:
        return build(recipe["tokenizer"], "tokenizer")
    targets = [resolve_target(recipe[name], name) for name in DATASETS if name in recipe]
    if not any("tokenizer" in signature(target).parameters for target in targets):
        return None
    if WEIGHTS not in recipe["model"]:
        raise RecipeError("no section 'tokenizer', and the model names no checkpoint to take one from")
    return AutoTokenizer.from_pretrained(recipe["model"][WEIGHTS])


def _last_checkpoint(arguments: TrainingArguments) -> str:
    checkpoint = get_last_checkpoint(arguments.output_dir)
    if checkpoint is None:
        raise RecipeError(f"trainer.output_dir: {arguments.output_dir} has no checkpoint to resume from")
    # The Trainer starts with an empty optimizer, without a word, where it does not find its own file.
    was_sharded = (Path(checkpoint) / OPTIMIZER_FOLDER).is_dir()
    if was_sharded != (arguments.world_size > 1):
        cure = "with torchrun" if was_sharded else "on one process"
        raise RecipeError(f"trainer.output_dir: {checkpoint} can only be resumed {cure}, as it was written")
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
