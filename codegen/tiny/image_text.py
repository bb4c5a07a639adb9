"""Tiny configs of models of images and text: the text's own base, a small tower, and every choice both ways."""

import re
from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

from codegen.configs import ConfigClass, table
from codegen.errors import Problem, SpecError
from codegen.language.expressions import config_paths
from codegen.language.loaded import config_class
from codegen.language.vision.equations import PACKS, REGROUPS, calls
from codegen.language.vision.loaded import LoadedImageText
from codegen.language.vision.sections import Mrope
from codegen.plan.vision import tower
from codegen.plan.vision.text import as_said
from codegen.tiny import configs as text_configs
from codegen.tiny import fits, values
from codegen.tiny.configs import SIZES

Config = dict[str, Any]
# Small towers by the names that their config classes have: 4 x 4 patches, merged by 2.
TOWER: Config = {
    **{"hidden_size": 32, "embed_dim": 32, "intermediate_size": 64, "num_hidden_layers": 3, "depth": 2},
    **{"num_attention_heads": 4, "num_heads": 4, "patch_size": 3, "image_size": 12, "spatial_merge_size": 2},
    **{"temporal_patch_size": 2, "mlp_ratio": 2, "head_dim": 8, "vision_use_head": False},
    **{"deepstack_visual_indexes": [0, 1], "use_mean_pooling": False},
}
OWN_SIZES = 16  # patches of a side in the tables of towers that are told how large each image is
PACKED: Config = {"patch_size": 4, "window_size": 16, "fullatt_block_indexes": [1]}  # of towers of patches in a row
WHOLE: Config = {  # of 4 x 4 patches, and of 6 x 6 where they are regrouped
    **{"spatial_merge_size": 2, "downsample_factor": 2, "mm_tokens_per_image": 9},
    "projector_patch_to_query_dict": {16: 4, 9: 6},
    "image_grid_pinpoints": [[12, 24], [24, 12], [24, 24], [12, 36]],
}
FURTHER: Config = {  # of configs inside that are neither the text's nor the tower's: resamplers
    **{"hidden_size": SIZES["hidden_size"], "num_key_value_heads": 2, "rms_norm_eps": 0.001},
    **{"resampler_n_latents": 4, "resampler_depth": 2, "resampler_n_heads": 4, "resampler_head_dim": 8},
}
STRATEGY = "vision_feature_select_strategy"
VOCABULARY, POSITIONS = 151, 512
TOWERS = {"default": "clip_vision_model", "full": "siglip_vision_model"}  # with a token that is no patch, and without
_COUNTED = re.compile(r"([a-z]\w*_)\d+")  # a word that ends in a number, of tiles say
PAIRS = 6  # that turn, at least, where they follow three axes: fewer cannot tell the orders of axes apart
OUT = ("out_hidden_size",)  # fields of a tower that are as wide as the text
PLACEHOLDERS = ("image_token_id", "image_token_index", "media_placeholder_token_id")
SPECIAL = (  # the last ids of the vocabulary
    *("image_token_id", "image_token_index", "video_token_id", "vision_start_token_id", "vision_end_token_id"),
    *("media_placeholder_token_id", "video_token_index"),
)


def configs(loaded: LoadedImageText) -> dict[str, Config]:
    """Keyword arguments of tiny configs by name, `base` first."""
    config = loaded.config_class
    base = _base(loaded, config)
    found = {"base": base}
    flipped = {name: not base[name] for name in _flags(config, base)}
    other = flipped | _others(config, base) | _strategies(loaded, config)
    if other:
        found["flags"] = base | other
    found |= _towers(loaded, config, base)
    chosen = tower.field_of_layers(loaded)
    if chosen is not None and loaded.spec.equations and not _regroups(loaded):
        found["layers"] = base | {chosen: -2 if isinstance(config.value(chosen), list) else [-3, -1]}
    found |= _tied(loaded, config, base)
    found |= {f"also_{n + 1}": base | one for n, one in enumerate(loaded.tests.get("also", ()))}
    if loaded.is_overlaid:
        texts = {name: _of_text(loaded, config, one) for name, one in half_configs(loaded).items()}
        found |= {f"text_{name}": base | {"text_config": one} for name, one in texts.items() if _is_own(name)}
    if (lookup := loaded.spec.merge.lookup) is not None and lookup.text != "token":
        found["variant_outside"] = base | outside(config, base)
    return found


