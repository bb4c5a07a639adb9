"""Strong tiny configs: every field that a spec reads takes values at which it matters."""

import math
from pathlib import Path

import pytest
import transformers

from codegen.configs import table
from codegen.language.check import read_spec, read_text, specs_of_text
from codegen.language.loaded import config_class
from codegen.language.values import expression
from codegen.tiny.configs import configs
from codegen.tiny.evaluate import evaluate
from codegen.tiny.mentions import fields_of, mentions, with_newer

ROOT = Path(__file__).parents[3]
SPECS = specs_of_text(ROOT / "specs")


def made(text):
    return configs(read_text(text, "specs/x.yaml"), table())


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_every_spec(path):
    spec = read_spec(path, ROOT)
    config = with_newer(config_class(spec, table()), spec)
    found = configs(spec, table())
    base = found["base"]
    for mention in mentions(spec, config):
        default = config.fields.get(mention.field)
        if isinstance(default, bool):
            wanted = {value for value in (True, False) if not excluded(spec, config, base | {mention.field: value})}
            assert {variant.get(mention.field, default) for variant in found.values()} >= wanted, mention
        elif isinstance(default, int | float) and mention.field not in config.derived:
            others = {repr(variant.get(mention.field, default)) for variant in found.values()} - {repr(default)}
            assert others or mention.role in ("kv_heads", "padding_idx"), mention  # published values are small there
    assert not any(excluded(spec, config, values) for values in found.values())
    size = base[config.field_name("hidden_size")]
    assert math.isqrt(size) ** 2 != size
    for name in base:
        assert name in config.fields or name in config.published, name
    for index, split in enumerate(spec.splits):
        assert {key[index] for key in spec.flat} == outcomes(split, config, found)


def excluded(spec, config, values):
    """Whether the reference cannot run a config."""
    condition = spec.tests.get("excluded")
    return condition is not None and evaluate(expression(condition).tree, {**config.fields, **values})


def outcomes(split, config, found):
    """Which outcomes of a split occur in some variant, on some layer."""
    seen = set()
    for variant in found.values():
        values = {**config.fields, **variant, **computed(split, config, variant)}
        for layer in range(values[config.field_name("num_hidden_layers")]):
            value = evaluate(split.condition.tree, values, layer=layer)
            seen.add(value if split.by else bool(value))
    return seen


def computed(split, config, variant):
    """What the config class makes of a variant, of the fields that the condition reads."""
    names = config.derived & {config.field_name(name) for name in fields_of(split.condition.tree)}
    made = getattr(transformers, config.name)(**variant) if names else None
    return {name: getattr(made, name) for name in names}


def test_any_two_flags_differ_somewhere():
    found = made("name: llama\n")
    pairs = {(variant["attention_bias"], variant["mlp_bias"]) for variant in found.values()}
    assert pairs == {(False, False), (True, True), (True, False), (False, True)}


def test_numbers_bite():
    base = made("name: gemma2\nattention: {softcap: config.attn_logit_softcapping, window: config.sliding_window}\n")[
        "base"
    ]
    assert 0.5 <= base["attn_logit_softcapping"] <= 2
    assert base["sliding_window"] == 5
    assert 1e-3 <= base["rms_norm_eps"] <= 1e-2
    assert base["head_dim"] != base["hidden_size"] / base["num_attention_heads"]
    assert base["attention_dropout"] == 0


def test_dropouts_in_inner_configs_have_a_value_that_the_class_takes():
    found = {name: configs(read_spec(ROOT / f"specs/{name}.yaml", ROOT), table()) for name in ("dbrx", "mpt")}
    assert found["dbrx"]["dropout"]["attn_config"]["attn_pdrop"] == 0.4
    assert found["mpt"]["dropout"]["attn_config"]["attn_pdrop"] == 1  # whole numbers alone


