"""The sections `trainer` and `optimizer`: transformers' TrainingArguments and an optimizer of torch."""

from collections.abc import Iterator
from dataclasses import fields
from inspect import signature
from typing import Any

import torch
from transformers import TrainingArguments, get_scheduler
from transformers.integrations import get_reporting_integration_callbacks, is_tensorboard_available
from transformers.utils import is_liger_kernel_available

from nemo_automodel.recipes.chat import chat_options
from nemo_automodel.recipes.mistakes import RecipeError, naming, refuse, unknown
from nemo_automodel.recipes.targets import TARGET, is_of_chat, is_of_images, resolve_target
from nemo_automodel.recipes.values import misfits

OPTIMIZER = "the section optimizer says it"
SHARDING = "is not for recipes: start them with torchrun, and see the section fsdp"
EVALUATION = "evaluation goes by eval_dataset and trainer.eval_strategy"
# field -> why it would be ignored, and what to write in its place
IGNORED = {
    **dict.fromkeys(("optim", "optim_args", "optim_target_modules"), OPTIMIZER),
    **dict.fromkeys(("adam_beta1", "adam_beta2", "adam_epsilon"), OPTIMIZER),
    **dict.fromkeys(("fsdp", "fsdp_config", "deepspeed", "parallelism_config", "local_rank"), SHARDING),
    **dict.fromkeys(("do_eval", "do_predict"), EVALUATION),
    "do_train": "a recipe always trains",
    "resume_from_checkpoint": "say --resume on the command line",
}
# field -> the field that it would be ignored without, and the values of that
NEEDS = {
    "eval_steps": ("eval_strategy", ("steps",)),
    "gradient_checkpointing_kwargs": ("gradient_checkpointing", (True,)),
    "activation_checkpointing_kwargs": ("activation_checkpointing", (True,)),  # its name since transformers 5.24
}
EVAL_FIELDS = ("eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "per_device_eval_batch_size")
POSITIVE = ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps")
RECOMPUTING = ("use_reentrant", "preserve_rng_state", "determinism_check", "debug", "early_stop")
BY_LAYER = ("every_n_layers", "offload")  # of activation_checkpointing_kwargs beside them
IN_OPTIMIZER = {"learning_rate": "lr", "weight_decay": "weight_decay"}


def training_arguments(recipe: dict[str, Any]) -> TrainingArguments:
    """The `trainer` section, with the optimizer's learning rate and weight decay in the Trainer's own places.

    Raises:
        RecipeError: fields that do not exist, would be ignored, or whose values do not fit.
    """
    settings, optimizer = dict(recipe["trainer"]), recipe["optimizer"]
    refuse(_mistakes(recipe))
    for name, source in IN_OPTIMIZER.items():
        if source in optimizer:
            settings[name] = optimizer[source]
    with naming("trainer", settings):
        arguments = _made(recipe, {**_defaults(), "include_num_input_tokens_seen": _counted(recipe), **settings})
    try:
        get_reporting_integration_callbacks(arguments.report_to)
    except (ValueError, RuntimeError) as error:  # unknown, and not installed
        raise RecipeError(f"trainer.report_to: {error}") from error
    return arguments


def _made(recipe: dict[str, Any], settings: dict[str, Any]) -> TrainingArguments:
    if not is_of_chat(recipe):
        return TrainingArguments(**settings)
    options = chat_options(recipe)
    from nemo_automodel.recipes.sft import sft_arguments  # imports trl, an extra

    return sft_arguments(settings, options)


def _counted(recipe: dict[str, Any]) -> str:
    """Which tokens of a batch count: by a mask where batches are padded; without one the Trainer would complain."""
    padded = is_of_images(recipe.get("model", {})) or (
        is_of_chat(recipe) and recipe.get("chat", {}).get("packing") is not True
    )
    return "non_padding" if padded else "all"


def _mistakes(recipe: dict[str, Any]) -> Iterator[str]:
    settings, optimizer = recipe["trainer"], recipe["optimizer"]
    known = [field.name for field in fields(TrainingArguments)]
    yield from unknown("trainer", settings, known, "TrainingArguments")
    yield from misfits("trainer", {name: value for name, value in settings.items() if name in known}, TrainingArguments)
    for name, value in settings.items():
        if name in IGNORED:
            yield f"trainer.{name}: would be ignored: {IGNORED[name]}"
        elif name in EVAL_FIELDS and "eval_dataset" not in recipe:
            yield f"trainer.{name}: would be ignored: there is no section eval_dataset"
        elif name in NEEDS and settings.get(NEEDS[name][0]) not in NEEDS[name][1]:
            needed, values = NEEDS[name]
            yield f"trainer.{name}: would be ignored: set trainer.{needed}={str(values[0]).lower()}"
        elif name in POSITIVE and isinstance(value, int) and value < 1:
            yield f"trainer.{name}: expected 1 or more, got {value}"
        elif (source := IN_OPTIMIZER.get(name)) in optimizer:
            yield f"trainer.{name}: optimizer.{source} says it already; keep one of them"
    yield from _lengths(settings)
    for name, more in (("gradient_checkpointing_kwargs", ()), ("activation_checkpointing_kwargs", BY_LAYER)):
        yield from unknown(f"trainer.{name}", _mapping(settings, name), RECOMPUTING + more, "torch's checkpoint")
    if settings.get("use_liger_kernel") is True and not is_liger_kernel_available():
        yield "trainer.use_liger_kernel: liger-kernel is not installed; run: pip install liger-kernel"


def _lengths(settings: dict[str, Any]) -> Iterator[str]:
    """Steps go before epochs, and 0 means that nothing was said."""
    if settings.get("max_steps") == 0:
        yield "trainer.max_steps: 0 would be ignored: write 1 or more, or -1 to go by trainer.num_train_epochs"
    steps, epochs = settings.get("max_steps", -1), settings.get("num_train_epochs")
    if isinstance(steps, int) and steps > 0 and epochs is not None:
        yield "trainer.num_train_epochs: would be ignored: trainer.max_steps says it; set trainer.max_steps=-1"


def _mapping(settings: dict[str, Any], name: str) -> dict[str, Any]:
    found = settings.get(name)
    return found if isinstance(found, dict) else {}


def _defaults() -> dict[str, Any]:
    """On a CPU the Trainer joins a distributed run only where it is told to; else every rank would train alone. Losses
    go to TensorBoard where it is installed, and to no service that nobody named."""
    on_cpu = not torch.accelerator.is_available()
    return {
        "report_to": "tensorboard" if is_tensorboard_available() else "none",
        "use_cpu": on_cpu,
        "dataloader_pin_memory": not on_cpu,
    }


def optimizer_of(recipe: dict[str, Any]) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """The optimizer's class and arguments, but weight decay, which the Trainer hands out by parameter.

    Raises:
        RecipeError: fields that do not exist, or with which a trial step fails.
    """
    target: Any = resolve_target(recipe["optimizer"], "optimizer")
    settings = {name: value for name, value in recipe["optimizer"].items() if name != TARGET}
    known = [name for name in signature(target).parameters if name != "params"]
    mistakes = unknown("optimizer", settings, known, target.__name__)
    refuse(mistakes or misfits("optimizer", settings, target))
    if "learning_rate" in recipe["trainer"]:
        settings["lr"] = recipe["trainer"]["learning_rate"]
    _try(target, settings, recipe["trainer"])
    return target, {name: value for name, value in settings.items() if name != "weight_decay"}


def _try(target: Any, settings: dict[str, Any], trainer: dict[str, Any]) -> None:
    """One step on a vector and a matrix: some optimizers take no vectors, or want what a Trainer does not give. Then a
    schedule over it."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    parameters = [torch.nn.Parameter(torch.ones(shape, device=device)) for shape in ((2,), (2, 2))]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    try:
        optimizer = target(parameters, **settings)
        optimizer.step()
    except Exception as error:  # whatever it is, the settings are all that it can be about
        raise RecipeError(f"optimizer: {target.__name__}: {error}") from error
    options = trainer.get("lr_scheduler_kwargs")
    if isinstance(options, dict):
        with naming("trainer.lr_scheduler_kwargs", options):
            get_scheduler(trainer.get("lr_scheduler_type", "linear"), optimizer, 1, 2, options)
