"""What a model reads: its tokenizer, or its processor of images and text, the data sets, and how batches are made."""

from collections.abc import Callable, Iterator
from inspect import signature
from typing import Any

from transformers import PreTrainedModel, default_data_collator
from transformers.utils import is_vision_available

from nemo_automodel.recipes.chat import chat_options, with_template
from nemo_automodel.recipes.checkpoints import load_processor, load_tokenizer
from nemo_automodel.recipes.collating import ImageTextCollator
from nemo_automodel.recipes.mistakes import RecipeError, naming, refuse
from nemo_automodel.recipes.parts import build, check
from nemo_automodel.recipes.targets import (
    AUTO_MODELS,
    CHAT,
    NOTHING_ELSE,
    OWN,
    OWN_IMAGES,
    TARGET,
    Allowed,
    is_of_chat,
    is_of_images,
)

SECTIONS = ("dataset", "eval_dataset")
OFFERED = ("tokenizer", "processor", "vocab_size", "chat")  # to data sets


def check_inputs(recipe: dict[str, Any], allowed: Allowed = NOTHING_ELSE) -> None:
    """Raises RecipeError where model and data sets do not go together: one of text alone, the other of images too."""
    refuse(_mistakes(recipe, allowed))


def _mistakes(recipe: dict[str, Any], allowed: Allowed) -> Iterator[str]:
    images = is_of_images(recipe["model"])
    usual = f"{OWN_IMAGES}.ImageTextDataset" if images else f"{OWN}.TextDataset"
    model = recipe["model"].get(TARGET)
    for name, target in _targets(recipe, allowed).items():
        if getattr(target, "takes_images", images) != images:
            kind, other = ("text alone", "images") if images else ("images", "text alone")
            entry = AUTO_MODELS[0 if images else 1]
            yield (f"{name}.{TARGET}: {target.__name__} is of {kind}, and {model} of {other}: take {usual}, or {entry}")
    yield from _chat_mistakes(recipe)
    unread = "tokenizer" if images else "processor"
    if unread in recipe:
        yield f"{unread}: would be ignored: the section {'processor' if images else 'tokenizer'} says it"
    if images and not is_vision_available():
        yield "model: images need the package pillow; run: pip install pillow"


def _chat_mistakes(recipe: dict[str, Any]) -> Iterator[str]:
    chat = is_of_chat(recipe)
    if "chat" in recipe and not chat:
        yield f"chat: would be ignored: it is for a dataset of {CHAT}"
    if "eval_dataset" in recipe and (recipe["eval_dataset"].get(TARGET) == CHAT) != chat:
        yield f"eval_dataset.{TARGET}: of chat data is evaluated what is trained on such: take {CHAT} for both, or none"


def _targets(recipe: dict[str, Any], allowed: Allowed) -> dict[str, Callable[..., Any]]:
    return {name: check(recipe[name], name, allowed, OFFERED) for name in SECTIONS if name in recipe}


def load_reader(recipe: dict[str, Any], allowed: Allowed = NOTHING_ELSE) -> Any:
    """The processor of a model of images and text; else the tokenizer, or None where there is none and no data set
    needs it."""
    if is_of_images(recipe["model"]):
        return load_processor(recipe, allowed)
    needed = any("tokenizer" in signature(target).parameters for target in _targets(recipe, allowed).values())
    tokenizer = load_tokenizer(recipe, needed, allowed)
    return with_template(tokenizer, chat_options(recipe)) if is_of_chat(recipe) else tokenizer


def build_datasets(
    recipe: dict[str, Any], model: PreTrainedModel, reader: Any, allowed: Allowed = NOTHING_ELSE
) -> dict[str, Any]:
    """The data sets by the names of their sections.

    Raises:
        RecipeError: what their own classes say, or ids beyond the model's vocabulary.
    """
    size = model.config.get_text_config().vocab_size
    for name in SECTIONS:
        if recipe.get(name, {}).get("vocab_size", 0) > size:
            raise RecipeError(f"{name}.vocab_size: the model has {size} tokens; leave it out")
    offered = {"tokenizer": getattr(reader, "tokenizer", reader), "processor": reader, "vocab_size": size}
    if is_of_chat(recipe):
        offered["chat"] = chat_options(recipe)
    made = {name: build(recipe[name], name, allowed, **offered) for name in SECTIONS if name in recipe}
    return {name: one.rows for name, one in made.items()} if is_of_chat(recipe) else made


def collator_for(datasets: dict[str, Any], reader: Any, sharded: bool) -> Callable[..., dict[str, Any]]:
    """How items become batches.

    Raises:
        RecipeError: the processor cannot say what answers are, or, on a sharded model, an example has no image: where
            one process runs the tower and another does not, both wait for ever.
    """
    images = [name for name in SECTIONS if getattr(datasets.get(name), "takes_images", False)]
    if not images:
        return default_data_collator
    for name in images:
        bare = getattr(datasets[name], "without_images", lambda: None)()
        if sharded and bare:
            raise RecipeError(f"{name}: {bare} has no image: under torchrun every example needs one")
    with naming("processor", {}):
        return ImageTextCollator(reader)
