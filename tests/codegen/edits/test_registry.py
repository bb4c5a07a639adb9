"""Edits of the registry: single entries come and go, everything else stays byte for byte."""

import ast
from collections import OrderedDict

import black
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.artifacts import RegistryEntry
from codegen.edits.registry import updated
from codegen.errors import ConflictError, SpecError

BASE = "nemo_automodel.components.models"
FOREIGN = '''\
"""Which module implements an architecture."""

import os  # kept
from collections import OrderedDict

# Above the mapping.
MODEL_ARCH_MAPPING: "OrderedDict[str, tuple[str, ...]]" = OrderedDict(
    [
        # first of all
        ("AlphaForCausalLM", ("some.where.alpha", "AlphaForCausalLM")),  # by hand
        (
            "MidForCausalLM",
            ("some.where.mid", 'MidForCausalLM', {"tag"}),
        ),

        # about zeta
        ("ZetaForCausalLM", ZETA),  # no comma problem
    ]
)
_CUSTOM_CONFIG_REGISTRATIONS: dict[str, tuple[str, str]] = {
    "alpha": ("some.where.alpha", "AlphaConfig"),
}


def resolve(architecture):
    return MODEL_ARCH_MAPPING[architecture]
'''


def entry(
    name: str, *, config: bool = False, architectures: tuple[str, ...] = (), typed: bool = False
) -> RegistryEntry:
    class_name = f"{name.title()}ForCausalLM"
    module = f"{BASE}.{name}"
    declared = (name, f"{module}.config", f"{name.title()}Config") if config else None
    model_type = name if typed else None
    return RegistryEntry(architectures or (class_name,), f"{module}.model", class_name, declared, model_type)


def nothing_gone(path: str) -> bool:
    return False


def names(data: bytes, name: str = "MODEL_ARCH_MAPPING") -> list[str]:
    """Keys of a literal, in order, by running the file."""
    space: dict[str, object] = {"ZETA": ("z", "Z")}
    exec(data, space)  # noqa: S102
    mapping = space[name]
    assert isinstance(mapping, OrderedDict | dict)
    return list(mapping)


def test_new_entries_stand_sorted_and_foreign_text_stays() -> None:
    data = updated(FOREIGN.encode(), [entry("beta"), entry("yota", config=True), entry("zzz")], nothing_gone)
    assert names(data) == [f"{name}ForCausalLM" for name in ("Alpha", "Beta", "Mid", "Yota", "Zeta", "Zzz")]
    assert names(data, "_CUSTOM_CONFIG_REGISTRATIONS") == ["alpha", "yota"]
    added = [line for line in data.decode().splitlines() if line not in FOREIGN.splitlines()]
    assert len(added) == 4
    assert (
        "".join(line for line in data.decode().splitlines(keepends=True) if line.rstrip("\n") not in added) == FOREIGN
    )


TYPED = FOREIGN + '\nMODEL_TYPE_MAPPING = {\n    "gamma": ("some.where.gamma", "GammaForCausalLM"),\n}\n'


def test_model_types_come_and_go_beside_the_architectures() -> None:
    data = updated(TYPED.encode(), [entry("beta", typed=True), entry("zzz")], nothing_gone)
    assert names(data, "MODEL_TYPE_MAPPING") == ["beta", "gamma"]
    assert updated(data, [], lambda path: "/beta/" in path or "/zzz/" in path) == TYPED.encode()
    with pytest.raises(ConflictError, match="MODEL_TYPE_MAPPING: 'gamma' is registered by hand"):
        updated(TYPED.encode(), [entry("gamma", typed=True)], nothing_gone)
    untyped = updated(FOREIGN.encode(), [entry("beta", typed=True)], nothing_gone)
    assert b"MODEL_TYPE_MAPPING" not in untyped


TEXTED = TYPED + '\nMODEL_TEXT_MAPPING = {\n    "HandForImages/gamma": ("some.where.hand", "HandForImages"),\n}\n'


def test_names_that_a_spec_no_longer_says_go() -> None:
    """Another text, no alias, no model type: what a person registered to a module of his own stays."""
    place = f"{BASE}.beta.model", "BetaForCausalLM"
    before = RegistryEntry(("Beta", "OldBeta"), *place, model_type="beta", texts=("Beta/llama", "Beta/mistral"))
    after = RegistryEntry(("Beta",), *place, texts=("Beta/qwen2",))
    fresh = updated(TEXTED.encode(), [after, entry("zzz")], nothing_gone)
    once = updated(TEXTED.encode(), [before, entry("zzz")], nothing_gone)
    assert names(once, "MODEL_TEXT_MAPPING") == ["Beta/llama", "Beta/mistral", "HandForImages/gamma"]
    assert updated(once, [after, entry("zzz")], nothing_gone) == fresh
    assert names(fresh, "MODEL_TEXT_MAPPING") == ["Beta/qwen2", "HandForImages/gamma"]
    assert names(fresh, "MODEL_TYPE_MAPPING") == ["gamma"] and "OldBeta" not in names(fresh)
    assert updated(once, [entry("zzz")], nothing_gone) == once  # of a spec that is not there nothing is known


def test_second_edit_changes_nothing() -> None:
    entries = [entry("beta", config=True), entry("llama")]
    once = updated(FOREIGN.encode(), entries, nothing_gone)
    assert updated(once, entries, nothing_gone) == once


def test_entries_of_gone_modules_go_and_others_stay() -> None:
    before = FOREIGN.encode()
    data = updated(before, [entry("beta", config=True), entry("hand")], nothing_gone)
    gone = {f"{BASE.replace('.', '/')}/beta/{file}.py" for file in ("model", "config")}
    assert updated(data, [], gone.__contains__) == updated(before, [entry("hand")], nothing_gone)


