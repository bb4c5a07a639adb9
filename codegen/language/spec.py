"""A whole spec: equations, parts, disk layout, and the words that have a meaning of their own."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from codegen.frozen import Frozen
from codegen.language.attention import DTYPE, Gqa, Mla, Norm, Rope
from codegen.language.keys import Section, choice, expr, key, mapping, section, text, when
from codegen.language.mixers import GatedDeltaNet, Lightning, Mamba1, Mamba2, RgLru, ShortConv
from codegen.language.mlp import Gated, Moe, Plain
from codegen.language.values import Equation, Expression


class Linear(Section):
    """A linear map; with `when` false the identity."""

    in_: Expression | None = expr("Input width (key `in`).")
    out: Expression | None = expr("Output width.")
    bias: Expression | None = expr("Bias.", "False")
    top: Expression | None = expr("Whether it is stored beside the base model, and acts just before the head.", "False")
    when: Expression | None = when()


class NormPart(Norm):
    """A norm with its own settings."""

    top: Expression | None = expr("Whether it is stored beside the base model, and acts just before the head.", "False")


class Sinusoid(Section):
    """Sinusoidal positions."""

    rule: str | None = choice("Spacing of the frequencies.", "base", "tensor2tensor")


class Embedding(Section):
    """The token embedding."""

    rows: Expression | None = expr("Number of rows.", "config.vocab_size")
    padding_idx: Expression | None = expr(
        "Row that gets no gradient; none: every row learns.", "config.pad_token_id", "None"
    )


class Dropout(Section):
    """Probabilities while training."""

    embedding: Expression | None = expr("On the embeddings.", "0.0")
    attention: Expression | None = expr(
        "On the attention weights.", "config.attention_dropout", "config.attn_pdrop", "0.0"
    )
    residual: Expression | None = expr(
        "On what attention and MLP add to the stream: on each, or on a sum of both in parentheses behind it.", "0.0"
    )
    mlp: Expression | None = expr("On what the MLP adds, where attention has another; by itself `residual`.")
    activation: Expression | None = expr(
        "On what the activation of a dense MLP gives, times up where there is a gate.", "0.0"
    )


class Head(Section):
    """The output head."""

    bias: Expression | None = expr("Bias.", "False")
    tie: Expression | None = expr("Whether it shares the token embedding.", "config.tie_word_embeddings")
    rows: Expression | None = expr("Number of rows: a head over the first of the vocabulary.", "config.vocab_size")
    normalize: Expression | None = expr("Whether rows are normalised before the product (Baichuan 2).", "False")
    logits_dtype: str | None = choice(
        f"Dtype of what the output equation does to the logits ({DTYPE}).", "model", "float32"
    )


class Fused(Frozen):
    """Rows of a stored tensor: `groups` equal blocks, each [part | part | ...]."""

    parts: tuple[str, ...]
    groups: Expression | None = None


class Drop(Frozen):
    """Tensors on disk that the model leaves out, and why."""

    match: str
    why: str


class Checkpoint(Section):
    """How the weights lie on disk."""

    names: Mapping[str, Any] | None = mapping(
        "role -> path relative to its part; part.role beats role. What equations call otherwise than the disk does "
        "(norms, tables, further parts) is a key too."
    )
    memory: Mapping[str, Any] | None = mapping(
        "role -> path in memory, where transformers' class calls it otherwise than the disk does."
    )
    fused: Mapping[str, Fused] | None = key("fused", "stored tensor -> its parts, or {parts, groups}.")
    transposed: tuple[str, ...] | None = text("Paths of matrices stored [in, out].", many=True)
    unsqueezed: tuple[str, ...] | None = text("Paths of vectors stored as a row, [1, n].", many=True)
    experts: str | None = choice("Storage of the experts.", "per_expert", "stacked", "flat")
    experts_mark: str | None = choice(
        "Whether the module of transposed experts says so, by which peft tells what a matrix reads.",
        "marked",
        "unmarked",
    )
    float32: tuple[str, ...] | None = text("Patterns of tensors that stay fp32.", many=True)
    drop: tuple[Drop, ...] | None = key("drops", "Tensors that are left out: {match, why}.")


MIXERS: dict[str, type[Section]] = {
    "gqa": Gqa,
    "mla": Mla,
    "mamba2": Mamba2,
    "mamba1": Mamba1,
    "gated_delta_net": GatedDeltaNet,
    "short_conv": ShortConv,
    "lightning": Lightning,
    "rg_lru": RgLru,
}
MLPS: dict[str, type[Section]] = {"gated": Gated, "plain": Plain, "moe": Moe}
PARTS: dict[str, type[Section]] = {
    **MIXERS,
    "gated": Gated,
    "plain": Plain,
    "linear": Linear,
    "norm": NormPart,
    "sinusoid": Sinusoid,
}
READY_KINDS = {
    "attention": ("gqa", "mla", "short_conv", "mamba2", "mamba1", "gated_delta_net", "lightning", "rg_lru"),
    "mlp": ("gated", "plain", "moe"),
    "parts": ("gated", "plain", "linear", "norm", "sinusoid"),
}


class Spec(Section):
    """One flat spec: base, variants and layer overlays merged. Sections that were not written hold their defaults."""

    input: tuple[Equation, ...] = key("equations", "ids -> x.", default="x = embed_tokens(ids)")
    block: tuple[Equation, ...] = key("equations", "x -> x, once per layer; or a named wiring.", default="pre_norm")
    output: tuple[Equation, ...] = key("equations", "x -> logits.", default="logits = lm_head(norm(x))")
    norm: Norm = section("Norms.", Norm, bare="kind")
    rope: Rope | None = section("Rotary positions, or none.", Rope)
    attention: Section = key("kinds", "The token mixer.", kinds=MIXERS, default="gqa", bare="kind")
    mlp: Section = key("kinds", "The channel mixer.", kinds=MLPS, default="gated", bare="kind")
    parts: Mapping[str, Section] = key("named", "Further parts that equations may call.", kinds=PARTS)
    head: Head = section("Output head.", Head)
    embedding: Embedding = section("Token embedding.", Embedding)
    dropout: Dropout = section("Dropout.", Dropout)
    positions: str = choice("Positions of learned tables.", "arange", "from_mask")
    checkpoint: Checkpoint = section("Disk layout.", Checkpoint)


class ConfigDeclaration(Frozen):
    """A config class of transformers (`transformers:LlamaConfig`), or one that is generated from declared fields."""

    class_name: str
    model_type: str
    fields: Mapping[str, Any] | None = None  # None: the class exists in transformers
    why: str | None = None
    attribute_map: Mapping[str, str] = field(default_factory=dict[str, str])


WIRINGS: dict[str, tuple[str, ...]] = {
    "pre_norm": ("x = x + attention(input_layernorm(x))", "x = x + mlp(post_attention_layernorm(x))"),
    "post_norm": (
        "x = x + post_attention_layernorm(attention(x))",
        "x = x + post_feedforward_layernorm(mlp(x))",
    ),
    "sandwich": (
        "x = x + post_attention_layernorm(attention(input_layernorm(x)))",
        "x = x + post_feedforward_layernorm(mlp(pre_feedforward_layernorm(x)))",
    ),
    "parallel": ("h = input_layernorm(x)", "x = x + attention(h) + mlp(h)"),
}
WITH_FIELD = {"softcap": "cap", "act": "name"}  # functions of a value and an expression over the config -> what that is
FUNCTIONS = (*WITH_FIELD, "gelu", "silu", "tanh", "sigmoid")  # callable in equations
EXPRESSION_CALLS = (
    "sqrt",
    "log",
    "floor",
    "int",
    "min",
    "max",
    "len",
    "sum",
    "per_layer",
    "newer",
    "given",
    "yarn_mscale",
    "cast",
    "bfloat16",
)
USUAL_KINDS: dict[str, dict[str, Any]] = {
    "full_attention": {},
    "sliding_attention": {"attention": {"window": "config.sliding_window"}},
    "chunked_attention": {"attention": {"chunk": "config.attention_chunk_size"}},
    "dense": {"mlp": "gated"},
    "sparse": {},
}
ROLE_NAMES: dict[str, str] = {
    **{"model": "model", "layers": "layers", "head": "lm_head", "attention": "self_attn", "mlp": "mlp"},
    **{"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "o_proj", "q_norm": "q_norm", "k_norm": "k_norm"},
    **{"sinks": "sinks", "out_gate": "gate_proj", "gate": "gate_proj", "up": "up_proj", "down": "down_proj"},
    **{"router": "gate", "experts": "experts", "shared": "shared_experts", "shared_gate": "shared_expert_gate"},
    **{"correction_bias": "gate.e_score_correction_bias", "q_a": "q_a_proj", "q_a_norm": "q_a_layernorm"},
    **{"q_b": "q_b_proj", "kv_a": "kv_a_proj_with_mqa", "kv_a_norm": "kv_a_layernorm", "kv_b": "kv_b_proj"},
    **{"activation": "act_fn", "latent_in": "fc1_latent_proj", "latent_out": "fc2_latent_proj", "conv": "conv1d"},
    **{"conv_q": "conv1d", "conv_k": "conv1d", "conv_v": "conv1d", "A_log": "A_log", "D": "D", "dt_bias": "dt_bias"},
    **{"mixer_norm": "norm", "dt_proj": "dt_proj"},
}
# Roles without a name of Llama's: they are called on disk what they are called here.
PLAIN_ROLES = (
    *("z", "x", "B", "C", "dt", "a", "b", "y", "input_gate_weight", "input_gate_bias"),
    *("recurrent_gate_weight", "recurrent_gate_bias", "recurrent_param"),
)
ATTENTION_KINDS = ("full_attention", "sliding_attention", "chunked_attention")
MLP_KINDS = ("dense", "sparse")
KIND_FUSED: dict[str, dict[str, tuple[str, ...]]] = {
    "short_conv": {"in_proj": ("B", "C", "x")},
    "mamba2": {"in_proj": ("z", "x", "B", "C", "dt")},
    "mamba1": {"in_proj": ("x", "z"), "x_proj": ("dt", "B", "C")},
}
