"""What a model reads: its tokenizer, or its processor of images and text, the data sets, and how batches are made."""

from collections.abc import Callable, Iterator
from inspect import signature
from typing import Any

from transformers import PreTrainedModel, default_data_collator
from transformers.utils import is_vision_available

from nemo_automodel.recipes.checkpoints import load_processor, load_tokenizer
from nemo_automodel.recipes.collating import ImageTextCollator
from nemo_automodel.recipes.mistakes import RecipeError, naming, refuse
from nemo_automodel.recipes.parts import build, check
from nemo_automodel.recipes.targets import AUTO_MODELS, DATASETS, NOTHING_ELSE, TARGET, Allowed, is_of_images

SECTIONS = ("dataset", "eval_dataset")
OFFERED = ("tokenizer", "processor", "vocab_size")  # to data sets


def check_inputs(recipe: dict[str, Any], allowed: Allowed = NOTHING_ELSE) -> None:
    """Raises RecipeError where model and data sets do not go together: one of text alone, the other of images too."""
    refuse(_mistakes(recipe, allowed))


def _mistakes(recipe: dict[str, Any], allowed: Allowed) -> Iterator[str]:
    images = is_of_images(recipe["model"])
    usual = DATASETS[-1] if images else DATASETS[1]
    model = recipe["model"].get(TARGET)
    for name, target in _targets(recipe, allowed).items():
        if getattr(target, "takes_images", images) != images:
            kind, other = ("text alone", "images") if images else ("images", "text alone")
            entry = AUTO_MODELS[0 if images else 1]
            yield (f"{name}.{TARGET}: {target.__name__} is of {kind}, and {model} of {other}: take {usual}, or {entry}")
    unread = "tokenizer" if images else "processor"
    if unread in recipe:
        yield f"{unread}: would be ignored: the section {'processor' if images else 'tokenizer'} says it"
    if images and not is_vision_available():
        yield "model: images need the package pillow; run: pip install pillow"


def _targets(recipe: dict[str, Any], allowed: Allowed) -> dict[str, Callable[..., Any]]:
    return {name: check(recipe[name], name, allowed, OFFERED) for name in SECTIONS if name in recipe}


def load_reader(recipe: dict[str, Any], allowed: Allowed = NOTHING_ELSE) -> Any:
    """The processor of a model of images and text; else the tokenizer, or None where there is none and no data set
    needs it."""
    if is_of_images(recipe["model"]):
        return load_processor(recipe, allowed)
    needed = any("tokenizer" in signature(target).parameters for target in _targets(recipe, allowed).values())
    return load_tokenizer(recipe, needed, allowed)


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
    return {name: build(recipe[name], name, allowed, **offered) for name in SECTIONS if name in recipe}


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
