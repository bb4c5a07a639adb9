"""A Trainer over the parts of a recipe."""

from collections.abc import Callable
from typing import Any

from transformers import Trainer, TrainingArguments, set_seed

from nemo_automodel.components.moe.balance import MoEBalanceCallback, routers
from nemo_automodel.recipes.arguments import optimizer_of
from nemo_automodel.recipes.checkpoints import adapter_config, build_model
from nemo_automodel.recipes.compiling import compile_layers, compile_options
from nemo_automodel.recipes.fp8 import convert, fp8_options
from nemo_automodel.recipes.freezing import freeze
from nemo_automodel.recipes.heap import HeapCallback
from nemo_automodel.recipes.inputs import build_datasets, collator_for, load_reader
from nemo_automodel.recipes.mistakes import naming
from nemo_automodel.recipes.packing import check_packing
from nemo_automodel.recipes.quantization import is_quantised
from nemo_automodel.recipes.saving import TokenizerCallback
from nemo_automodel.recipes.targets import NOTHING_ELSE, Allowed, is_of_chat
from nemo_automodel.recipes.throughput import ThroughputCallback


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
    trainer, group = _sharded(recipe, model, arguments) if sharded else (_of_one_process(chat), None)
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
                HeapCallback(),
                *([MoEBalanceCallback(group)] if routers(model) else []),
                *([TokenizerCallback(reader)] if reader is not None else []),
            ],
        )


# What a run does not need is not imported: trl, torch's checkpoints of several processes, stages, experts.


def _of_one_process(chat: bool) -> type[Trainer]:
    if not chat:
        return Trainer
    from nemo_automodel.recipes.sft import ChatTrainer

    return ChatTrainer


def _sharded(recipe: dict[str, Any], model: Any, arguments: TrainingArguments) -> tuple[Callable[..., Trainer], Any]:
    """Shards the model in place; gives the Trainer to call with it, and the group whose model has the same routers
    (None: all)."""
    if "parallel" in recipe:
        from nemo_automodel.recipes.parallel.run import parallel_trainer

        return parallel_trainer(recipe, model, arguments)
    from nemo_automodel.recipes.sharding import ShardedTrainer, shard

    shard(model.to(arguments.device), arguments.device.type, bf16=arguments.bf16, **recipe.get("fsdp", {}))
    if not is_of_chat(recipe):
        return ShardedTrainer, None
    from nemo_automodel.recipes.sft import ShardedChatTrainer

    return ShardedChatTrainer, None
