"""What shows only together: choices of routing, keys of gated units, and a key that another one needs."""

from nemo_automodel.parity.asked import Difference
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.combined import combined, completed
from nemo_automodel.parity.infer.judge import Stop
from nemo_automodel.parity.infer.offer import Offer

STOP = Stop(0, "outputs, one", "base", (Difference("model.layers.0.mlp"),))
FUSED = "checkpoint: {experts: stacked, fused: {experts.gate_up_proj: [gate, up]}}\n"


def texts(text, wrong, stop=STOP):
    return [str(one) for one in combined(Candidate.read(text, "specs/x.yaml"), stop, wrong)]


def test_scores_and_where_weights_multiply_are_changed_at_once():
    made = texts(f"name: llama4_text\nmlp: moe\n{FUSED}", set())
    assert "mlp.router.score: sigmoid; mlp.experts.weight_at: input" in made
    rows = "checkpoint.fused.experts.gate_up_proj: ['up', 'gate']"
    assert (
        f"mlp.router.score: sigmoid; mlp.experts.weight_at: input; {rows}" in made
    )  # where nothing says what is wrong
    assert not any("weights_dtype" in one or "experts.sum" in one for one in made)  # which only round otherwise


def test_a_renormalization_is_taken_back_where_sums_of_weights_differ():
    """Where they do not, another order of the scores without it would be the same but for rounding."""
    text, less = "name: mixtral\nmlp: {kind: moe, router: {renormalize: true}}\n", "mlp.router.renormalize: False"
    sums = Stop(0, "outputs, one", "base", (Difference("model.layers.0.mlp.routing: sums"),))
    assert not any(less in one for one in texts(text, {"router"}))
    assert f"mlp.router.order: sparsemixer; {less}" in texts(text, {"router"}, sums)


def test_keys_of_gated_units_take_fields_that_are_called_like_them():
    made = texts(f"name: gpt_oss\nmlp: moe\n{FUSED}", {"experts"})
    unit = "mlp.glu.alpha: newer(config.swiglu_alpha, 1.702); mlp.glu.up_offset: 1"
    rows = "checkpoint.fused.experts.gate_up_proj: {'parts': ['gate', 'up'], 'groups': 'config.intermediate_size'}"
    assert f"{unit}; {rows}" in made
    assert not any("router" in one for one in made)  # which is right


def test_nothing_is_combined_where_no_part_is_wrong_or_none_has_experts():
    assert not texts("name: mixtral\nmlp: moe\n", None)
    assert not texts("name: qwen3\n", set())


def test_how_parts_come_together_is_asked_first_where_none_is_wrong():
    text = "name: cohere2_moe\nmlp: {kind: moe, shared: {width: config.intermediate_size}}\n"
    assert texts(text, set())[:2] == ["mlp.shared.gate: sigmoid", "mlp.shared.combine: mean"]
    assert "mlp.shared.combine: mean" not in texts(text, {"router"})
    assert "mlp.shared.combine: mean" not in texts("name: mixtral\nmlp: moe\n", set())


def test_a_key_that_another_one_needs_is_put_with_it():
    offer = Offer(((("mlp", "router", "order"), "sparsemixer"),), 0)
    made = Candidate({"name": "phimoe", "mlp": {"kind": "moe", "router": {"order": "sparsemixer"}}}, "specs/x.yaml")
    (one,) = completed(offer, made, ["router_jitter_noise"])
    assert one.puts == (*offer.puts, (("mlp", "router", "jitter"), "config.router_jitter_noise"))
    assert not made.with_(one.made(made.data)).problems
    assert not [*completed(offer, Candidate({"name": "phimoe", "mlp": "moe"}, "specs/x.yaml"), ["router_jitter_noise"])]
