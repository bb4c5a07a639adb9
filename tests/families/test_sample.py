"""The families whose contract runs whole in every run touch each value of the catalog that any family touches."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from codegen.catalog import axes
from codegen.language.check import read_spec, specs_of_text
from codegen.language.keys import Key, Section, keys
from codegen.language.loaded import LoadedSpec
from codegen.language.values import Expression
from nemo_automodel.testing import ImageTextMixtureContract
from nemo_automodel.testing.binding import Binding
from nemo_automodel.testing.sample import ALIKE, BOTH, DEAR, DEAREST, FIRST, PROVEN, WHOLE, sample

ROOT = Path(__file__).parents[2]
SPECS = {path.stem: read_spec(path, ROOT) for path in specs_of_text(ROOT / "specs")}
Value = tuple[str, ...]
Run = tuple[str | None, str | None]


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


CONFIGS, BACKENDS = ("base", "flags", "tied"), ("split", "packed")


def axis(runs: set[Run], place: int) -> set[str]:
    """What they have at one place."""
    return {value for run in runs if (value := run[place]) is not None}


@pytest.mark.parametrize("configs", [(), ("base",), CONFIGS], ids=len)
@pytest.mark.parametrize("backends", [(), BACKENDS], ids=len)
@pytest.mark.parametrize("test", ["test_model_equals_the_reference", "test_components_equal_the_reference", "test"])
def test_each_test_runs_in_each_family(configs: tuple[str, ...], backends: tuple[str, ...], test: str) -> None:
    for family in SPECS:
        runs, whole = sample(family, test, configs, backends), family in WHOLE
        assert runs and axis(runs, 0) <= set(configs) and axis(runs, 1) <= set(backends)
        if whole:
            assert axis(runs, 0) == set(configs)
            assert len(runs) == (len(configs) or 1) * ((len(backends) or 1) if test in BOTH else 1)
        elif test in FIRST:
            assert len(axis(runs, 0)) == min(len(configs), 2) and ("base" in axis(runs, 0) or not configs)
            assert len(axis(runs, 1)) == min(len(backends), len(configs) or 1, 2)
        else:
            assert len(runs) == 1


@pytest.mark.parametrize("test", sorted({*FIRST, *PROVEN, *ALIKE, *DEAR, *DEAREST}))
def test_what_is_drawn_is_a_test_of_the_contract(test: str) -> None:
    assert hasattr(ImageTextMixtureContract, test)
    assert sum(test in group for group in (FIRST, PROVEN, ALIKE, DEAR, DEAREST)) == 1


@pytest.mark.parametrize(("test", "share"), [*product(PROVEN, [2]), *product(ALIKE, [12])])
def test_what_is_proven_elsewhere_or_alike_runs_in_every_whole_family_and_in_some_others(test: str, share: int) -> None:
    runs = {family: sample(family, test, CONFIGS, BACKENDS) for family in SPECS}
    assert {len(runs[family]) for family in WHOLE} == {1}
    others = [runs[family] for family in SPECS if family not in WHOLE]
    assert len(others) / share / 4 < sum(map(bool, others)) < len(others) / share * 2.5
    assert {len(found) for found in others} == {0, 1}
    assert set().union(*runs.values()) == set(product(CONFIGS, BACKENDS))


@pytest.mark.parametrize(("test", "share"), [*product(DEAR, [8]), *product(DEAREST, [12])])
def test_the_dear_run_in_some_families_on_all_configs_and_both_backends(test: str, share: int) -> None:
    runs = [sample(family, test, CONFIGS, BACKENDS) for family in SPECS]
    assert len(SPECS) / share / 2 < sum(map(bool, runs)) < len(SPECS) / share * 2
    assert {len(found) for found in runs} == {0, 1}
    assert axis(set().union(*runs), 0) == set(CONFIGS) and axis(set().union(*runs), 1) == set(BACKENDS)


def test_without_parameters_a_test_is_left_out_too() -> None:
    test = "test_adapters_learn_the_same_under_checkpointing"
    left_out = {family for family in SPECS if not sample(family, test, (), ())}
    assert 0 < len(left_out) < len(SPECS)
    assert {family for family in SPECS if marked(family, test) == ["full"]} == left_out


def marked(family: str, test: str) -> list[str]:
    """Names of the marks of a test without parameters."""
    made: list[str] = []
    metafunc = SimpleNamespace(
        fixturenames=["self"],
        function=SimpleNamespace(__name__=test),
        config=SimpleNamespace(getoption=lambda name: "", getini=lambda name: ["full: known"]),
        parametrize=lambda names, runs: made.extend(mark.name for run in runs for mark in run.marks),
    )
    type("Bound", (Binding,), {"spec": family, "configs": {"base": {}}})().pytest_generate_tests(metafunc)
    return made
