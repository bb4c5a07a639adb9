"""Templates: what fills a hole, and that nothing breaks out of one."""

import libcst as cst
import pytest

from codegen.cst.fill import Template
from codegen.cst.holes import OMIT, HoleError, Holes, docstring, expression, statement

SOURCE = '''
class TemplateThing(Base):
    """{doc}: x."""

    def __init__(self, config):
        self.role_out = hole.made
        self.role_out(config)
        call(config, 1, first=hole.first, last=hole.last)
        y = hole.a * hole.b
        if when.long:
            stmts.lines
        elif when.short:
            self.short = True
        else:
            self.other = True
        return config.kept
'''


def filled(**changes):
    values = {
        "prefix": "Llama",
        "docs": {"doc": "A thing"},
        "roles": {"out": "o_proj"},
        "when": {"long": False, "short": False},
        "exprs": {
            "made": expression("f(1)"),
            "first": expression("a"),
            "last": OMIT,
            "a": expression("p"),
            "b": expression("q"),
        },
        "stmts": {"lines": []},
    }
    for name, change in changes.items():
        values[name] = {**values[name], **change} if isinstance(change, dict) else change
    return cst.Module([]).code_for_node(Template(SOURCE).fill("TemplateThing", Holes(**values)))


def test_names_roles_docs_and_expressions_are_filled():
    code = filled()
    assert "class LlamaThing(Base)" in code
    assert '"""A thing: x."""' in code
    assert "self.o_proj = f(1)" in code
    assert "return config.kept" in code


def test_an_omitted_argument_leaves_no_comma_behind():
    assert "call(config, 1, first=a)" in filled()


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"long": False, "short": False}, "self.other"),
        ({"long": False, "short": True}, "self.short"),
        ({"long": True, "short": True}, "z = 3"),
    ],
)
def test_one_branch_stays_and_its_question_goes(when, expected):
    code = filled(when=when, stmts={"lines": [statement("z = 3")]})
    assert expected in code
    assert "when" not in code
    assert sum(word in code for word in ("self.other", "self.short", "z = 3")) == 1


def test_what_binds_looser_is_parenthesised():
    code = filled(exprs={"a": expression("p + r"), "b": expression("s if t else u")})
    assert "y = (p + r) * (s if t else u)" in code


def test_a_missing_value_is_named():
    with pytest.raises(HoleError, match=r"hole\.made"):
        Template(SOURCE).fill("TemplateThing", Holes(docs={"doc": ""}, roles={"out": "o"}))


def test_a_template_is_not_changed_by_filling():
    template = Template(SOURCE)
    before = template.module.code
    filled()
    assert template.module.code == before


@pytest.mark.parametrize("name", ["a b", "a..b", ".a", "a-b", "", "é", "a()"])
def test_what_is_no_path_of_names_and_numbers_is_refused(name):
    with pytest.raises(HoleError, match="no path"):
        filled(roles={"out": name})


@pytest.mark.parametrize(
    ("path", "made", "read"),
    [
        ("x", "self.x = ", "self.x"),
        ("x.y", "place(self, 'x.y', ", "self.x.y"),
        ("2", "place(self, '2', ", "self.get_submodule('2')"),
        ("x.0.class", "place(self, 'x.0.class', ", "self.get_submodule('x.0.class')"),
        ("x.0.y", "place(self, 'x.0.y', ", "self.get_submodule('x.0').y"),
    ],
)
def test_a_role_may_lie_within_other_modules(path, made, read):
    text = filled(roles={"out": path})
    assert made in text and read in text


@pytest.mark.parametrize("text", ['"""; import os', "\\", 'ends with "', "{made}", "\\N{BULLET}", "a\x00b"])
def test_whatever_a_docstring_says_it_stays_a_docstring(text):
    literal = docstring(text.replace("\x00", ""))
    module = cst.parse_module(f"class A:\n    {literal}\n")
    namespace = {}
    exec(compile(module.code, "<test>", "exec"), namespace)  # the literal itself is under test
    assert namespace["A"].__doc__ == text.replace("\x00", "")


def test_whatever_a_comment_says_it_stays_a_comment():
    code = cst.Module([]).code_for_node(statement("x = 1", why="first\nimport os\r\nos.system('x')"))
    assert [line for line in code.splitlines() if not line.startswith("#")] == ["x = 1"]
