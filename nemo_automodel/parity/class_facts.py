"""What a class of images and text tells by itself, built without weights: its tower, what it calls the tower with, what
stands beside, its processor. `codegen/vision_fields.json` keeps it, for drafts."""

import copy
import inspect
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.models.auto import processing_auto

from codegen.language.vision.tensors import FIELDS, OUTPUTS

MOST = 12  # modules in a projector that are told one by one
PARTS = ("text_config", "vision_config")
EPSILONS = ("eps", "variance_epsilon", "epsilon")
COMMON = (*OUTPUTS, "attentions", "cls_token_value")  # outputs of towers that say nothing
OPTIONS = ("kwargs", "interpolate_pos_encoding", "output_attentions", "output_hidden_states", "return_dict")


def class_facts(model_class: type[PreTrainedModel], config: PreTrainedConfig) -> dict[str, Any] | None:
    """The facts of a class; None where it cannot be built with its config as it is, or has no tower of that config.

    tower: `family.Class`; auto: whether AutoModel takes it for its config. takes: what the tower is given besides
    pixels. outputs: what it returns besides the usual. batch: the fields of a batch that the model takes. beside:
    modules with weights beside tower and text: the class, what it is called with, the classes in it, the epsilon and
    the offset of its norms, biases that no flag of the config turns, and whether it is built with the tower's config.
    axes: how rotary positions follow several axes, where they do.
    """
    epsilons, flipped = _unlike(config), copy.deepcopy(config)
    flags = [name for name, value in vars(config).items() if name.endswith("_bias") and isinstance(value, bool)]
    for name in flags:
        setattr(flipped, name, not getattr(config, name))
    try:
        with torch.device("meta"):
            model = model_class(config)
            other = model_class(flipped) if flags else None
    except Exception as error:  # sizes that a default config leaves open, or a package that is not installed
        print(f"{model_class.__name__} is not built: {type(error).__name__}")
        return None
    base = _base(model)
    tower = _of_config(base, config.vision_config)
    if tower is None:
        return None
    path, module = tower
    found: dict[str, Any] = {
        "tower": _name(type(module)),
        "auto": AutoModel._model_mapping.get(type(config.vision_config), None) is type(module),
        "takes": _arguments(module),
        "outputs": _outputs(module),
        "batch": [name for name in FIELDS if name in {*_arguments(model), *_arguments_of(model, "get_image_features")}],
        "axes": _axes(model, base),
        "beside": {
            name: one
            | _biases(one, base.get_submodule(name), None if other is None else _base(other).get_submodule(name))
            for name, one in _beside(model, base, path, epsilons)
        },
        "processor": vars(processing_auto)["PROCESSOR_MAPPING_NAMES"].get(config.model_type),
    }
    return {name: value for name, value in found.items() if value}


def _base(model: PreTrainedModel) -> nn.Module:
    return getattr(model, model.base_model_prefix, model) if model.base_model_prefix else model


def _biases(found: Mapping[str, Any], module: nn.Module, other: nn.Module | None) -> dict[str, Any]:
    """Whether maps have a bias, of those that have the same with every flag of the config turned."""
    linear = [path for path, kind in found.get("inside", {}).items() if kind == "Linear"] if other is not None else []
    pairs = {path: [_has_bias(one, path) for one in (module, other)] for path in linear}
    same = {path: has[0] for path, has in pairs.items() if has[0] == has[1]}
    return {"biases": same} if same and len(same) < len(pairs) else {}


def _has_bias(module: nn.Module | None, path: str) -> bool:
    return module is not None and module.get_submodule(path).bias is not None


def _of_config(base: nn.Module, config: PreTrainedConfig) -> tuple[str, nn.Module] | None:
    """The outermost module that is built with a config."""
    named = ((path, one) for path, one in base.named_modules() if getattr(one, "config", None) is config)
    return next(named, None)


