"""Expressions and equations: what parses, and what is refused with which cure."""

import pytest

from codegen.language import equations, expressions
from codegen.language.expressions import Refused
from codegen.language.values import Equation


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("config.query_pre_attn_scalar ** -0.5", "config.query_pre_attn_scalar ** (-0.5)"),
        ("config.a.b[layer] // 2", "config.a.b[layer] // 2"),
        ("config.rope_parameters[config.layer_types[layer]]", "config.rope_parameters[config.layer_types[layer]]"),
        ("layer in config.l or (layer + 1) % config.s", "layer in config.l or (layer + 1) % config.s"),
        ("not config.a and config.b is None", "not config.a and config.b is None"),
        ("'gelu_new' if config.afn == 'gelu' else config.afn", "'gelu_new' if config.afn == 'gelu' else config.afn"),
        ("per_layer(config.moe_topk, layer)", "per_layer(config.moe_topk, layer)"),
        ("[config.time_step_min, 1e30]", "[config.time_step_min, 1e+30]"),
        ("yarn_mscale(config.rope_parameters) ** 2", "yarn_mscale(config.rope_parameters) ** 2"),
        ("cast(sqrt(config.hidden_size), weight)", "cast(sqrt(config.hidden_size), weight)"),
        ("none", "None"),
        (True, "True"),
        (1, "1"),
        (1.0, "1.0"),
        (None, "None"),
    ],
)
def test_expressions(written: object, text: str) -> None:
    assert expressions.parse(written).text == text


def test_one_spelling_for_equal_expressions() -> None:
    assert expressions.parse("( config.a )+1") == expressions.parse("config.a + 1")
    assert expressions.parse(1) != expressions.parse(True)


def test_words_and_extra_names() -> None:
    assert expressions.parse("relu", words=("relu", "silu")).constant == "relu"
    assert expressions.parse("head_dim ** -0.5", names=("config", "head_dim")).mentions("head_dim")
    with pytest.raises(Refused) as caught:
        expressions.parse("rleu", words=("relu", "silu"))
    assert caught.value.cure == "did you mean 'relu'?"


@pytest.mark.parametrize(
    ("written", "message", "cure"),
    [
        ("config.__class__", "not allowed", ""),
        ("config.a.__globals__['x']", "not allowed", ""),
        ("__import__('os')", "'__import__' is no function", ""),
        ("config.a()", "'config.a' is no function", ""),
        ("open('x')", "'open' is no function", ""),
        ("lambda: 1", "not allowed", ""),
        ("[x for x in config.a]", "not allowed", ""),
        ("f'{config.a}'", "not allowed", ""),
        ("b'a'", "not allowed", ""),
        ("1j", "not allowed", ""),
        ("...", "not allowed", ""),
        ("1e999", "not allowed", "finite"),
        ("{1: 2}", "not allowed", ""),
        ("~config.a", "not allowed", ""),
        ("config.a @ 2", "not allowed", ""),
        ("config.a is 3", "not allowed", ""),
        ("a := 3", "no expression", ""),
        ("import os", "no expression", ""),
        ("config.a; config.b", "no expression", ""),
        ("layr + 1", "'layr' is not known", "did you mean 'layer'?"),
        ("hidden_size", "'hidden_size' is not known", "config.hidden_size"),
        ("true", "'true' is not known", "True"),
        ("config", "alone is no value", "config.<field>"),
        ("config[0]", "not allowed", "config.<field>"),
        ("sqr(2)", "'sqr' is no function", "did you mean 'sqrt'?"),
        ("sqrt(1, 2)", "takes one argument", ""),
        ("sqrt(x=1)", "positional", ""),
        ("cast(2, 3)", "second argument of cast", "cast(value, weight)"),
        ("max(config.a", "no expression", "must be quoted"),
        ("config.größe", "not ASCII", ""),
        ("1" * 1001, "longer than", ""),
        ("+".join("1" * 450), "too large", ""),
        ("'\\x1b[31m'", "control characters", ""),
        ("position", "'position' is not known", ""),
    ],
)
def test_refused_expressions(written: str, message: str, cure: str) -> None:
    with pytest.raises(Refused) as caught:
        expressions.parse(written)
    assert message in caught.value.message and cure in caught.value.cure


