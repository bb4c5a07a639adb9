"""A config.json as a config class and as values: what a spec that is written for it can read."""

import ast
from collections.abc import Mapping
from keyword import iskeyword
from math import isfinite
from typing import Any, cast

from codegen.configs import ConfigClass, ConfigTable
from codegen.frozen import Frozen
from codegen.language.attention import ACTIVATION, EPS
from codegen.language.expressions import Refused, python
from codegen.language.frame import IDENTIFIER
from codegen.language.values import Expression
from codegen.tiny.evaluate import UNREADABLE, evaluate

# What transformers writes into every config.json, or reads in none of the models.
GENERIC = frozenset(
    (
        *("model_type", "architectures", "auto_map", "transformers_version", "_name_or_path", "dtype", "torch_dtype"),
        *("output_attentions", "output_hidden_states", "return_dict", "use_return_dict", "chunk_size_feed_forward"),
        *("is_encoder_decoder", "id2label", "label2id", "num_labels", "problem_type", "_attn_implementation"),
        *(
            "quantization_config",
            "pretraining_tp",
            "use_bfloat16",
            "_attn_implementation_autoset",
            "attn_implementation",
            "_flash_attn_2_enabled",
            "_commit_hash",
        ),
        *("task_specific_params", "vision_config", "text_config", "audio_config", "add_cross_attention"),
    )
)
PLAIN = frozenset(
    ("use_cache", "initializer_range", "tie_word_embeddings", "pad_token_id", "bos_token_id", "eos_token_id")
)
LONGEST = 100  # characters of a name
LEGACY_ROPE = ("rope_theta", "rope_scaling", "partial_rotary_factor")
# Names under which the library reads numbers -> names that configs give them; the first that holds a value is taken.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("n_embd", "d_model", "model_dim", "dim", "hidden_dim"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers", "num_transformer_layers"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads"),
    "num_key_value_heads": ("num_kv_heads", "n_head_kv", "n_kv_heads", "multi_query_group_num", "num_query_groups"),
    "max_position_embeddings": ("n_positions", "n_ctx", "max_seq_len", "seq_length", "max_sequence_length"),
    "intermediate_size": ("ffn_dim", "ffn_hidden_size", "n_inner", "d_ff", "feed_forward_hidden_size"),
    "vocab_size": ("padded_vocab_size", "n_vocab"),
    "rms_norm_eps": ("layernorm_epsilon", "rms_eps"),
    "hidden_act": ("activation", "activation_type", "afn"),
    "num_experts": ("moe_num_experts", "num_moe_experts", "n_experts"),
    "num_experts_per_tok": ("moe_k", "moe_topk", "moe_top_k", "num_experts_per_token", "top_k_experts"),
}
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
# Defaults of the language that read one of several fields: where one is there, none of them needs an alias.
CHAINS: Mapping[str, tuple[str, ...]] = {
    "rms_norm_eps": tuple(name.removeprefix("config.") for name in EPS),
    "hidden_act": tuple(name.removeprefix("config.") for name in ACTIVATION),
    "num_experts": _EXPERTS,
}


class Values(Frozen):
    """The config class of a draft, and what its fields hold in this checkpoint.

    `known` says whether transformers has the class; else `declared` are the fields that the draft declares.
    """

    config: ConfigClass
    known: bool
    held: Mapping[str, Any]
    declared: Mapping[str, Any]
    aliases: Mapping[str, str]
    left_out: tuple[str, ...] = ()

    def get(self, name: str) -> Any:
        """What a field holds, under any of its names; None where there is none."""
        return self.held.get(name)

    def has(self, name: str) -> bool:
        return self.config.has(name)

    def evaluated(self, expression: Expression, layer: int = 0) -> Any:
        """The value of an expression here; None where it cannot be read."""
        return self._evaluated(expression.tree, layer)

    def read(self, text: str) -> Any:
        """The same for an expression as it is written, in the first layer."""
        try:
            return self._evaluated(python(text), 0)
        except Refused:
            return None

    def _evaluated(self, tree: ast.expr, layer: int) -> Any:
        try:
            return evaluate(tree, self.held, layer=layer)
        except UNREADABLE:
            return None

    @property
    def fields(self) -> frozenset[str]:
        """The names of the published fields that say something about the model."""
        return frozenset(name for name in self.held if name not in self.aliases) - GENERIC - PLAIN

    @property
    def head_dim(self) -> int | None:
        """The width of a head."""
        heads, hidden = self.get("num_attention_heads"), self.get("hidden_size")
        given = self.get("head_dim")
        if isinstance(given, int) and "head_dim" not in self.config.derived:  # else it is of the class's own sizes
            return given
        return hidden // heads if isinstance(hidden, int) and isinstance(heads, int) and heads else None


def values(published: Mapping[str, Any], class_name: str, table: ConfigTable) -> Values:
    """The values of a config.json; `class_name` is that of the class to declare where transformers has none."""
    found = table.for_model_type(published["model_type"])
    if found is not None:
        held = {**found.fields, **declared_fields(published), **_rope(published)}
        held |= {alias: held.get(name) for alias, name in found.attribute_map.items()}
        return Values(found, True, held, {}, dict(found.attribute_map))
    declared = declared_fields(published) | _rope(published)
    for name in LEGACY_ROPE:
        if "rope_parameters" in declared and name not in ("partial_rotary_factor",):
            declared.pop(name, None)
    aliases = _aliases(declared)
    config = ConfigClass.from_declaration(declared, class_name, published["model_type"], aliases)
    held = {**config.fields, **{alias: declared[name] for alias, name in aliases.items()}}
    left_out = tuple(sorted(name for name in published if name not in declared and name not in GENERIC))
    return Values(config, False, held, declared, aliases, left_out)


def declared_fields(published: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that can be declared, without what transformers writes into every config."""
    return {
        name: value
        for name, value in published.items()
        if name not in GENERIC
        and IDENTIFIER.fullmatch(name.removeprefix("_"))
        and not iskeyword(name)
        and _is_plain({name: value})
    }


def _is_plain(value: Any) -> bool:
    """Whether a spec can hold it: no hidden characters, no text that means something else there, finite numbers."""
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        return all(_is_plain(name) and len(name) <= LONGEST and _is_plain(entry) for name, entry in entries.items())
    if isinstance(value, list):
        return all(map(_is_plain, cast("list[Any]", value)))
    if isinstance(value, float):
        return isfinite(value)
    return not isinstance(value, str) or (value.isprintable() and value != "none")


def _rope(published: Mapping[str, Any]) -> dict[str, Any]:
    """`rope_parameters` from the fields that older configs have for it; transformers reads both."""
    if "rope_parameters" in published or not isinstance(published.get("rope_theta"), int | float):
        return {}
    scaling: Mapping[str, Any] = published.get("rope_scaling") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    rest = {name: value for name, value in scaling.items() if name not in ("type", "rope_type")}
    found = {"rope_type": kind, "rope_theta": float(published["rope_theta"]), **rest}
    if isinstance(published.get("partial_rotary_factor"), int | float):
        found["partial_rotary_factor"] = published["partial_rotary_factor"]
    return {"rope_parameters": found}


def _aliases(declared: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, others in ALIASES.items():
        present = next((other for other in others if declared.get(other) is not None), None)
        if present is not None and not declared.keys() & {name, *CHAINS.get(name, ())}:
            found[name] = present
    return found
