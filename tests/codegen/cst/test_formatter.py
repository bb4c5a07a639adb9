"""What black would do a second time for nothing is left out, and nothing else."""

import ast
from pathlib import Path

import black
import pytest

from codegen.memory.formatter import LINE_LENGTH, black_format

MODELS = Path(__file__).parents[3] / "nemo_automodel/components/models"
MODE = black.Mode(line_length=LINE_LENGTH)
LONG = ", ".join(f"argument_{n}" for n in range(12))
TWICE = f"x = {{'a': [f({LONG}) for y in z if (y and not 'q') ]}}[(k)]\n"


def sources():
    """Statements as they come out of a plan: single quotes, long lines, no commas at their ends."""
    for name in ("gemma2", "mistral4", "gpt_oss"):
        yield from (ast.unparse(node) + "\n" for node in ast.parse((MODELS / name / "model.py").read_text()).body)


@pytest.fixture
def passes(monkeypatch):
    once, made = black._format_str_once, []
    monkeypatch.setattr(black, "_format_str_once", lambda *given, **named: made.append(1) or once(*given, **named))
    return made


def test_the_result_is_blacks():
    for source in (*sources(), TWICE, "", "x = 'it\\'s'\n", "def f(a,):\n  '''Doc. '''\n  return (a) # why\n"):
        assert black_format(source) == black.format_str(source, mode=MODE)


@pytest.mark.parametrize(
    ("source", "number"), [("x = 'a'\n", 1), ("x = a ** -0.5\n", 1), (f"f({LONG}, {LONG})\n", 2), ("x = (a)\n", 2)]
)
def test_a_second_pass_only_where_tokens_changed(source, number, passes):
    assert black_format(source) == black.format_str(source, mode=MODE)
    del passes[:]
    black_format(source)
    assert len(passes) == number
