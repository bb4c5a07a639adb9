"""Templates are modules like any other: they import, and every name that plans may use exists."""

from importlib import import_module

import pytest

from codegen.cst.fill import TEMPLATES, template

NAMES = sorted(path.stem for path in TEMPLATES.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("name", NAMES)
def test_a_template_imports(name):
    import_module(f"codegen.templates.{name}")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("holes", "library")])
def test_a_template_has_something_to_fill(name):
    assert template(name).definitions
