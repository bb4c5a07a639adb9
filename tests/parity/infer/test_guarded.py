"""What is true of some layers is tried under one more condition."""

from codegen.new.body import Body
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.guarded import guarded, joined, lessened, narrowed, unless

WINDOW = "config.sliding_window is not None"


def made(layers):
    return [offer.puts[0] for offer in guarded(Body({"layers": layers}), [WINDOW])]


def test_a_kind_of_layers_becomes_a_condition():
    entry = {"by": "config.layer_types[layer]", "kinds": {"full": {"rope": "none"}, "other": {"mlp": "plain"}}}
    first, second = made(entry)
    condition = f"{WINDOW} and config.layer_types[layer] == 'full'"
    rest = {"by": "config.layer_types[layer]", "kinds": {"other": {"mlp": "plain"}}}
    assert first == (("layers",), [rest, {"when": condition, "rope": "none"}])
    assert second[1][1]["mlp"] == "plain"


def test_a_condition_is_narrowed_where_it_stands():
    entries = [{"by": "config.layer_types[layer]"}, {"when": "layer < 2 or config.dense", "mlp": "gated"}]
    assert made(entries) == [
        (("layers",), [entries[0], {"when": f"(layer < 2 or config.dense) and {WINDOW}", "mlp": "gated"}])
    ]


def test_a_factor_that_comes_with_a_field_is_one_under_a_condition():
    plain, scaled, other = "x = embed(ids)", "x = embed(ids) * sqrt(config.hidden_size)", "x = embed(ids) * 2"
    (one,), (back,), (both,) = joined(plain, scaled, "c"), joined(scaled, plain, "c"), joined(scaled, other, "c")
    assert one == "x = embed(ids) * (sqrt(config.hidden_size) if c else 1.0)"
    assert back == "x = embed(ids) * (1.0 if c else sqrt(config.hidden_size))"
    assert both == "x = embed(ids) * (2 if c else sqrt(config.hidden_size))"
    assert not [*joined(plain, plain, "c"), *joined(plain, "x = other(ids)", "c")]


def test_a_key_of_all_models_is_put_under_a_condition():
    body = Body({"mlp": {"width": "config.inner", "bias": True}, "name": "x"})
    found = {str(one): one.made(body.content) for one in narrowed(body, ["config.adjusts"])}
    assert found == {
        "mlp.width when config.adjusts": {
            **{"mlp": {"bias": True}, "name": "x"},
            "variants": [{"when": "config.adjusts", "mlp": {"width": "config.inner"}}],
        },
        "mlp.bias when config.adjusts": {
            **{"mlp": {"width": "config.inner"}, "name": "x"},
            "variants": [{"when": "config.adjusts", "mlp": {"bias": True}}],
        },
    }
    assert body.content["mlp"]["width"] == "config.inner"  # the candidate itself stays


def test_a_part_that_some_models_lack_leaves_the_block():
    text = "name: x\nconfig: transformers:MixtralConfig\narchitecture: X\nmlp: moe\n"
    candidate = Candidate.read(text, "specs/x.yaml")
    assert not candidate.problems
    found = [offer.puts[0] for offer in lessened(candidate, ["config.num_local_experts == 0"])]
    block = ["x = x + attention(input_layernorm(x))", "x = x"]
    assert (("variants",), [{"when": "config.num_local_experts == 0", "block": block}]) in found
    assert all(len(entries) == 1 and len(entries[0]["block"]) == 2 for _, entries in found)


def test_a_word_of_a_changed_list_and_a_condition_may_not_hold_together():
    changed = {"kinds": ["dense", "sparse", "dense"], "pattern": 1}
    assert [*unless(changed, ["config.pattern == 1"])] == [
        "not (config.kinds[layer] == 'dense' and config.pattern == 1)",
        "not (config.kinds[layer] == 'sparse' and config.pattern == 1)",
    ]
    assert not [*unless({"pattern": 1}, ["config.pattern == 1"])]


def test_a_factor_anywhere_in_an_equation_may_be_one_of_some_models_alone():
    one, other = "x = w(ids) * sqrt(config.d) + p(positions + 2)", "x = w(ids) + p(positions + 2)"
    assert [*joined(one, other, "not config.s")] == [
        "x = w(ids) * (sqrt(config.d) if config.s else 1.0) + p(positions + 2)"
    ]
    assert [*joined(other, one, "config.s")] == [
        "x = w(ids) * (sqrt(config.d) if config.s else 1.0) + p(positions + 2)"
    ]
    assert not [*joined(one, "x = v(ids) + p(positions + 2)", "config.s")]
