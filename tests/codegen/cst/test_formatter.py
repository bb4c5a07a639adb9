"""Formatting line by line equals black on the whole, and what black would do a second time for nothing is left out."""

import ast
import random
import textwrap
from pathlib import Path

import black
import libcst as cst
import pytest

from codegen.cst.format import body_text
from codegen.memory.formatter import LINE_LENGTH, black_format

ROOT = Path(__file__).parents[3]
MODELS = ROOT / "nemo_automodel/components/models"
MODE = black.Mode(line_length=LINE_LENGTH, target_versions={black.TargetVersion.PY311})
LONG = ", ".join(f"argument_{n}" for n in range(12))
TWICE = f"x = {{'a': [f({LONG}) for y in z if (y and not 'q') ]}}[(k)]"
GAPS = f'''\
import a

@first
@second( 1 )
class A ( B ):
    """Several

      lines. """
    x = 'a'

    y: int = 1
    # why
    class Inner:
        z = f({LONG}, {LONG})
        def g(self, *, {LONG}, {LONG}):
            "Doc."

            x = 1

            # why
            if x : return (x)
            else:
                pass
            return -x ** -0.5
    async def f(self):
        def inside(): return """several
    lines"""
        #:1
        return [await self.y for y in ({LONG}) if not y in ({LONG}) and ({LONG})]
    w = {{'a': {{**b, "c": [{LONG}, {LONG}]}}, 'd': 'it'}}
x = 1
y = 2

z = lambda: f({LONG}, *a, ** {{}})
class C: pass
class D:
    x = 1
'''


def whole(text):
    return black.format_str(text, mode=MODE)


def by_line(text):
    return body_text(cst.parse_module(text).body, lambda sources, format_all: format_all(sources)) + "\n"


def unparsed(name):
    """A module as it comes out of a plan: single quotes, long lines, no commas at their ends."""
    return ast.unparse(ast.parse((ROOT / name).read_text()))


@pytest.mark.parametrize(
    "name",
    [
        *(f"nemo_automodel/components/models/{name}" for name in ("gemma2/model.py", "mistral4/model.py")),
        *(f"nemo_automodel/components/models/gpt_oss/{name}.py" for name in ("model", "state_dict_adapter")),
        "tests/unit_tests/models/gpt_oss/test_gpt_oss.py",
        "codegen/cst/fill.py",
    ],
)
def test_formatting_line_by_line_equals_black_on_the_whole(name):
    text = unparsed(name)
    body = ast.unparse(
        [node for node in ast.parse(text).body if not isinstance(node, ast.Expr | ast.Import | ast.ImportFrom)]
    )
    assert by_line(body) == whole(body)


def test_blank_lines_comments_and_nested_definitions_are_blacks():
    assert by_line(GAPS) == whole(GAPS)


def test_lines_are_formatted_where_they_stand():
    sources = (TWICE, "x = 'it\\'s'", "def f(a,):\n  '''Doc. '''\n  return (a) # why", "import a\nimport b\n\nimport c")
    for depth in range(3):
        blocks = "".join("    " * level + "if x:\n" for level in range(depth))
        indented = [
            textwrap.indent(source, "    " * depth) for source in (*sources, f"x = f({LONG[:100 - 4 * depth]})")
        ]
        for source, text in zip(indented, black_format(indented), strict=True):
            assert blocks + text + "\n" == whole(blocks + source).replace(":\n\n", ":\n")


def constant(draw, depth):
    """A display of constants, as the configs of tests are."""
    if depth == 0 or draw.random() < 0.4:
        return draw.choice([1, -2, 0.5, 1e-06, -1e20, True, None, "a", "it's", 'say "x"', "y" * 90, "(", "é", "#:1"])
    values = [constant(draw, depth - 1) for _ in range(draw.choice([0, 1, 2, 9]))]
    return values if draw.random() < 0.5 else {f"name_{n}": value for n, value in enumerate(values)}


def test_displays_of_constants_are_final_after_one_pass():
    draw = random.Random(0)
    for _ in range(20):
        sources = [f"    {'x' * draw.randint(1, 9)} = {constant(draw, 3)!r}" for _ in range(4)]
        assert "class A:\n" + "\n".join(black_format(sources)) + "\n" == whole("class A:\n" + "\n".join(sources))


@pytest.fixture
def passes(monkeypatch):
    once, made = black._format_str_once, []
    monkeypatch.setattr(black, "_format_str_once", lambda *given, **named: made.append(1) or once(*given, **named))
    return made


@pytest.mark.parametrize(
    ("source", "number"),
    [
        ("x = 'a'", 1),
        ("x = a ** -0.5", 1),
        (f"x = [{list(range(99))}]", 1),
        (f"f({LONG}, {LONG})", 2),
        (f"x = [{LONG}, f({LONG}, {LONG})]", 2),
        ("x = (a + b)", 2),
    ],
)
def test_a_second_pass_only_where_tokens_changed(source, number, passes):
    black_format([source])
    assert len(passes) == number