FALCON = """
name: falcon
attention: {bias: config.bias}
mlp: {kind: plain, width: config.ffn_hidden_size, bias: false, activation: gelu}
variants:
  - {when: config.parallel_attn or config.new_decoder_architecture, block: parallel, dropout: {residual: 0.2}}
  - {when: config.new_decoder_architecture, attention: {kv_heads: config.num_kv_heads}}
  - {when: config.multi_query and not config.new_decoder_architecture, attention: {kv_heads: 1}}
tests:
  tiny: {num_kv_heads: 2}
  excluded: >-
    config.new_decoder_architecture and not config.parallel_attn or not (config.new_decoder_architecture
    or config.multi_query or config.num_kv_heads == config.num_attention_heads)
"""


def test_what_flags_leave_out_for_the_sake_of_the_excluded_has_a_config_of_its_own():
    found = made(FALCON)
    wirings = {(one["parallel_attn"], one["new_decoder_architecture"]) for one in found.values()}
    assert (False, False) in wirings and (False, True) not in wirings


def test_a_number_becomes_what_the_excluded_compare_it_with():
    found = made(FALCON).values()
    apart = [one for one in found if not one["multi_query"] and not one["new_decoder_architecture"]]
    assert apart and all(one["num_kv_heads"] == one["num_attention_heads"] for one in apart)


def test_each_variant_that_drops_otherwise_has_a_config_with_dropout():
    found = {name: one for name, one in made(FALCON).items() if name.startswith("dropout")}
    assert [*found] == ["dropout", "dropout_1"]
    assert {one["parallel_attn"] for one in found.values()} == {True, False}
    assert all(one["hidden_dropout"] for one in found.values())


def test_optional_numbers_are_absent_once():
    found = made("name: mistral\nattention: {window: config.sliding_window}\n")
    assert found["base"]["sliding_window"] == 5
    assert found["flags"]["sliding_window"] is None


def test_schedules_mix_their_kinds():
    found = made('name: qwen2\nlayers: {by: "config.layer_types[layer]"}\n')
    assert set(found["base"]["layer_types"]) == {"full_attention", "sliding_attention"}
    assert found["base"]["use_sliding_window"] is True  # else the class drops the window


def test_conditions_are_met_both_ways():
    declared = "config: {model_type: x, class: XConfig, fields: {vocab_size: 9, hidden_size: 8, intermediate_size: 8, "
    declared += (
        "num_hidden_layers: 2, num_attention_heads: 2, hidden_act: silu, rms_norm_eps: 1e-6, depth: 3, kind: null}}"
    )
    text = f"name: x\narchitecture: XForCausalLM\n{declared}\nrope: {{theta: 10.0}}\n"
    found = made(text + "variants: {when: config.depth > 4, block: parallel}\n")
    assert {variant["depth"] > 4 for variant in found.values() if "depth" in variant} | {False} == {True, False}
    found = made(text + "variants: {when: config.kind is None, block: parallel}\n")
    assert {variant.get("kind") is None for variant in found.values()} == {True, False}
    found = made(text + "layers: {when: layer < config.depth, norm: layernorm}\n")
    assert 0 < found["base"]["depth"] < 4


def test_every_scaling_of_rotary_tables():
    kinds = {name for name in made("name: llama\n") if name.startswith("rope_")}
    assert kinds == {"rope_linear", "rope_dynamic", "rope_llama3", "rope_yarn", "rope_longrope"}
    assert {name for name in made("name: phi3\n") if name.startswith("rope_")} == {"rope_longrope"}
    assert not [name for name in made("name: llama\nrope: none\n") if name.startswith("rope_")]


def test_a_share_of_pairs_is_no_width():
    found = {name: variant["rope_parameters"]["full_attention"] for name, variant in of_family("lfm3").items()}
    assert found["base"]["rope_type"] == "proportional"
    assert 0 < found["base"]["partial_rotary_factor"] < 1
    scaled = {name: table for name, table in found.items() if name.startswith("rope_")}
    assert scaled
    assert not any("partial_rotary_factor" in table for table in scaled.values())
    assert len(scaled["rope_longrope"]["short_factor"]) == of_family("lfm3")["base"]["head_dim"] // 2


def of_family(name):
    """Of a spec that is committed, onboarded or not."""
    (path,) = (ROOT / "specs").rglob(f"{name}.yaml")
    return configs(read_spec(path, ROOT), table())


