"""Expressions are evaluated within bounds, and what has no value on the tests' configs is a problem at its place."""

import time

import pytest

from codegen.errors import SpecError
from codegen.generate import plan_spec
from codegen.language.check import read_text
from codegen.language.values import expression
from codegen.tiny.evaluate import UNREADABLE, Unknown, evaluate

MODEL = "name: llama\n"


def problems(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        plan_spec(read_text(MODEL + text, "specs/llama.yaml"))
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "text",
    [
        *("10 ** 10 ** 10", "9 ** 999999999", "(-8) ** 0.5", "1 % 0", "1 / 0", "1 // 0", "2 ** 63 * 2 ** 63"),
        *("'a' * 1000000000", "[0] * 1000000000", "'%999999999d' % 1", "'a' + 'b'", "-'a'", "1e308 ** 2"),
        *("int('9')", "int(1e308 * 10)", "sqrt(-1)", "log(0)", "floor('a')", "min(1, 'a')", "len(3)", "sum('a')"),
        *("config.a.b", "config.c", "config.b[9]", "config.a < config.b", "1 in 2"),
    ],
)
def test_what_has_no_value_ends_at_once(text: str) -> None:
    started = time.process_time()
    with pytest.raises(UNREADABLE):
        evaluate(expression(text).tree, {"a": 3, "b": [1, 2]})
    assert time.process_time() - started < 0.1


def test_names_that_only_a_running_model_knows_are_told_apart() -> None:
    for text in ("position + 1", "cast(1, weight)", "yarn_mscale(config.a)"):
        with pytest.raises(Unknown):
            evaluate(expression(text).tree, {"a": 3})


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("layers: {when: 1 % 0, mlp: plain}", "2:16: layers.when"),
        ('layers: {when: "config.hidden_act < 3", mlp: plain}', "2:16: layers.when"),
        ("layers: {when: 10 ** 10 ** 10 > layer, mlp: plain}", "2:16: layers.when"),
        ("variants: {when: 1 / 0, mlp: plain}", "2:18: variants.when"),
        ("tests: {excluded: 1 % 0}", "2:19: tests.excluded"),
        ("tests: {excluded: config.hidden_size < 'a'}", "2:19: tests.excluded"),
        ("tests: {excluded: config.hidden_size > 0}", "2:19: tests.excluded"),
        ("attention: {scale: 1 / 0}", "2:20: attention.scale"),
        ("attention: {bias: config.hidden_act + 1}", "2:19: attention.bias"),
        ("norm: {kind: config.hidden_act}", "2:14: norm.kind"),
        ("norm: {kind: config.rope_parameters}\nmlp: plain", "2:14: norm.kind"),
        ("mlp: {width: config.hidden_act}", "2:14: mlp.width"),
        ("attention: {bias: config.attention_bias}\nmlp: {width: config.attention_bias}", "3:14: mlp.width"),
        ("attention: {v_head_dim: config.attention_bias}", "2:25: attention.v_head_dim"),
        ("mlp: {width: config.rope_parameters}", "2:14: mlp.width"),
        ("tests: {tiny: {rope_parameters: 5}}", "2:33: tests.tiny.rope_parameters"),
        ("layers: {by: config.hidden_act, kinds: {gelu: {mlp: plain}}}", "2:14: layers.by"),
    ],
)
def test_a_problem_of_a_value_stands_at_its_place(text: str, place: str) -> None:
    (said,) = problems(text)
    assert said.startswith(f"specs/llama.yaml:{place}: "), said


def test_rotary_parameters_without_a_type_are_unscaled_ones() -> None:
    plan_spec(read_text(MODEL + "tests: {tiny: {rope_parameters: {rope_theta: 5.0}}}\n", "specs/llama.yaml"))


def test_an_expression_counts_only_where_it_holds() -> None:
    text = "layers: {when: layer > 100, attention: {scale: 1 / 0}}\n"
    plan_spec(read_text(MODEL + text, "specs/llama.yaml"))


def test_problems_of_planning_are_told_all_at_once() -> None:
    text = "attention: {v_head_dim: 7}\ncheckpoint: {fused: {qkv: [q, k, v]}}\nhead: {tie: config.attention_bias}\n"
    text += "norm: {eps: 1 / 0}\nlayers: {when: layer > 1, rope: {width: 2 * layer}}\n"
    places = [said.split(": ")[0].partition(":")[2] + said.split(": ")[1] for said in problems(text)]
    assert places == ["2:25attention.v_head_dim", "4:13head.tie", "5:13norm.eps", "6:33rope"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("head_dim", "{a: 1}"),
            ("head_dim", "2147483648"),
            ("head_dim", "x"),
            ("head_dim", "0"),
            ("head_dim", "[8]"),
        ),
        *(("num_attention_heads", "0"), ("num_hidden_layers", "x"), ("num_hidden_layers", "1000000000")),
        *(("hidden_size", "true"), ("hidden_size", "1.5"), ("hidden_size", "null"), ("vocab_size", "[1]")),
        *(("rope_parameters", "x"), ("rope_parameters", "{rope_theta: x}"), ("rms_norm_eps", "x")),
        *(("attention_bias", "3"), ("hidden_act", "3"), ("pad_token_id", "99999999"), ("sizes", "1")),
    ],
)
def test_a_tiny_value_suits_its_field_and_is_small(field: str, value: str) -> None:
    said = problems(f"tests: {{tiny: {{{field}: {value}}}}}")
    assert len(said) == 1 and f" tests.tiny.{field}" in said[0], said


def test_tiny_values_inside_a_config_suit_their_fields() -> None:
    text = "name: dbrx\ntests: {tiny: {ffn_config: {ffn_hidden_size: x, nothing: 1}, attn_config: x}}\n"
    with pytest.raises(SpecError) as caught:
        read_text(text, "specs/dbrx.yaml")
    paths = [problem.path for problem in caught.value.problems if problem.path.startswith("tests")]
    assert paths == ["tests.tiny.ffn_config.ffn_hidden_size", "tests.tiny.ffn_config.nothing", "tests.tiny.attn_config"]
