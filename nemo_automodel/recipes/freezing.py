"""The section `freeze`: parts of a model that stay as they are, bit for bit."""

from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from nemo_automodel.recipes.mistakes import RecipeError, close_match

PARTS = ("vision", "projector", "text")


def check_freeze(section: Any) -> None:
    """Raises RecipeError where it is no list of names."""
    if not isinstance(section, list) or not all(isinstance(name, str) for name in section):
        raise RecipeError(f"freeze: expected a list of {', '.join(PARTS)} or names of modules, got {section!r:.80}")


def freeze(model: Any, names: list[str]) -> None:
    """No parameter of these parts gets a gradient, adapters within them included.

    names: `vision`, the tower; `text`, the text model and its head; `projector`, what is neither; or dotted names of
    modules. Where the tower projects, the projector is a part of it, and has a module's name alone.

    Raises:
        RecipeError: the model has no such part or module, or nothing is left to train.
    """
    base = model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model
    for name in names:
        parameters = list(_parameters(base, name))
        if not parameters:
            raise RecipeError(f"freeze: {_missing(base, name)}")
        for parameter in parameters:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RecipeError(f"freeze: {', '.join(names)} leave nothing to train; take one of them out")


def _parameters(model: PreTrainedModel, name: str) -> Iterator[nn.Parameter]:
    if name not in PARTS:
        modules = [module for path, module in model.named_modules() if path == name]
        return (parameter for module in modules for parameter in module.parameters())
    tower = model.get_encoder(modality="image")  # the model itself where it has none
    vision = [] if tower is model or tower is model.base_model else list(tower.parameters())
    halves = [half for half in (model.get_decoder(), model.get_output_embeddings()) if half is not None]
    text = [parameter for half in halves for parameter in half.parameters()] if vision else list(model.parameters())
    if name != "projector":
        return iter(vision if name == "vision" else text)
    taken = {id(parameter) for parameter in (*vision, *text)}
    return (parameter for parameter in model.parameters() if id(parameter) not in taken)


def _missing(model: nn.Module, name: str) -> str:
    if name in PARTS:
        return f"{type(model).__name__} has no {name} of its own, or no parameters in it"
    known = [path for path, _ in model.named_modules() if path]
    return f"{type(model).__name__} has no module '{name}'{close_match(name, [*PARTS, *known])}"
