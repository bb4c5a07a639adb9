"""Hostile text in every string of a spec: refused, or text it stays, in Python, YAML and Markdown."""

import ast

import pytest
import yaml

from codegen.errors import CodegenError
from codegen.generate import generate
from codegen.language.check import read_text

HOSTILE = [
    '"""\nimport os\nos.system("x")\n"""',
    "'''; import os",
    "# comment\nimport os",
    "x\nimport os",
    "\\",
    '"',
    "{import os}",
    "*/ --> <script>alert(1)</script>",
    "| a | b |\n|---|---|",
    "[link](javascript:alert(1)) `code` **bold**",
    "!!python/object/apply:os.system [x]",
    "&anchor *alias",
    "key: value\nother: value",
    "../../../etc/passwd",
    "__import__('os').system('x')",
    "x); import os; (",
    "\u2028import os",
    "line\rimport os",
]
SPEC = {
    "name": "victim",
    "architecture": "VictimForCausalLM",
    "config": "transformers:LlamaConfig",
    "summary": "A model.",
    "docs": {"hub": "someone/model"},
    "norm": {"why": "because"},
    "attention": {"bias": {"out": True}, "inner_norm": "inner", "why": "because"},
    "mlp": {"activation": "silu", "why": "because"},
    "rope": {"why": "because"},
    "input": "x = tok_embed(ids)",
    "block": ["x = x + attention(first(x))", "x = x + mlp(second(x))"],
    "output": "logits = lm_head(last(x)) * config.hidden_size",
    "variants": {"when": "config.attention_bias", "rope": "none", "why": "because"},
    "checkpoint": {
        "names": {"model": "transformer", "out": "dense", "q": "query"},
        "fused": {"gate_up": ["gate", "up"]},
        "transposed": ["dense"],
        "drop": [{"match": "*.old", "why": "because"}],
    },
    "tests": {"reference": "tests.reference.victim:Victim"},
}


def paths(value, path=()):
    """Where the strings of a spec stand, keys of open mappings included."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from paths(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from paths(child, (*path, index))
    elif isinstance(value, str):
        yield path


def changed(path, text):
    """The spec with another text at a place."""
    copy = yaml.safe_load(yaml.safe_dump(SPEC))
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = text
    return yaml.safe_dump(copy, sort_keys=False, allow_unicode=False)


def generated(text, tmp_path):
    return {item.path: item.body for item in generate(read_text(text, "specs/victim.yaml")).artifacts}


def calls(source):
    """What a module calls."""
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("path", list(paths(SPEC)), ids=lambda path: ".".join(map(str, path)))
def test_text_stays_text(path, tmp_path):
    plain = generated(yaml.safe_dump(SPEC, sort_keys=False), tmp_path)
    accepted = 0
    for hostile in HOSTILE:
        try:
            files = generated(changed(path, hostile), tmp_path)
        except CodegenError:
            continue
        accepted += 1
        for name, body in files.items():
            assert name in plain, f"{hostile!r} chose the path {name}"
            assert_harmless(name, body, plain[name])
    free_text = path[-1] in ("summary", "why")
    assert accepted or not free_text, "free text is refused altogether: nothing was tested"


def assert_harmless(name, body, plain):
    if name.endswith(".py"):
        assert "os" not in {alias.name for node in ast.walk(ast.parse(body)) for alias in getattr(node, "names", ())}
        assert calls(body) <= calls(plain)
        assert [type(node) for node in ast.parse(body).body] == [type(node) for node in ast.parse(plain).body]
    elif name.endswith(".yaml"):
        found, expected = (yaml.safe_load(text) for text in (body, plain))
        assert {key: list(value) for key, value in found.items()} == {
            key: list(value) for key, value in expected.items()
        }
    else:
        assert len(body.splitlines()) == len(plain.splitlines())
        assert not any(mark in body.replace("\\<", "") for mark in ("<script", "](javascript"))
