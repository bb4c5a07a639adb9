"""Equations, the parts that they call, the head, positions."""

from typing import Any

from tests.random_specs.drawing.dice import Dice
from tests.random_specs.drawing.norms import own

BLOCKS: list[Any] = [
    *("post_norm", "sandwich", "parallel", "pre_norm"),
    ["h = attention(ln_1(x)) * config.mult", "x = x + h + mlp(ln_2(x))"],
    [
        "x = x + config.mult * attention(input_layernorm(x))",
        "x = x + config.mult * mlp(post_attention_layernorm(x))",
    ],
    ["h = input_layernorm(x)", "x = x + (mlp(h) + attention(h))"],
    ["x = ln_1(x + attention(x))", "x = ln_2(x + mlp(x))"],
    ["h = norms.first(x)", "x = mlp(norms.second(x)) + attention(h) + x"],
    ["x = x + attention(input_layernorm(x)) / (layer + 1)", "x = x + mlp(post_attention_layernorm(x))"],
    ["x = x + softcap(attention(input_layernorm(x)), 2.0)", "x = x + silu(mlp(post_attention_layernorm(x)))"],
    ["x = x + attention(input_layernorm(x))"],
    ["x = x + mlp(input_layernorm(x))"],
]
INPUTS = [
    "x = embed_tokens(ids) * cast(sqrt(config.hidden_size), weight)",
    "x = embed_tokens(ids) * config.mult",
    "x = embed_norm(embed_tokens(ids))",
    "x = wte(ids) + wpe(positions)",
    "x = embed_tokens(ids) + embed_positions(positions + 2)",
    "x = tok.emb(ids)",
    "x = tanh(embed_tokens(ids)) * sqrt(config.hidden_size)",
]
OUTPUTS = [
    *("logits = softcap(lm_head(norm(x)), config.softcap)", "logits = lm_head(norm(x)) * config.mult"),
    *("logits = lm_head(norm(x) / config.mult)", "logits = lm_head(x)", "logits = 2 * lm_head(norm(x))"),
    *("logits = lm_head(gelu(norm(x)))", "logits = lm_head(final.norm(x)) / sqrt(config.mult)"),
    "logits = lm_head(softcap(norm(x), 1.5))",
]


def wire(dice: Dice, spec: dict[str, Any]) -> None:
    """Adds what equations there are, with their parts, to a spec."""
    parts: dict[str, Any] = {}
    if dice(0.6):
        spec["block"] = dice.of(*BLOCKS)
    if dice(0.08):
        parts["blend"] = {"kind": "linear", "in": "config.hidden_size", "out": "config.hidden_size"}
        parts["blend"] |= dice.maybe(bias=(0.5, [True, False]), when=(0.3, ["config.use_blend", "layer % 2 == 1"]))
        spec["block"] = [
            "h = attention(input_layernorm(x))",
            "x = x + sigmoid(blend(h)) * h",
            "x = x + tanh(mlp(post_attention_layernorm(x)))",
        ]
    if dice(0.25):
        spec["input"] = dice.of(*INPUTS)
    if dice(0.25):
        spec["output"] = dice.of(*OUTPUTS)
    if dice(0.1):
        _further(dice, spec, parts)
    if "positions" in str(spec.get("input")) and dice(0.25):
        spec["positions"] = "from_mask"
    rows = {"rows": dice.of(100, "config.vocab_size // 2"), "tie": False} if dice(0.04) else {}
    if head := rows | dice.maybe(
        bias=(0.1, [True, "config.some_bias"]), tie=(0.05, [False, True]), normalize=(0.05, True)
    ):
        spec["head"] = head
    if parts:
        spec["parts"] = parts


def _further(dice: Dice, spec: dict[str, Any], parts: dict[str, Any]) -> None:
    """A part of `input` or `output`, or a norm of its own kind."""
    which = dice.of("sinusoid", "into", "top", "norm", "both")
    square = {"kind": "linear", "in": "config.hidden_size", "out": "config.hidden_size"}
    if which == "sinusoid":
        parts["pos_emb"] = {"kind": "sinusoid", **dice.maybe(rule=(0.5, "tensor2tensor"))}
        spec["input"] = dice.of("x = embed_tokens(ids) + pos_emb(positions)", "x = pos_emb(positions) + wte(ids)")
    elif which == "into":
        parts["project_in"] = {"kind": "linear", "in": "config.word_dim", "out": "config.hidden_size"}
        spec["input"] = "x = project_in(embed_tokens(ids))"
    elif which == "top":
        parts["pre_head"] = {**square, "top": True, "bias": dice.of(True, False)}
        spec["output"] = dice.of("logits = lm_head(pre_head(norm(x)))", "logits = lm_head(gelu(pre_head(norm(x))))")
    elif which == "norm":
        parts["norm"] = {"kind": "norm", **own(dice)}
        parts["norm"]["kind"] = "norm"
    else:
        parts["mix"] = {**square, **dice.maybe(when=(0.4, "config.use_blend"))}
        spec["input"] = "x = mix(embed_tokens(ids))"