def _axes(model: PreTrainedModel, base: nn.Module) -> str | None:
    """The order of three axes among the frequencies, told by the angles that the text's rotary table makes of positions
    on one axis; None where positions are one."""
    text = _of_config(base, model.config.text_config)
    if not hasattr(base, "get_rope_index") or text is None:
        return None
    rotary = next((one for one in text[1].modules() if isinstance(getattr(one, "inv_freq", None), torch.Tensor)), None)
    if rotary is None:
        return None
    config, number = copy.deepcopy(model.config.text_config), cast(torch.Tensor, rotary.inv_freq).numel()
    config.rope_parameters["mrope_section"] = [number - 2 * (number // 3), number // 3, number // 3]
    try:
        sines = type(rotary)(config)(torch.zeros(1), torch.tensor([0, 0, 1]).view(3, 1, 1))[1]
    except RuntimeError:  # a table that has other sections than these
        return "other"
    turned = sines.squeeze().nonzero().flatten().tolist() if sines.dim() == 3 else []  # of 4: put together elsewhere
    half = [at for at in turned if at < number]
    return "interleaved" if half and half != list(range(half[0], half[-1] + 1)) else "chunked"


def _beside(
    model: PreTrainedModel, base: nn.Module, tower: str, epsilons: Mapping[float, str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    text = _of_config(base, model.config.text_config)
    apart = [path.partition(".")[0] for path in (tower, text[0] if text is not None else "")]
    for name, module in base.named_children():
        if name in apart or module is model.get_output_embeddings() or next(module.parameters(), None) is None:
            continue
        built = list(inspect.signature(type(module).__init__).parameters.values())[1:2]
        found = {
            "class": _name(type(module)),
            "takes": _arguments(module),
            **_inside(module, epsilons),
            "towers": any(one.annotation is type(model.config.vision_config) for one in built),
        }
        yield name, {key: value for key, value in found.items() if value}


def _unlike(config: PreTrainedConfig) -> dict[float, str]:
    """Gives every epsilon of a config, and of text and tower in it, its own value: value -> how a spec reads it."""
    found: dict[float, str] = {}
    for path, place in (("config", config), *((f"config.{part}", getattr(config, part)) for part in PARTS)):
        for name, value in vars(place).items():
            if name.endswith("eps") and isinstance(value, float):
                setattr(place, name, 0.001 * (len(found) + 2))
                found[getattr(place, name)] = f"{path}.{name}"
    return found


def _inside(module: nn.Module, epsilons: Mapping[float, str]) -> dict[str, Any]:
    """Modules that hold no others, and lists, in their order, and what is added in norms; of many the outermost."""
    leaves = {path: one for path, one in module.named_modules() if path and not any(one.children())}
    if len(leaves) > MOST:
        return {"inside": {path: type(one).__name__ for path, one in module.named_children()}}
    lists = {path: one for path, one in module.named_modules() if isinstance(one, nn.ModuleList)}
    return {
        "inside": {path: type(one).__name__ for path, one in (leaves | lists).items()},
        "norms": dict(_norms(leaves, epsilons)),
    }


def _norms(leaves: Mapping[str, nn.Module], epsilons: Mapping[float, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What norms add to their variance, and to their weight: 1 where weights of zero do not give zeros."""
    for path, one in leaves.items():
        weight = getattr(one, "weight", None)
        eps = next((getattr(one, name) for name in EPSILONS if hasattr(one, name)), None)
        if eps is None or not isinstance(weight, nn.Parameter) or weight.dim() != 1:
            continue
        own = copy.deepcopy(one).to_empty(device="cpu")
        for parameter in own.parameters():
            nn.init.zeros_(parameter)
        try:
            added = int(bool(own(torch.randn(1, len(weight))).any()))
        except RuntimeError:  # a norm of pictures, not of rows
            continue
        yield path, {"eps": epsilons.get(eps, eps), **({"offset": added} if added else {})}


def _name(cls: type) -> str:
    """`family.Class`, as specs name classes of transformers; the bare name for those of torch."""
    module = cls.__module__.split(".")
    return f"{module[-2]}.{cls.__name__}" if module[0] == "transformers" else cls.__name__


def _arguments(module: nn.Module) -> list[str]:
    """What its forward takes besides the first."""
    return _arguments_of(module, "forward")[1:]


def _arguments_of(module: nn.Module, method: str) -> list[str]:
    found = getattr(module, method, None)
    return [name for name in inspect.signature(found).parameters if name not in OPTIONS] if found is not None else []


def _outputs(module: nn.Module) -> list[str]:
    """Fields of what a tower says that it returns, besides the usual."""
    try:
        returned = typing.get_type_hints(module.forward).get("return")
    except NameError:
        return []
    kinds = [one for one in (typing.get_args(returned) or (returned,)) if isinstance(one, type) and is_dataclass(one)]
    return [field.name for kind in kinds for field in fields(kind) if field.name not in COMMON]
