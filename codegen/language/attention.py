"""Norms, rotary positions and attention."""

from collections.abc import Container, Mapping
from typing import ClassVar

from codegen.language.keys import Mixer, Section, choice, expr, mapping, section, text, when
from codegen.language.values import Expression

EPS = tuple(f"config.{n}" for n in ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"))
ACTIVATION = ("config.hidden_act", "config.hidden_activation", "config.activation_function")
HEAD_DIM = ("config.head_dim", "head_size(config)", "config.hidden_size // config.num_attention_heads")
ACTIVATIONS = (
    *("gelu", "gelu_10", "gelu_accurate", "gelu_bloom", "gelu_fast", "gelu_new", "gelu_python", "gelu_python_tanh"),
    *("gelu_pytorch_tanh", "hardswish", "laplace", "leaky_relu", "linear", "mish", "prelu", "quick_gelu", "relu"),
    *("relu2", "relu6", "sigmoid", "silu", "sqrtsoftplus", "swish", "tanh", "xielu"),
)
HEAD_BIAS = "head"
DTYPE = "dtype only: seen in bfloat16"
ROUNDING = f"When products are rounded ({DTYPE}): once, with their bias, or apart, before it is added."


class Norm(Section):
    """Every norm of the model inherits this section; `qk_norm` and mixers' norms override single keys."""

    kind: str | None = choice("Which norm.", "rmsnorm", "layernorm")
    eps: Expression | None = expr("Added to the variance.", *EPS)
    weight: Expression | None = expr("Whether there is a weight.", "True")
    bias: Expression | None = expr("Whether there is a bias; default: layernorm with a weight has one.")
    offset: int | None = choice("Number added to the stored weight.", 0, 1)
    cast: str | None = choice(
        "before_weight rounds to the model's dtype, then multiplies; after_weight multiplies in fp32 and rounds once. "
        "A layernorm with neither runs torch's kernel.",
        "before_weight",
        "after_weight",
    )


class QKNorm(Norm):
    """Norms of queries and keys."""

    over: str | None = choice("Width: one head, or the whole projection.", "head", "projection")
    place: str | None = choice("Before or after the rotation.", "before_rope", "after_rope")
    weights: str | None = choice(
        "One weight for all heads, one row per head, or one module per head.", "shared", "per_head", "modules"
    )
    when: Expression | None = when()


class Rope(Section):
    """Rotary positions. `rope: none` switches them off."""

    layout: str | None = choice(
        "Which dimensions form a pair: (i, i + R/2) or (2i, 2i + 1).", "half", "interleaved", truth=True
    )
    parameters: Expression | None = expr("The dict with rope_type and rope_theta.", "config.rope_parameters")
    theta: Expression | None = expr("Base of an unscaled table; of a scaled one where parameters are written too.")
    width: Expression | None = expr(
        "Rotated dimensions; default int(head_dim * partial_rotary_factor), head_dim where rope_type is proportional."
    )
    sign: int | None = choice("Direction of the rotation.", 1, -1)
    table_dtype: str | None = choice(f"Dtype of cos and sin ({DTYPE}).", "model", "float32")
    apply_dtype: str | None = choice(f"Dtype of the rotation ({DTYPE}).", "model", "float32")


class Alibi(Section):
    """Linear position biases (Press et al. 2021) on the scores."""

    scaled: Expression | None = expr("Whether the bias is multiplied by the scale, as the scores are.", "False")
    dtype: str | None = choice(f"Dtype of the slopes ({DTYPE}).", "float32", "bfloat16")
    counted: str | None = choice(
        "From where biases grow: a text's first token, or back from the last key, padding too (seen in bfloat16).",
        "start",
        "end",
    )
    sum_dtype: str | None = choice(f"Dtype of the sum with the scores ({DTYPE}).", "model", "float32")


class Gate(Section):
    """A gate on the heads' output, before `inner_norm` and the output projection."""

    activation: str | None = choice("Its activation.", "sigmoid", "softplus")
    per: str | None = choice("One gate per element or per head.", "element", "head")
    bias: Expression | None = expr(
        "Bias of the gate's projection; `head`: one number a head, a tensor of its own (role out_gate_bias).",
        "False",
        words=(HEAD_BIAS,),
        truth=True,
    )

    @property
    def has_head_bias(self) -> bool:
        """Whether each head has one number for all of its gates, a tensor of its own."""
        return self.bias is not None and self.bias.constant == HEAD_BIAS


class Softmax(Mixer):
    """What every softmax attention shares."""

    turns: ClassVar[bool] = True

    heads: Expression | None = expr("Number of query heads.", "config.num_attention_heads")
    scale: Expression | None = expr("Factor on the scores; may use head_dim.", "head_dim ** -0.5", names=("head_dim",))
    softcap: Expression | None = expr("Tanh cap on the scores; none or 0: absent.", "None")
    window: Expression | None = expr("Keys that a query sees, itself included; none: all.", "None")
    chunk: Expression | None = expr("Chunk of block-diagonal attention; none: one chunk.", "None")
    sinks: Expression | None = expr("A learned extra column of the softmax.", "False")
    sinks_dtype: str | None = choice(f"How sinks enter ({DTYPE}).", "model", "float32")
    scores_dtype: str | None = choice(
        f"Dtype of the scores ({DTYPE}); once: the model's; product, scale and position biases are rounded together.",
        "model",
        "float32",
        "once",
    )
    softmax_dtype: str | None = choice(f"Dtype of the softmax ({DTYPE}).", "float32", "model")
    multipliers: Mapping[str, Expression] | None = mapping(
        "Factors on q, k, v, just before the scores.", words=("q", "k", "v"), names=("position",)
    )
    multipliers_dtype: str | None = choice(f"Dtype of factors that follow the position ({DTYPE}).", "float32", "model")
    alibi: Alibi | None = section("Position biases.", Alibi, bare="flag")
    gate: Gate | None = section("Gate on the output.", Gate, bare="flag")

    def gates(self) -> dict[str, bool]:
        """Which roles the gate has."""
        return {"out_gate": self.gate is not None, "out_gate_bias": self.gate is not None and self.gate.has_head_bias}

    def pinnable(self) -> tuple[str, ...]:
        """Roles that may stay fp32 in a model of any dtype."""
        return ("sinks",) if self.sinks is not None else ()


class Gqa(Softmax):
    """Multi-head, grouped-query and multi-query attention."""

    words: ClassVar[str] = "attention"

    kv_heads: Expression | None = expr(
        "Number of key/value heads.",
        "config.num_key_value_heads",
        "config.num_key_value_heads or config.num_attention_heads",
        "config.num_attention_heads",
    )
    head_dim: Expression | None = expr("Width of a query/key head.", *HEAD_DIM)
    v_head_dim: Expression | None = expr("Width of a value head; default head_dim.")
    bias: Mapping[str, Expression] | None = mapping(
        "Flag, or a flag per role.",
        words=("q", "k", "v", "qkv", "out"),
        chain=("config.attention_bias", "False"),
        bare="*",
    )
    bias_rounding: str | None = choice(ROUNDING, "once", "apart")
    clip: Expression | None = expr("Bound on the projections' values.", "None")
    qk_norm: QKNorm | None = section("Norms of queries and keys.", QKNorm, bare="over")
    inner_norm: str | None = text("Name of a norm on the concatenated heads, gated ones, before `out`.")

    def roles(self, fused: Container[str] = ()) -> tuple[str, ...]:
        """Roles that are stored under names of their own, where some lie in one tensor with others."""
        found = {"q": True, "k": True, "v": True, "sinks": self.sinks is not None, **self.gates()}
        found |= dict.fromkeys(("q_norm", "k_norm"), self.qk_norm is not None)
        return (*(role for role, has in found.items() if has and role not in fused), "out")

    def fuses(self, parts: tuple[str, ...]) -> bool:
        """Whether one stored tensor may hold these roles."""
        return set(parts) == {"q", "k", "v"} or (parts == ("q", "out_gate") and self.gate is not None)


class Mla(Softmax):
    """Multi-head latent attention (DeepSeek-V2)."""

    words: ClassVar[str] = "latent attention"

    q_rank: Expression | None = expr("Rank of the query's latent; none: plain q.", "config.q_lora_rank")
    kv_rank: Expression | None = expr("Rank of the latent of keys and values.", "config.kv_lora_rank")
    nope: Expression | None = expr("Dimensions without rotation.", "config.qk_nope_head_dim")
    rope: Expression | None = expr("Rotated dimensions.", "config.qk_rope_head_dim")
    v: Expression | None = expr("Width of a value head.", "config.v_head_dim")
    bias: Mapping[str, Expression] | None = mapping(
        "Flag per role.",
        words=("q", "q_a", "q_b", "kv_a", "kv_b", "out"),
        chain=("config.attention_bias", "False"),
        bare="*",
    )
    latent_norm: Norm | None = section("Norms of the latents (eps 1e-6).", Norm)
    sinks: Expression | None = expr("A learned extra column of the softmax.", "False", ready=False)
    alibi: Alibi | None = section("Position biases.", Alibi, bare="flag", ready=False)

    def roles(self, fused: Container[str] = ()) -> tuple[str, ...]:
        """Roles that are stored under names of their own."""
        found = "q", "q_a", "q_a_norm", "q_b", "kv_a", "kv_a_norm", "kv_b", "out"
        return (*found, *(role for role, has in self.gates().items() if has))

    def fuses(self, parts: tuple[str, ...]) -> bool:
        """Whether one stored tensor may hold these roles."""
        return False
