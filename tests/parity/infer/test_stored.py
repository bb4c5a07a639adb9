"""What would take the tensors that are there: names, fused rows, turned ones, what is left out, what stays fp32."""

from nemo_automodel.parity.asked import Difference
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.judge import Stop
from nemo_automodel.parity.infer.stored import fused_rows, stored

LAYER = "model.layers.0."


def offered(text, what, found=(), **names):
    wrong = tuple(map(Difference, found)) or tuple(Difference(name) for some in names.values() for name in some)
    stop = Stop(0, what, "base", wrong, **names)
    return [one.made(candidate.data) for candidate in [Candidate.read(text, "x")] for one in stored(candidate, stop)]


def checkpoints(*arguments, **names):
    return [made["checkpoint"] for made in offered(*arguments, **names) if "checkpoint" in made]


def test_a_role_takes_the_name_that_stands_in_its_place():
    made = checkpoints(
        "name: qwen3\n",
        "tensors",
        missing=(f"{LAYER}self_attn.o_proj.weight",),
        unexpected=(f"{LAYER}self_attn.dense.weight",),
    )
    assert {"names": {"out": "dense"}} in made


def test_a_part_of_the_experts_takes_its_name_with_what_lists_it():
    text = "name: qwen3_moe\nmlp: moe\ncheckpoint: {experts: stacked, transposed: [experts.down_proj]}\n"
    names = (f"{LAYER}mlp.experts.down_proj",), (f"{LAYER}mlp.experts.fc2.weight",)
    made = checkpoints(text, "tensors", missing=names[0], unexpected=names[1])
    wanted = {"transposed": ["experts.fc2.weight"], "names": {"experts.down": "fc2.weight"}}
    assert any(wanted.items() <= one.items() for one in made)


def test_what_nobody_expects_may_be_converted_to_the_usual_name():
    text = "name: qwen3_moe\nmlp: moe\ncheckpoint: {names: {router: router}}\n"
    made = checkpoints(text, "tensors", unexpected=(f"{LAYER}mlp.router.weight",))
    assert {"names": {"router": "router"}, "memory": {"router": "gate"}} in made


def test_several_roles_may_lie_in_one_tensor():
    missing = tuple(f"{LAYER}self_attn.{one}_proj.weight" for one in "qkv")
    made = checkpoints("name: qwen3\n", "tensors", missing=missing, unexpected=(f"{LAYER}self_attn.Wqkv.weight",))
    assert {"fused": {"Wqkv": ["q", "k", "v"]}} in made


def test_what_has_another_shape_may_lie_turned():
    text = "name: qwen3_moe\nmlp: moe\ncheckpoint: {experts: stacked}\n"
    made = checkpoints(text, "tensors", misshapen=(f"{LAYER}mlp.experts.down_proj",))
    assert {"experts": "stacked", "transposed": ["experts.down_proj"]} in made


def test_fused_rows_are_tried_in_every_order_and_by_groups():
    made = checkpoints("name: qwen3\ncheckpoint: {fused: {Wqkv: [q, k, v]}}\n", "outputs, one", ["model.layers.0"])
    fused = [one["fused"]["Wqkv"] for one in made]
    assert ["v", "q", "k"] in fused
    assert {"parts": ["q", "k", "v"], "groups": "config.num_attention_heads"} in fused


def test_rows_may_lie_by_the_heads_of_keys_as_a_spec_counts_them():
    text = "name: falcon\nattention: {kv_heads: config.few}\ncheckpoint: {fused: {qkv: [q, k, v]}}\n"
    made = [value for _, (_, value) in fused_rows(Candidate.read(text, "x"))]
    assert made[:2] == [["q", "k", "v"], {"parts": ["q", "k", "v"], "groups": "config.few"}]


def test_buffers_are_dropped_in_every_layer_and_what_is_outside_with_all_below():
    made = checkpoints("name: qwen3\n", "what is left out", ["mtp.weight", f"{LAYER}self_attn.bias"])
    assert [one["match"] for one in made[0]["drop"]] == ["*.self_attn.bias", "mtp.*"]


def test_a_word_that_a_class_leaves_out_may_stand_anywhere():
    made = checkpoints("name: qwen3\n", "what is left out", [f"{LAYER}mtp"])
    assert [one["match"] for one in made[0]["drop"]] == ["*mtp*"]