def test_entry_of_a_renamed_spec_is_replaced_in_place() -> None:
    data = updated(FOREIGN.encode(), [entry("beta")], nothing_gone)
    renamed = RegistryEntry(("BetaForCausalLM",), f"{BASE}.better.model", "BetaForCausalLM")
    result = updated(data, [renamed], lambda path: "/beta/" in path)
    assert result == data.replace(b"models.beta.model", b"models.better.model")


def test_aliases_share_a_class() -> None:
    data = updated(FOREIGN.encode(), [entry("beta", architectures=("BetaForCausalLM", "OldBeta"))], nothing_gone)
    assert data.count(b'"BetaForCausalLM"))') == 2 and "OldBeta" in names(data)


def test_tags_that_a_person_added_to_our_entry_stay() -> None:
    data = updated(FOREIGN.encode(), [entry("beta")], nothing_gone)
    tagged = data.replace(b'model", "BetaForCausalLM")', b'model", "BetaForCausalLM", {"tag"})')
    assert tagged != data
    assert updated(tagged, [entry("beta")], nothing_gone) == tagged


def test_foreign_entry_for_our_architecture_is_a_conflict_with_its_place() -> None:
    with pytest.raises(ConflictError, match=r"registry\.py:10:9: MODEL_ARCH_MAPPING: 'AlphaForCausalLM'"):
        updated(FOREIGN.encode(), [entry("alpha")], nothing_gone)


@pytest.mark.parametrize("empty", ["OrderedDict([])", "OrderedDict(\n    [\n    ]\n)", "collections.OrderedDict([])"])
def test_empty_literal_is_filled_as_black_lays_it_out(empty: str) -> None:
    text = f"from collections import OrderedDict\n\nMODEL_ARCH_MAPPING = {empty}\n"
    data = updated(text.encode(), [entry("llama")], nothing_gone)
    assert black.format_str(data.decode(), mode=black.Mode(line_length=120)) == data.decode()
    assert updated(data, [entry("llama")], nothing_gone) == data


@pytest.mark.parametrize("length", [1, 20, 30, 60])
def test_long_entries_break_as_black_breaks_them(length: int) -> None:
    text = "MODEL_ARCH_MAPPING = OrderedDict([])\n_CUSTOM_CONFIG_REGISTRATIONS = {}\n"
    data = updated(text.encode(), [entry("a" * length, config=True), entry("b")], nothing_gone)
    assert black.format_str(data.decode(), mode=black.Mode(line_length=120)) == data.decode()


def test_missing_last_comma_is_added_behind_its_entry() -> None:
    text = 'MODEL_ARCH_MAPPING = OrderedDict([\n    ("A", ("m", "A"))  # last, no comma\n])\n'
    data = updated(text.encode(), [entry("beta")], nothing_gone)
    assert b'("A", ("m", "A")),  # last, no comma\n' in data
    ast.parse(data)


def test_line_ends_and_bytes_before_ours_stay() -> None:
    text = FOREIGN.replace("# by hand", "# von Hand: größer 😀").replace("\n", "\r\n").encode()
    data = updated(text, [entry("beta")], nothing_gone)
    assert data.count(b"\n") == data.count(b"\r\n") == text.count(b"\n") + 1
    assert updated(data, [], lambda path: "/beta/" in path) == text


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "1:1", "is not assigned"),
        ("MODEL_ARCH_MAPPING = {}\n", "1:22", "shape"),
        ("\nMODEL_ARCH_MAPPING = OrderedDict(a=1)\n", "2:22", "shape"),
        ("MODEL_ARCH_MAPPING = OrderedDict(make())\n", "1:22", "shape"),
        ("MODEL_ARCH_MAPPING = OrderedDict([])\nMODEL_ARCH_MAPPING = OrderedDict([])\n", "2:1", "twice"),
        ("MODEL_ARCH_MAPPING = OrderedDict([])\nMODEL_ARCH_MAPPING |= {}\n", "2:1", "twice"),
        ("MODEL_ARCH_MAPPING = OrderedDict([\n    *other,\n])\n", "2:5", "no (key, value) pair"),
        ("MODEL_ARCH_MAPPING = OrderedDict([\n    (KEY, 1),\n])\n", "2:5", "not a string"),
        ("MODEL_ARCH_MAPPING = OrderedDict([\n    ('a', 1),\n    ('a', 2),\n])\n", "3:5", "twice"),
        ("MODEL_ARCH_MAPPING = OrderedDict([('a', 1)])\n", "1:35", "share a line"),
        ("MODEL_ARCH_MAPPING = OrderedDict([\n    ('a', 1)])\n", "1:34", "closing bracket"),
        ("MODEL_ARCH_MAPPING = (\n", "1:22", "does not parse"),
    ],
)
def test_unexpected_shapes_are_refused_with_their_place_and_a_cure(text: str, place: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        updated(text.encode(), [entry("llama")], nothing_gone)
    (problem,) = caught.value.problems
    assert str(problem.location) == f"nemo_automodel/_transformers/registry.py:{place}"
    assert message in problem.message and problem.cure


NAMES = st.lists(st.sampled_from(["beta", "gamma", "llama", "qwen", "zzz", "aa"]), unique=True)


@given(first=NAMES, second=NAMES)
def test_any_change_of_specs_equals_a_fresh_edit(first: list[str], second: list[str]) -> None:
    """Whatever was registered before, the result is that of registering the present specs alone."""

    def gone(path: str) -> bool:
        return path.split("/")[3] in set(first) - set(second)

    before = updated(FOREIGN.encode(), [entry(name, config=True) for name in first], nothing_gone)
    after = updated(before, [entry(name, config=True) for name in second], gone)
    assert after == updated(FOREIGN.encode(), [entry(name, config=True) for name in second], nothing_gone)
