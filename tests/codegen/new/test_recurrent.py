"""Mixers with a state are read off the names and shapes of their tensors; the layers of a hybrid, off its config."""

import pytest

from codegen.configs import ConfigClass
from codegen.new.body import Body
from codegen.new.hybrid import draft_states, set_apart, states
from codegen.new.recurrent import state
from codegen.new.values import Values
from codegen.new.weights import arrange

HIDDEN = 60


def values(**fields):
    held = {"hidden_size": HIDDEN, "num_hidden_layers": 4, "head_dim": 12, "num_attention_heads": 6, **fields}
    return Values(ConfigClass.from_declaration(held, "XConfig", "x", {}), False, held, held, {})


def read(tensors, **fields):
    found = state({f"mixer.{name}": shape for name, shape in tensors.items()}, values(**fields))
    assert found is not None and found.path == "mixer"
    return found


STATE_SPACE = {
    **{"A_log": (10,), "D": (10,), "dt_bias": (10,), "conv1d.weight": (176, 1, 3), "conv1d.bias": (176,)},
    **{"in_proj.weight": (306, HIDDEN), "norm.weight": (120,), "out_proj.weight": (HIDDEN, 120)},
}
SIZES = {"mamba_n_heads": 10, "mamba_d_head": 12, "mamba_n_groups": 2, "mamba_d_state": 14, "mamba_d_conv": 3}
DELTA = {
    **{"A_log": (4,), "dt_bias": (4,), "norm.weight": (10,), "out_proj.weight": (HIDDEN, 40)},
    "conv1d.weight": (64, 1, 3),
}
HEADS = {
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 6, "linear_value_head_dim": 10},
    "linear_conv_kernel_dim": 3,
}


def test_one_decay_a_head():
    found = read(STATE_SPACE, **SIZES, mamba_conv_bias=True, mamba_proj_bias=False, time_step_limit=[0.0, 9.0])
    assert found.section == {
        **{"kind": "mamba2", "heads": "config.mamba_n_heads", "head_dim": "config.mamba_d_head"},
        **{"groups": "config.mamba_n_groups", "state": "config.mamba_d_state", "conv_bias": "config.mamba_conv_bias"},
        **{"bias": "config.mamba_proj_bias", "dt_limit": "config.time_step_limit"},
        "norm": {"groups": "config.mamba_n_groups"},
    }
    assert found.names == {"out": "out_proj"}


def test_a_decay_for_each_channel_and_state():
    tensors = {
        **{
            "A_log": (74, 14),
            "D": (74,),
            "conv1d.weight": (74, 1, 3),
            "dt_proj.weight": (74, 5),
            "dt_proj.bias": (74,),
        },
        **{"in_proj.weight": (148, HIDDEN), "x_proj.weight": (33, 74), "out_proj.weight": (HIDDEN, 74)},
    }
    found = read(tensors, intermediate_size=74, state_size=14, time_step_rank=5, conv_kernel=3)
    sizes = {key: found.section[key] for key in ("kind", "width", "state", "dt_rank")}
    assert sizes == {
        **{"kind": "mamba1", "width": "config.intermediate_size", "state": "config.state_size"},
        "dt_rank": "config.time_step_rank",
    }
    assert found.section["conv_bias"] is False and "bias" not in found.section


def test_a_delta_rule_in_fused_tensors():
    together = {"in_proj_qkvz.weight": (104, HIDDEN), "in_proj_ba.weight": (8, HIDDEN)}
    found = read({**DELTA, **together}, **HEADS)
    assert found.section == {
        **{"kind": "gated_delta_net", "key_heads": "config.linear_num_key_heads"},
        **{"heads": "config.linear_num_value_heads", "key_dim": "config.linear_key_head_dim"},
        "value_dim": "config.linear_value_head_dim",
    }
    groups = "config.linear_num_key_heads"
    assert found.fused == {
        "in_proj_qkvz": {"parts": ["q", "k", "v", "z"], "groups": groups},
        "in_proj_ba": {"parts": ["b", "a"], "groups": groups},
        "conv1d": ["conv_q", "conv_k", "conv_v"],
    }


def test_a_delta_rule_that_forgets_by_channel_through_a_low_rank():
    tensors = {
        **{"A_log": (1, 1, 2, 1), "dt_bias": (12,), "o_norm.weight": (6,), "o_proj.weight": (HIDDEN, 12)},
        **{f"{role}_proj.weight": (12, HIDDEN) for role in "qkv"},
        **{f"{role}_conv1d.weight": (12, 1, 3) for role in "qkv"},
        **{"b_proj.weight": (2, HIDDEN), "f_a_proj.weight": (6, HIDDEN), "f_b_proj.weight": (12, 6)},
        **{"g_a_proj.weight": (6, HIDDEN), "g_b_proj.weight": (12, 6)},
    }
    found = read(tensors, linear_num_heads=2, linear_head_dim=6, linear_conv_kernel_dim=3, qk_rope_head_dim=4)
    assert found.section["decay"] == "channel"
    assert (found.section["key_heads"], found.section["key_dim"]) == (
        "config.linear_num_heads",
        "config.linear_head_dim",
    )
    assert found.names == {
        **{"mixer_norm": "o_norm", "b": "b_proj", "a": ["f_a_proj", "f_b_proj"], "z": ["g_a_proj", "g_b_proj"]},
        **{"conv_q": "q_conv1d", "conv_k": "k_conv1d", "conv_v": "v_conv1d"},
    }
    assert not found.fused


