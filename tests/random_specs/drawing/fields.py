"""The config class of a drawn spec: Llama's fields, and one for every other that the sections read."""

import re
from typing import Any

from tests.random_specs.drawing.dice import Dice
from tests.random_specs.fields import framed

DEFAULTS: dict[str, Any] = {
    **{"mult": 1.0, "softcap": 30.0, "clip": 8.0, "sliding_window": 4096, "chunk_size": 8192, "jitter": 0.01},
    **{"norm_p": 1.0, "rope_theta_2": 10000.0, "other_eps": 1e-5, "some_dropout": 0.0, "other_act": "relu"},
    **{"rotary_dim": 64, "v_dim": 128, "word_dim": 512, "latent_size": 1024, "n_shared_experts": 2},
    **{"n_group": 8, "topk_group": 4, "first_k_dense_replace": 1, "some_layers": [1, 3]},
    **{"layer_types": ["full_attention", "sliding_attention"] * 16},
    **{"score_func": "softmax", "norm_kind": "rmsnorm"},
}
FLAGS = (
    *("norm_bias", "some_bias", "some_sinks", "use_cb", "use_qk_norm", "use_shared", "use_blend", "alibi_scaled"),
    *("norm_topk_prob", "other_form", "third_form", "rope_interleave", "attention_bias"),
)
READ = re.compile(r"config\.(\w+)")


def fielded(name: str, spec: dict[str, Any], dice: Dice) -> dict[str, Any]:
    """The spec in its frame."""
    written = set(READ.findall(str(spec)))
    fields = {field: DEFAULTS[field] for field in DEFAULTS if field in written}
    fields |= dict.fromkeys((flag for flag in FLAGS if flag in written), False)
    fields |= dict.fromkeys((flag for flag in ("attention_bias", "mlp_bias") if dice(0.4)), False)
    if "layer_types" in written and "window" not in str(spec.get("attention")):
        fields["sliding_window"] = DEFAULTS["sliding_window"]
    if "mla" in str(spec.get("attention")):
        fields["q_lora_rank"] = dice.of(1536, None)
    return framed(name, spec, fields)
