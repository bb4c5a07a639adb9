"""The section `compile`: each layer by itself, with torch.compile.

One layer is compiled once for all of its kind, where `trainer.torch_compile` compiles the model as a whole, as often as
it is deep; and layers may be sharded, which the whole may not.
"""

from dataclasses import dataclass
from typing import Any

import torch

from nemo_automodel.recipes.mistakes import RecipeError, refuse, unknown
from nemo_automodel.recipes.values import misfits


@dataclass(frozen=True)
class CompileOptions:
    """What torch.compile may be told; by themselves its own."""

    backend: str = "inductor"
    mode: str | None = None
    dynamic: bool | None = None
    fullgraph: bool = False


def compile_options(recipe: dict[str, Any]) -> dict[str, Any] | None:
    """Keywords of torch.compile, or None where there is no section.

    Raises:
        RecipeError: a field does not exist or does not fit, or the whole model is compiled already.
    """
    if "compile" not in recipe:
        return None
    section = recipe["compile"]
    refuse(unknown("compile", section, CompileOptions.__dataclass_fields__, "it"))
    refuse(misfits("compile", section, CompileOptions))
    if recipe["trainer"].get("torch_compile"):
        raise RecipeError("trainer.torch_compile: section compile says it already; keep one of them")
    options = CompileOptions(**section)
    for name, known in (("backend", torch.compiler.list_backends(exclude_tags=())), ("mode", [None, *_modes()])):
        if getattr(options, name) not in known:
            raise RecipeError(f"compile.{name}: expected one of {', '.join(map(str, known))}, got {section[name]!r}")
    return vars(options)


def _modes() -> list[str]:
    return list(torch._inductor.list_mode_options())


def compile_layers(model: Any, options: dict[str, Any]) -> None:
    """Compile every layer of text and tower in place: names of parameters stay.

    Raises:
        RecipeError: the model declares no layers in `_no_split_modules`.
    """
    layers = [module for module in model.modules() if type(module).__name__ in (model._no_split_modules or ())]
    if not layers:
        raise RecipeError(f"compile: {type(model).__name__} names no layers; take trainer.torch_compile")
    for layer in layers:
        layer.compile(**options)