def test_a_short_convolution():
    tensors = {"conv.weight": (HIDDEN, 1, 4), "in_proj.weight": (180, HIDDEN), "out_proj.weight": (HIDDEN, HIDDEN)}
    found = read(tensors, conv_L_cache=4, conv_bias=False)
    assert found.section == {"kind": "short_conv", "kernel": "config.conv_L_cache", "bias": "config.conv_bias"}


def test_a_linear_recurrent_unit():
    gates = {f"rg_lru.{gate}_gate_weight": (4, 10, 10) for gate in ("input", "recurrent")}
    tensors = {
        **gates,
        **{f"rg_lru.{gate}_gate_bias": (4, 10) for gate in ("input", "recurrent")},
        **{"rg_lru.recurrent_param": (40,), "conv_1d.weight": (40, 1, 3), "conv_1d.bias": (40,)},
        **{"linear_x.weight": (40, HIDDEN), "linear_y.weight": (40, HIDDEN), "linear_out.weight": (HIDDEN, 40)},
    }
    found = read(tensors, lru_width=40, conv1d_width=3, block_heads=4)
    assert found.section == {"kind": "rg_lru", "width": "config.lru_width", "heads": "config.block_heads"}
    assert found.names["x"] == "linear_x" and found.names["conv"] == "conv_1d"
    assert found.names["recurrent_param"] == "rg_lru.recurrent_param"


def test_attention_has_no_state():
    assert state({f"self_attn.{role}_proj.weight": (60, HIDDEN) for role in "qkvo"}, values()) is None


def hybrid(layers, **fields):
    """A draft of four layers, of which these have a state."""
    tensors = {}
    for layer in range(4):
        inside = STATE_SPACE if layer in layers else {f"{role}_proj.weight": (60, HIDDEN) for role in "qkvo"}
        tensors |= {f"model.layers.{layer}.mixer.{name}": shape for name, shape in inside.items()}
    weights, held, body = arrange(tensors), values(**SIZES, **fields), Body({})
    draft_states(body, states(weights, held), weights, held)
    return body


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"layer_types": ["a", "b", "b", "a"]}, {"by": "config.layer_types[layer]"}),
        ({"blocks": ["a", "b", "b"]}, {"by": "config.blocks[layer % len(config.blocks)]"}),
        ({"attention_at": [1, 2]}, {"when": "layer not in config.attention_at"}),
        ({"states_at": [0, 3]}, {"when": "layer in config.states_at"}),
        # of two lists alike the one that is about MLPs says nothing of mixers
        (
            {"mlp_layer_types": ["dense", "sparse", "sparse", "dense"], "types": ["a", "b", "b", "a"]},
            {"by": "config.types[layer]"},
        ),
    ],
)
def test_the_config_tells_which_layers(fields, told):
    layers = hybrid([0, 3], **fields).get("layers")
    assert told.items() <= layers.items()
    overlay = layers["kinds"]["a"] if "by" in told else layers
    assert overlay["attention"]["kind"] == "mamba2"
    assert overlay["checkpoint"] == {"names": {"attention": "mixer", "out": "out_proj"}}


def test_where_all_layers_have_a_state_it_is_said_of_all():
    body = hybrid(range(4))
    assert body.get("attention", "kind") == "mamba2" and body.get("layers") is None


def test_rows_that_both_hold_otherwise_are_said_of_attention_alone():
    tensors = {"model.layers.0.x.in_proj_qkv.weight": (64, HIDDEN)} | {
        f"model.layers.0.x.{name}": shape for name, shape in DELTA.items()
    }
    body = Body({"checkpoint": {"fused": {"q_proj": ["q", "out_gate"]}}})
    tensors |= {"model.layers.1.self_attn.q_proj.weight": (144, HIDDEN)}
    weights, held = arrange(tensors), values(**HEADS, layer_types=["linear", "full_attention"])
    found = states(weights, held)
    draft_states(body, found, weights, held)
    set_apart(body, found)
    assert body.get("checkpoint") is None
    kinds = body.get("layers", "kinds")
    assert kinds["full_attention"] == {"checkpoint": {"fused": {"q_proj": ["q", "out_gate"]}}}
