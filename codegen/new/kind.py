"""What kind of model a config describes: dense, mixture of experts, or vision-language."""

import re
from collections.abc import Mapping
from dataclasses import field
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
# What names the config of the language model inside a larger one, and what the config of a tower beside it.
TEXT = ("text_config", "llm_config", "language_config")
TOWER = re.compile(r"vision|visual|image|img|audio|speech|(^|_)vit(_|$)")
_HEARS = re.compile("audio|speech")
_ENCODERS = ("ForMaskedLM", "ForPreTraining", "EncoderModel")


class Kind(Frozen):
    """The class of a model, the config of its language model, and what told so.

    whole: the config that holds those of text and towers. sees: whether one of the towers is for images.
    """

    name: str
    architecture: str
    text: Mapping[str, Any]
    seen: tuple[str, ...]
    whole: Mapping[str, Any] = field(default_factory=dict[str, Any])
    sees: bool = False


def classify(config: Mapping[str, Any], beside: bool = True) -> Kind:
    """Classify a config.json. beside: whether the towers that it names may be there.

    Raises:
        CodegenError: where it describes neither a causal language model nor a vision-language model.
    """
    architecture, said = _architecture(config)
    _refuse_encoders(config, architecture)
    towers = _towers(config) if beside or not architecture.endswith(CAUSAL) else ()
    if towers or architecture.endswith("ForConditionalGeneration"):
        return _with_towers(config, architecture, said, towers)
    if not architecture.endswith(CAUSAL):
        known = ", ".join((*CAUSAL, "ForConditionalGeneration"))
        raise CodegenError(f"{architecture}: is no language model; its name must end with one of {known}")
    name, why = _experts(config)
    return Kind(name, architecture, config, (*said, why))


def _architecture(config: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    listed: list[str] = config.get("architectures") or []
    if listed:
        return listed[0], (f"architecture {listed[0]}",)
    suffix = "ForConditionalGeneration" if _towers(config) else "ForCausalLM"
    words = [word for word in config["model_type"].replace("-", "_").split("_") if word]
    guessed = "".join(word[:1].upper() + word[1:] for word in words) + suffix
    return guessed, (f"no architectures; {guessed} after the model_type",)


def _refuse_encoders(config: Mapping[str, Any], architecture: str) -> None:
    """Only decoders have specs: those that read a text at once, and those beside an encoder, are told by name."""
    cure = "codegen writes decoders alone; name the config.json of a causal language model"
    causal = architecture.endswith(CAUSAL)
    both = any(config.get(name) for name in ("encoder_layers", "num_encoder_layers", "encoder"))
    if config.get("is_encoder_decoder") or (both and not causal):
        raise CodegenError(f"{architecture}: is an encoder-decoder, no causal language model; {cure}")
    alone = architecture.endswith(_ENCODERS) or "type_vocab_size" in config or "bert" in config["model_type"]
    if _generates(config, architecture):
        return
    pair = str((_nested(config, "text_config") or {}).get("model_type")).endswith("_text_model")
    if not causal and (alone or pair or "projection_dim" in config):
        raise CodegenError(f"{architecture}: is an encoder, no causal language model; {cure}")


def _generates(config: Mapping[str, Any], architecture: str) -> bool:
    """Whether a model beside towers says that it writes text, rather than comparing it with images."""
    return architecture.endswith("ForConditionalGeneration") and bool(_towers(config)) and "text_config" in config


def _towers(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields that hold a config of their own of what is no language model, or the name of such a tower."""
    return tuple(
        name
        for place in (config, _nested(config, "thinker_config") or {})
        for name, value in place.items()
        if TOWER.search(name) and value and (isinstance(value, dict) or "tower" in name)
    )


def _with_towers(config: Mapping[str, Any], architecture: str, said: tuple[str, ...], towers: tuple[str, ...]) -> Kind:
    """A language model beside towers, its config inside the config or, as older files have it, at the top."""
    if not towers:
        raise CodegenError(
            f"{architecture}: is no language model, and no vision-language model either: it needs vision_config and "
            "text_config, or vision_config beside the fields of the text; name the config.json of such a model"
        )
    place = _nested(config, "thinker_config") or config
    inside = next((name for name in TEXT if _nested(place, name)), None)
    text = _nested(place, inside) if inside is not None else _flat(config)
    if text is None or not any(name in text for name in ("hidden_size", "n_embd", "d_model")):
        raise CodegenError(f"{architecture}: is a vision-language model without text_config; add that of its text")
    _, why = _experts(text)
    sees = any(isinstance(place.get(name), dict) and not _HEARS.search(name) for name in towers)
    sort = "audio-language" if all(_HEARS.search(name) for name in towers) else "vision-language"
    told = f"{sort} model: {', '.join(towers)} and {inside or 'the text at the top'}"
    return Kind(VLM, architecture, text, (*said, told, f"language model: {why}"), place, sees)


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the text where they stand among those of the whole."""
    whole = ("model_type", "architectures", "auto_map")
    return {name: value for name, value in config.items() if name not in whole and not TOWER.search(name)}


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
