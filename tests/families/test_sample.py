"""The families whose contract runs whole in every run touch each value of the catalog that any family touches."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codegen.catalog import axes
from codegen.language.check import read_spec, specs_of_text
from codegen.language.keys import Key, Section, keys
from codegen.language.loaded import LoadedSpec
from codegen.language.values import Expression
from tests.contract import MixtureContract
from tests.contract.sample import DEAR, DEAREST, WHOLE, sample

ROOT = Path(__file__).parents[2]
SPECS = {path.stem: read_spec(path, ROOT) for path in specs_of_text(ROOT / "specs")}
Value = tuple[str, ...]


def touched(spec: LoadedSpec) -> set[Value]:
    """Paths of the catalog that a spec writes, with the word where there is a choice."""
    return {value for flat in (*spec.flat.values(), *spec.outer.values()) for value in _of(flat, ())}


def _of(section: Section, path: Value) -> Iterator[Value]:
    for name, key in keys(type(section)).items():
        value = getattr(section, name, None) if hasattr(section, name) else getattr(section, f"{name}_")
        yield from _key((*path, name), key, value)


def _key(path: Value, key: Key, value: Any) -> Iterator[Value]:
    if key.kinds is not None:
        for inner in value.values() if key.type == "named" else [value]:
            kind = next(kind for kind, cls in key.kinds.items() if cls is type(inner))
            yield (*path, "kind", kind)
            inside = _of(inner, (*path, kind))
            yield from (one for one in inside if one[: len(path) + 2] != (*path, kind, "kind"))  # which says what it is
    elif key.type == "choice" and (key.ready or value is not None):
        said = value.text if isinstance(value, Expression) else str(key.words[0] if value is None else value)
        yield from ((*path, str(word)) for word in key.words if said == str(word) or repr(word) in said)
    elif value is not None:
        yield path
        if isinstance(value, Section):
            yield from _of(value, path)


def catalog() -> set[Value]:
    """Every value that has a template."""
    found: set[Value] = set()
    for axis in axes():
        words = [word for word in axis.words if word not in axis.unready_words] if axis.type == "choice" else []
        if axis.ready:
            found |= {(*axis.path, str(word)) for word in words} or {axis.path}
    return found


TOUCHED = {name: touched(spec) for name, spec in SPECS.items()}


def test_what_specs_touch_stands_in_the_catalog():
    assert set().union(*TOUCHED.values()) <= catalog()


def test_whole_families_touch_every_value_that_any_touches():
    whole = set().union(*(TOUCHED[name] for name in WHOLE))
    left = set().union(*TOUCHED.values()) - whole
    assert {value: [name for name in TOUCHED if value in TOUCHED[name]] for value in left} == {}


@pytest.mark.parametrize("configs", [(), ("base",), ("base", "flags", "tied")], ids=len)
@pytest.mark.parametrize("backends", [(), ("split", "packed")], ids=len)
def test_a_sample_has_the_base_and_another_and_both_backends(configs, backends):
    for family in SPECS:
        runs = sample(family, "test", configs, backends)
        seen_configs, seen_backends = ({run[place] for run in runs} - {None} for place in (0, 1))
        whole = family in WHOLE
        assert seen_configs <= set(configs) and len(seen_configs) == len(configs if whole else configs[:2])
        assert not configs or "base" in seen_configs
        assert seen_backends == set(backends) if whole or configs else len(seen_backends) == len(backends[:1])


@pytest.mark.parametrize("test", DEAR)
def test_a_dear_test_runs_in_every_whole_family_and_in_some_others(test):
    assert hasattr(MixtureContract, test)
    runs = {family: sample(family, test, ("base", "flags", "tied"), ("split", "packed")) for family in SPECS}
    assert all(len(runs[family]) == 2 for family in WHOLE)
    others = [runs[family] for family in SPECS if family not in WHOLE]
    assert len(others) / 8 < sum(map(bool, others)) < len(others) / 2


@pytest.mark.parametrize("test", DEAREST)
def test_the_dearest_run_in_some_families_on_both_backends(test):
    assert hasattr(MixtureContract, test)
    runs = [sample(family, test, (), ("split", "packed")) for family in SPECS]
    assert len(SPECS) / 24 < sum(map(bool, runs)) < len(SPECS) / 6
    assert {backend for run in runs for _, backend in run} == {"split", "packed"}