def half_configs(loaded: LoadedImageText) -> dict[str, Config]:
    """Tiny configs of the text model by itself, `base` first. Raises SpecError where an overlay excludes that one."""
    try:
        return text_configs.configs(loaded.text, table())
    except SpecError as error:
        raise as_said(loaded, error) from error


def half_problems(loaded: LoadedImageText) -> Iterator[Problem]:
    """What has no value on the configs of the tests, in a text half that is one of its own."""
    if loaded.is_overlaid:
        text, tests = loaded.text, half_configs(loaded)
        config = config_class(text, table())
        found = list(values.problems(text, config, tests)) or list(fits.problems(text, config, tests))
        if found:
            yield from as_said(loaded, SpecError(found)).problems


def _tied(loaded: LoadedImageText, config: ConfigClass, base: Config) -> dict[str, Config]:
    """A config whose head is the token embedding's; where the text's decides, one where the whole says otherwise."""
    whole, tie = base | {"tie_word_embeddings": True}, loaded.spec.head.tie
    if tie is None or "text_config.tie_word_embeddings" not in config_paths(tie.tree):
        return {"tied": whole} if "tie_word_embeddings" in config.fields else {}
    return {"tied": base | {"text_config": {**base["text_config"], "tie_word_embeddings": True}}, "untied": whole}


def _is_own(name: str) -> bool:
    """Whether a config of the text's is one of what its spec says: not the whole's ties, and what no spec changes."""
    return not name.startswith(("base", "tied", "untied", "rope_", "dropout"))


def _base(loaded: LoadedImageText, config: ConfigClass) -> Config:
    given: Config = {name: value for name, value in loaded.tests.get("tiny", {}).items() if name != "text_config"}
    text = _of_text(loaded, config, half_configs(loaded)["base"])
    base: Config = {"text_config": text, "vision_config": _tower(loaded, config, text["hidden_size"])}
    for part in sorted(config.nested - base.keys()):
        if "." not in part:
            base[part] = {name: value for name, value in FURTHER.items() if config.has(f"{part}.{name}")}
    last = base["text_config"]["vocab_size"]
    base |= {name: last - 1 - place for place, name in enumerate(SPECIAL) if name in config.fields}
    base |= {name: value for name, value in WHOLE.items() if name in config.fields}
    base |= {name: config.fields[name] for name in _flags(config, config.fields)}
    if "tie_word_embeddings" in config.fields:
        base["tie_word_embeddings"] = False
    if "projection_dim" in config.fields:
        base["projection_dim"] = base["text_config"]["hidden_size"]
    inner = {name: base.get(name, {}) | value for name, value in given.items() if name in config.nested}
    return base | given | inner


