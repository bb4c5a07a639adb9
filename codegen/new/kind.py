"""What kind of model a config describes: dense, mixture of experts, or vision-language."""

from collections.abc import Mapping
from typing import Any, cast

from codegen.errors import CodegenError
from codegen.frozen import Frozen

DENSE, MOE, VLM = "dense", "moe", "vlm"
CAUSAL = ("ForCausalLM", "LMHeadModel")
# Counts of experts under the names that published configs use; the first four are the common ones.
EXPERT_FIELDS = (
    *("num_local_experts", "n_routed_experts", "num_experts", "num_experts_per_tok"),
    *(
        "moe_num_experts",
        "num_moe_experts",
        "moe_topk",
        "moe_top_k",
        "moe_k",
        "top_k_experts",
        "ffn_config.moe_num_experts",
    ),
)


class Kind(Frozen):
    """The class of a model, the config of its language model, and what told so."""

    name: str
    architecture: str
    text: Mapping[str, Any]
    seen: tuple[str, ...]


def classify(config: Mapping[str, Any]) -> Kind:
    """Classify a config.json.

    Raises:
        CodegenError: where it describes neither a causal language model nor a vision-language model.
    """
    architecture, said = _architecture(config)
    if architecture.endswith("ForConditionalGeneration"):
        return _vision(config, architecture, said)
    if not architecture.endswith(CAUSAL):
        known = ", ".join((*CAUSAL, "ForConditionalGeneration"))
        raise CodegenError(f"{architecture}: is no language model; its name must end with one of {known}")
    name, why = _experts(config)
    return Kind(name, architecture, config, (*said, why))


def _architecture(config: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    listed: list[str] = config.get("architectures") or []
    if listed:
        return listed[0], (f"architecture {listed[0]}",)
    suffix = "ForConditionalGeneration" if _nested(config, "vision_config") else "ForCausalLM"
    words = [word for word in config["model_type"].replace("-", "_").split("_") if word]
    guessed = "".join(word[:1].upper() + word[1:] for word in words) + suffix
    return guessed, (f"no architectures; {guessed} after the model_type",)


def _vision(config: Mapping[str, Any], architecture: str, said: tuple[str, ...]) -> Kind:
    text = _nested(config, "text_config")
    if text is None or _nested(config, "vision_config") is None:
        raise CodegenError(f"{architecture}: needs vision_config and text_config; only such vision models are known")
    _, why = _experts(text)
    return Kind(VLM, architecture, text, (*said, "vision_config and text_config", f"language model: {why}"))


def _experts(config: Mapping[str, Any]) -> tuple[str, str]:
    found = {name: _value(config, name) for name in EXPERT_FIELDS}
    present = {name: value for name, value in found.items() if value}
    if present and max(_size(value) for value in present.values()) > 1:
        return MOE, "expert fields " + ", ".join(f"{name} = {value}" for name, value in present.items())
    return DENSE, "no expert fields"


def _size(value: Any) -> int:
    sizes: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
    return max((size for size in sizes if isinstance(size, int)), default=0)


def _value(config: Mapping[str, Any], path: str) -> Any:
    first, _, rest = path.partition(".")
    if not rest:
        return config.get(first)
    inner = _nested(config, first)
    return None if inner is None else inner.get(rest)


def _nested(config: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    found = config.get(name)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None