def test_config_paths() -> None:
    tree = expressions.python("config.a.b[config.c[layer]] + config.rope_parameters[config.d].x - layer")
    assert set(expressions.config_paths(tree)) == {"a.b", "c", "rope_parameters", "d"}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("attention(x)", "is no equation"),
        ("x == attention(x)", "is no equation"),
        ("x = y = 2", "no expression"),
        ("softcap = x", "cannot be bound"),
        ("ids = x", "cannot be bound"),
        ("x = attention(x, x)", "takes 1 argument"),
        ("x = softcap(x)", "takes 2 argument"),
        ("x = attention(h=x)", "positional"),
        ("x = attention(*x)", "positional"),
        ("x = (lambda: x)()", "no call of a part"),
        ("x = config.f(x)", "no call of a part"),
        ("x = x.__class__(x)", "no call of a part"),
        ("x = x.data", "not allowed"),
        ("x = x[0]", "not allowed"),
        ("x = 'a'", "not allowed in an equation"),
        ("x = attention(x) ** 2", "added, subtracted, multiplied and divided only"),
        ("x = config.a[layer", "no expression"),
    ],
)
def test_refused_equations(written: str, message: str) -> None:
    with pytest.raises(Refused) as caught:
        equations.parse(written)
    assert message in caught.value.message


def _problems(group: str, *texts: str, parts: tuple[str, ...] = (), head: str = "lm_head") -> list[str]:
    written: list[Equation] = [equations.parse(text) for text in texts]
    found = equations.problems(equations.GROUPS[group], written, ("attention", "mlp", *parts), head)
    return [f"{refusal.message}; {refusal.cure}" for refusal in found]


@pytest.mark.parametrize(
    ("group", "texts"),
    [
        ("input", ["x = embed_tokens(ids) * cast(sqrt(config.hidden_size), weight)"]),
        ("input", ["x = embed_tokens(ids) * cast(sqrt(config.hidden_size), float32)"]),
        ("input", ["x = wte(ids) + wpe(positions)"]),
        ("input", ["x = embed_tokens(ids) + embed_positions(positions + 2)"]),
        ("block", ["h = input_layernorm(x)", "x = x + attention(h) + mlp(h)"]),
        ("block", ["x = x + config.scales[layer] * attention(norm_attn_norm.norm_1(x))"]),
        ("output", ["logits = softcap(lm_head(norm(x)), config.cap) / config.scaling"]),
        ("output", ["logits = config.scale * lm_head(norm(x))"]),
        ("output", ["h = gelu(dense(norm(x)))", "logits = lm_head(h)"]),
    ],
)
def test_groups_of_equations(group: str, texts: list[str]) -> None:
    assert _problems(group, *texts) == []


@pytest.mark.parametrize(
    ("group", "texts", "message"),
    [
        ("block", ["x = x + atention(norm(x))"], "'atention' is used as a norm; did you mean 'attention'?"),
        ("block", ["x = x + mpl(norm(x))"], "'mpl' is used as a norm; did you mean 'mlp'?"),
        ("block", ["x = x + attention(h)"], "'h' is not bound here"),
        ("block", ["h = x + attention(x)"], "the last equation binds 'h', not 'x'"),
        ("block", ["x = x + attention(x)", "x = x + attention(x)"], "'attention' is called twice"),
        ("block", ["h = norm_1(x)", "x = x + attention(norm_2(x))"], "'h' is never used"),
        ("input", ["x = 2 * config.a"], "nothing is called on `ids`"),
        ("input", ["x = embed(ids) * layer"], "'layer' is not bound here"),
        ("output", ["logits = lm_head(mlp(x))"], "'mlp' is a part of the layers"),
        ("output", ["logits = norm(x)"], "the head 'lm_head' is not called"),
        ("output", ["logits = lm_head(x) + lm_head(norm(x))"], "the head 'lm_head' is called more than once"),
        ("output", ["h = lm_head(x)", "logits = 2 * h"], "is called before the last equation"),
        ("output", ["logits = gelu(lm_head(x))"], "is not allowed around the head"),
        ("output", ["logits = lm_head(x) + 1"], "is not allowed around the head"),
        ("output", ["logits = 1 / lm_head(x)"], "is not allowed around the head"),
        ("output", ["logits = lm_head(x) * x"], "is not allowed around the head"),
        ("output", ["logits = lm_haed(norm(x))"], "'lm_haed' is used as a norm; did you mean 'lm_head'?"),
    ],
)
def test_what_is_wrong_with_a_group(group: str, texts: list[str], message: str) -> None:
    assert any(message in problem for problem in _problems(group, *texts))