def _of_text(loaded: LoadedImageText, config: ConfigClass, found: Config) -> Config:
    """A config of the text's own tests, as far as the class here has its fields."""
    found = found | {"vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS}
    _, class_name, is_open = config.parts["text_config"]
    if is_open:
        found = {"model_type": loaded.text.config.model_type, **found}
    elif class_name != loaded.text.config.class_name:
        fields = config.value("text_config")
        found = {name: value for name, value in found.items() if name in fields}
    found |= loaded.tests.get("tiny", {}).get("text_config", {})
    return _with_axes(found) if isinstance(loaded.spec.positions, Mrope) else found


def _with_axes(text: Config) -> Config:
    """Rotary parameters that say which pairs of a head follow which axis: of several pairs each, and not alike."""
    text = text | (_wider_heads(text) if _pairs(text) < PAIRS else {})
    return text | {"rope_parameters": {**text["rope_parameters"], "mrope_section": [1, 2, _pairs(text) - 3]}}


def _pairs(text: Config) -> int:
    """How many pairs of a head turn."""
    head = text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"]
    return int(head * text["rope_parameters"].get("partial_rotary_factor", 1.0)) // 2


def _wider_heads(text: Config) -> Config:
    """Heads of which PAIRS turn: by a field of their own, else by a wider model."""
    head = ceil(2 * PAIRS / text["rope_parameters"].get("partial_rotary_factor", 1.0))
    head += head % 2
    return {"head_dim": head} if "head_dim" in text else {"hidden_size": head * text["num_attention_heads"]}


def _tower(loaded: LoadedImageText, config: ConfigClass, width: int) -> Config:
    """width: of the text."""
    fields = config.value("vision_config")
    model_type = config.parts["vision_config"][0]
    sizes = TOWER | (PACKED if "grid_thw" in (loaded.spec.vision.inputs or {}) else {})
    if _regroups(loaded):  # of fewer, a mean of all and one of neighbours are the same
        sizes |= {"image_size": 6 * sizes["patch_size"]}
    if loaded.spec.vision.grid is not None:
        sizes |= {"image_size": OWN_SIZES * sizes["patch_size"]}
    found = {name: _shaped(value, fields[name]) for name, value in sizes.items() if name in fields}
    found |= {name: width for name in OUT if name in fields}
    if "embed_dim" in fields and "hidden_size" in fields:  # there the latter is the width of the text
        found["hidden_size"] = width
    return {"model_type": model_type, **found} if model_type else found


def _shaped(value: object, default: object) -> object:
    """A size, or one for height and width where the class holds two."""
    return [value] * 2 if isinstance(default, list) and isinstance(value, int) else value


def outside(config: ConfigClass, base: Config) -> Config:
    """A placeholder beyond the vocabulary, and padding that is not the first of the vocabulary."""
    text: Config = base["text_config"]
    padding = {"text_config": text | {"pad_token_id": 3}} if "pad_token_id" in text else {}
    return {name: text["vocab_size"] + 2 for name in PLACEHOLDERS if name in config.fields} | padding


def _towers(loaded: LoadedImageText, config: ConfigClass, base: Config) -> dict[str, Config]:
    """Where whole pictures are asked for: the other strategy, with a tower that gives them then."""
    if not tower.strategy(loaded) or _takes_any_number(loaded) or not config.parts["vision_config"][2]:
        return {}
    strategy = _other_strategy(config)
    seen = base["vision_config"] | {"model_type": TOWERS[strategy]}
    return {"strategy": base | {STRATEGY: strategy, "vision_config": seen}}


def _strategies(loaded: LoadedImageText, config: ConfigClass) -> Config:
    """Leading tokens go or stay, where it is no matter how many rows there are."""
    if not tower.strategy(loaded) or not _takes_any_number(loaded):
        return {}
    return {STRATEGY: _other_strategy(config)}


def _other_strategy(config: ConfigClass) -> str:
    return "full" if config.value(STRATEGY) == "default" else "default"


def _takes_any_number(loaded: LoadedImageText) -> bool:
    """Whether it is no matter to the projector how many rows a picture has: others ask for whole ones."""
    return not _regroups(loaded) and PACKS not in calls_of(loaded)


def _regroups(loaded: LoadedImageText) -> bool:
    """Whether rows are neighbours in a picture to the projector."""
    return bool(calls_of(loaded) & set(REGROUPS))


def calls_of(loaded: LoadedImageText) -> set[str]:
    """What the projector calls."""
    return set(calls(loaded.spec.equations))


def _flags(config: ConfigClass, values: Mapping[str, Any]) -> list[str]:
    """Flags of the whole that projectors read."""
    return [name for name, value in values.items() if isinstance(value, bool) and name.endswith("_bias")]


def _others(config: ConfigClass, base: Config) -> Config:
    """Words and numbers of the whole the other way round."""
    found: Config = {}
    if config.fields.get("projector_hidden_act") is not None:
        found["projector_hidden_act"] = "relu" if config.fields["projector_hidden_act"] != "relu" else "gelu"
    found |= {
        name: f"{counted[1]}1" for name, value in config.fields.items() if (counted := _COUNTED.fullmatch(str(value)))
    }
    if isinstance(config.fields.get("vision_feature_layer"), int):
        found["vision_feature_layer"] = -1 if config.fields["vision_feature_layer"] != -1 else -2
    return found