def test_fields_inside_fields_bite():
    mapping = of_family("ministral3")["base"]["rope_parameters"]
    assert mapping["llama_4_scaling_beta"] not in (0, 0.1)
    assert mapping["original_max_position_embeddings"] < 24
    found = of_family("mpt")
    assert 0 < found["base"]["attn_config"]["clip_qkv"] < 1
    assert found["flags"]["attn_config"]["clip_qkv"] is None


def test_a_number_inside_a_field_is_absent_without_its_field():
    text = (ROOT / "specs/mpt.yaml").read_text().replace("config.attn_config.clip_qkv", "config.attn_config.attn_pdrop")
    made = configs(read_text(text, "specs/mpt.yaml"), table())
    assert all(isinstance(one["attn_config"], dict) for one in made.values())


def test_what_the_class_computes_is_not_given():
    assert "num_key_value_heads" not in of_family("gpt_bigcode")["base"]
    assert "head_dim" not in of_family("falcon")["base"]


def test_sizes_fit_each_other():
    base = of_family("codegen")["base"]
    assert base["n_head"] % 4 == 0  # the blocks in which its projections are stored
    assert base["rotary_dim"] < base["n_embd"] // base["n_head"]
    assert base["rotary_dim"] % 2 == 0
    assert of_family("moshi")["base"]["ffn_dim"] < 100
    assert of_family("gpt_neox_japanese")["base"]["intermediate_multiple_size"] == 3


def test_excluded_configs_lose_a_flag():
    text = "name: llama\ntests: {excluded: config.attention_bias and not config.mlp_bias}\n"
    pairs = {(variant["attention_bias"], variant["mlp_bias"]) for variant in made(text).values()}
    assert pairs == {(False, False), (True, True), (False, True)}
    alone = made("name: llama\ntests: {excluded: config.tie_word_embeddings}\n")
    assert not any(variant.get("tie_word_embeddings") for variant in alone.values())


def test_the_spec_has_the_last_word():
    assert made("name: llama\ntests: {tiny: {hidden_size: 84}}\n")["tied"]["hidden_size"] == 84


def test_further_configs_of_the_spec_lie_over_the_base():
    found = made("name: llama\ntests: {tiny: {hidden_size: 84}, also: [{attention_bias: true}, {hidden_size: 96}]}\n")
    assert found["also_1"] == {**found["base"], "attention_bias": True}
    assert found["also_2"] == {**found["base"], "hidden_size": 96}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("config.a // 2 ** 2 - 1", 1),
        ("config.b if config.a > 7 and not config.c else 0", [4, 5]),
        ("config.b[layer] in [4, 6]", False),
        ("config.c or config.a", 8),
        ("per_layer(config.b, layer) + max(1, 2)", 7),
        ("config.c is None", True),
        ("-int(sqrt(config.a + 1))", -3),
    ],
)
def test_evaluate(text, value):
    assert evaluate(expression(text).tree, {"a": 8, "b": [4, 5], "c": None}, layer=1) == value


def test_evaluate_knows_nothing_else():
    for text in ("open('x')", "config.missing", "other", "[x for x in config.b]"):
        with pytest.raises(LookupError):
            evaluate(expression(text).tree, {"b": [1]})


def test_what_the_config_class_computes_is_not_written():
    by = "layers: {by: 'config.layers_block_type[layer]', kinds: {linear_attention: {mlp: plain}}}"
    assert "layers_block_type" not in made(f"name: bamba\n{by}\n")["base"]


def test_a_states_heads_are_not_attentions():
    base = configs(read_spec(ROOT / "specs/bamba.yaml", ROOT), table())["base"]
    assert base["head_dim"] == 12  # read where a file carries it


def test_a_schedule_of_blocks_has_no_kinds_of_attention_besides():
    spec = read_spec(ROOT / "specs/nemotron_v3.yaml", ROOT)
    assert {key[0] for key in spec.flat} == {"linear_attention", "moe", "full_attention", "mlp"}


def test_a_head_that_is_never_tied_has_no_tied_variant():
    assert "tied" not in configs(read_spec(ROOT / "specs/nemotron_v3.yaml", ROOT), table())