def test_a_router_that_stays_fp32_computes_so():
    made = offered("name: qwen3_moe\nmlp: moe\n", "dtypes in bf16", [f"{LAYER}mlp.gate.weight"])
    assert {"float32": ["*.mlp.gate.weight"]} in [one["checkpoint"] for one in made]
    assert any(one["mlp"]["router"] == {"dtype": "float32"} for one in made if isinstance(one["mlp"], dict))


def test_a_head_without_a_tensor_is_called_on_disk_as_in_memory():
    """A tied head: which name it has on disk shows in memory alone."""
    made = offered("name: qwen3\n", "memory", missing=("lm_head.weight",), unexpected=("output_projection.weight",))
    named, remembered = (one for one in made if "head" in str(one["checkpoint"]))
    assert named["checkpoint"] == {"names": {"head": "output_projection"}}
    assert named["output"] == ["logits = output_projection(norm(x))"]
    assert remembered["checkpoint"] == {"memory": {"head": "output_projection"}}


def test_a_family_with_names_of_its_own_may_have_the_usual_ones_in_memory():
    text = "name: qwen3\ncheckpoint: {names: {layers: h, out: dense}}\n"
    made = checkpoints(text, "memory", missing=("model.h.0.x",), unexpected=("model.layers.0.x",))
    assert made[0]["memory"] == {"layers": "layers", "out": "o_proj"}


def test_what_is_not_fp32_after_all_is_listed_no_more():
    text = "name: qwen3_moe\nmlp: moe\ncheckpoint: {float32: ['*.mlp.gate.weight', '*bias'], experts: stacked}\n"
    made = offered(text, "dtypes in bf16", found=(f"{LAYER}mlp.gate.weight",))
    kept = {"float32": ["*bias"], "experts": "stacked"}
    assert any(one["checkpoint"] == kept and one["mlp"] == "moe" for one in made)
    computed = {"dtype": "model", "weights_dtype": "model"}
    assert any(one["checkpoint"] == kept and one["mlp"] == {"kind": "moe", "router": computed} for one in made)


def test_what_equations_call_is_called_on_disk_as_it_lies_there():
    text = "name: qwen3\nblock: [x = x + attention(ln_1(x)), x = x + mlp(ln_2(x))]\n"
    names = (f"{LAYER}ln_1.weight",), (f"{LAYER}input_layernorm.weight",)
    made = offered(text, "memory", missing=names[0], unexpected=names[1])
    wanted = ["x = x + attention(input_layernorm(x))", "x = x + mlp(ln_2(x))"]
    assert any(
        one["block"] == wanted and one.get("checkpoint") == {"names": {"input_layernorm": "ln_1"}} for one in made
    )


def test_of_several_names_that_fit_the_most_alike_is_tried_first():
    text = "name: qwen3\nblock: ['x = x + ffn_norm(attention(x))', 'x = x + attn_norm(mlp(x))']\n"
    here, there = (
        [f"model.layers.0.{one}.weight" for one in some]
        for some in (("ffn_norm", "attn_norm"), ("post_mlp_layernorm", "self_attn_layernorm"))
    )
    names = [one["names"] for one in checkpoints(text, "memory", missing=here, unexpected=there) if "names" in one]
    assert names[0] == {"self_attn_layernorm": "attn_norm"}


def test_maps_in_a_row_take_their_names_in_memory_one_by_one():
    text = (
        "name: kimi_linear\nlayers:\n  by: config.layer_types[layer]\n  kinds:\n    full_attention: {}\n"
        "    linear_attention:\n"
        "      attention: {kind: gated_delta_net, key_heads: config.linear_num_heads, heads: config.linear_num_heads,"
        " key_dim: config.linear_head_dim, value_dim: config.linear_head_dim, decay: channel}\n"
        "      checkpoint: {names: {a: [f_a_proj, f_b_proj]}, fused: {conv1d: [conv_q, conv_k, conv_v]}}\n"
        "attention: mla\nrope: none\n"
    )
    path = "model.layers.0.self_attn"
    names = [f"{part}_proj.weight" for part in ("f_a", "f_b")]
    found = offered(
        text,
        "memory",
        missing=tuple(f"{path}.{name}" for name in names),
        unexpected=tuple(f"{path}.gate.{name}" for name in names),
    )
    states = [one["layers"]["kinds"]["linear_attention"]["checkpoint"] for one in found]
    assert {"a": ["gate.f_a_proj", "gate.f_b_proj"]} in [one.get("memory") for one in states]
