"""Which existing spec a checkpoint resembles most, and how it differs from it."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from codegen.configs import ConfigTable
from codegen.errors import SpecError
from codegen.frozen import Frozen
from codegen.language.check import of_images, read_text, shown_path
from codegen.language.frame import FRAME
from codegen.language.load import load
from codegen.language.loaded import LoadedSpec, config_class
from codegen.language.mlp import Moe
from codegen.lent import all_specs
from codegen.memory import last_run
from codegen.new.body import Body
from codegen.new.expected import Expected, expect
from codegen.new.kind import MOE
from codegen.new.values import GENERIC, PLAIN, Values
from codegen.new.weights import Weights
from codegen.tiny.mentions import expressions, inner_of

_MODALITIES = ("text", "vl", "vision", "audio", "omni", "vlm")
NEAR = 0.8  # less alike, what a checkpoint does not show is Llama's, not the nearest spec's


class Candidate(Frozen):
    """An existing spec: as written, as loaded, what it expects here, and how alike it is (0 to 1).

    kinship: 2 if it is that of the config's own model type, 1 if that of its family (the text of a larger model), or 0.
    borrows: whether transformers runs it with the model of another family, which then comes first.
    lacking: how many numbers it reads inside of fields that hold others here.
    inner: how many it reads there that are here too.
    says: how many keys it writes; of equals the one that says the least is first, so Llama before its variations.
    """

    path: str
    written: dict[str, Any]
    loaded: LoadedSpec
    expected: Expected
    fields: frozenset[str]
    alike: float
    kinship: int
    borrows: bool
    lacking: int
    inner: int
    says: int

    @property
    def is_near(self) -> bool:
        """Whether what a checkpoint does not show is taken from this spec, rather than Llama's."""
        return self.kinship > 0 or self.alike >= NEAR

    @property
    def name(self) -> str:
        return self.loaded.name


def rank(weights: Weights, values: Values, kind: str, root: Path, table: ConfigTable) -> list[Candidate]:
    """The existing specs of the same kind, most alike first; specs that do not load are left out.

    The spec of the config's own model type goes before all others, of whatever kind it is.
    """
    found = [one for path in _paths(root) if (one := _candidate(path, weights, values, root, table)) is not None]
    same = [one for one in found if one.kinship or _has_experts(one.loaded) == (kind == MOE)]
    return sorted(same or found, key=_order)


def _likeness(one: Candidate) -> tuple[int, float, int, int]:
    return -one.kinship, -round(one.alike, 6), one.lacking, -one.inner


def are_alike(one: Candidate, other: Candidate) -> bool:
    """Whether nothing that was published tells two specs apart."""
    return _likeness(one) == _likeness(other)


def _order(one: Candidate) -> tuple[int, float, bool, int, int, int, str]:
    kinship, alike, lacking, inner = _likeness(one)
    return kinship, alike, one.borrows, lacking, inner, one.says, one.name


def _family(model_type: str) -> str:
    """A model type without what says that it is a part of a larger model: `qwen3_vl_text` is of the family qwen3."""
    words = model_type.replace("-", "_").split("_")
    return "_".join(word for word in words if word not in _MODALITIES) or model_type


def differences(candidate: Candidate, weights: Weights, values: Values) -> list[str]:
    """What the checkpoint has and the spec does not expect, and the reverse."""
    lines: list[str] = []
    expected = candidate.expected
    weights = weights.without(expected.dropped)
    if weights.inside:
        for where, here, there in (
            ("in a layer", weights.inside, expected.inside),
            ("around the layers", weights.around, expected.around),
            ("beside the model", weights.top, expected.top),
        ):
            only, lacks = unexplained(here, there), missing(here, there) - expected.tied
            lines += [f"tensors {where} only here: {', '.join(only)}"] if only else []
            lines += [f"tensors {where} only in {candidate.name}: {', '.join(sorted(lacks))}"] if lacks else []
        if not weights.headless and (weights.model, weights.layers) != (expected.model, expected.layers):
            there = f"{expected.model}.{expected.layers}"
            lines.append(f"layers are {weights.model}.{weights.layers} here, {there} in {candidate.name}")
    only_here = sorted(values.fields - candidate.fields)
    only_there = sorted(candidate.fields - values.fields)
    lines += [f"config fields only here: {', '.join(only_here)}"] if only_here else []
    lines += [f"config fields only in {candidate.name}: {', '.join(only_there)}"] if only_there else []
    return lines


def unexplained(here: Iterable[str], expected: Iterable[str]) -> list[str]:
    """Names that nothing expects; an expectation that ends with a dot covers all below it."""
    prefixes = tuple(name for name in expected if name.endswith("."))
    return sorted(name for name in here if name not in set(expected) and not name.startswith(prefixes or "\0"))


def missing(here: Iterable[str], expected: Iterable[str]) -> set[str]:
    """Expected names that are not here."""
    return {name for name in expected if not name.endswith(".")} - set(here)


def _paths(root: Path) -> list[Path]:
    return [path for path in all_specs(root) if path.is_file() and not of_images(path)]


def _candidate(path: Path, weights: Weights, values: Values, root: Path, table: ConfigTable) -> Candidate | None:
    shown = shown_path(path, root)
    try:
        loaded, written, reads, says = _read(last_run.content(str(path)), shown, table)
        expected = expect(loaded, values)
    except SpecError:
        return None
    known = config_class(loaded, table)
    fields = known.fields.keys() | ((known.published | known.newer.keys()) & values.held.keys())
    fields = frozenset(fields) - GENERIC - PLAIN
    alike = _jaccard(values.fields, fields)
    if weights.inside:
        alike = 0.6 * _shared(weights.without(expected.dropped), expected) + 0.4 * alike
    kinship = _kinship(loaded.config.model_type, values.config.model_type)
    borrows = known.lender is not None
    inside = [name in held for outer, name in reads if isinstance(held := values.get(outer), Mapping)]
    return Candidate(
        *(shown, written, loaded, expected, fields, alike, kinship, borrows),
        *(inside.count(False), inside.count(True), says),
    )


@lru_cache(maxsize=1024)
def _read(text: bytes, shown: str, table: ConfigTable) -> tuple[LoadedSpec, dict[str, Any], list[tuple[str, str]], int]:
    """A spec, loaded and as it is written, what it reads inside of fields, each pair of names once, and how much it
    says; once for all drafts that a program makes beside the same specs.

    Raises:
        SpecError: it does not load.
    """
    loaded, written = read_text(text, shown, table), load(text, shown).plain()
    pairs = {(outer, name) for tree in expressions(loaded) for outer, names in inner_of(tree).items() for name in names}
    says = sum(1 for _ in Body.copied({key: value for key, value in written.items() if key not in FRAME}).leaves())
    return loaded, written, sorted(pairs), says


def _kinship(one: str, other: str) -> int:
    return (one == other) + (_family(one) == _family(other))


def _has_experts(loaded: LoadedSpec) -> bool:
    return any(isinstance(flat.mlp, Moe) for flat in loaded.flat.values())


def _shared(weights: Weights, expected: Expected) -> float:
    """How much of both sets of names is common; the layers' names count as much as everything around them."""
    around = set(weights.around) | set(weights.top)
    expected_around = (expected.around | expected.top) - (expected.tied - around)
    model = (weights.headless or weights.model == expected.model) + (weights.layers == expected.layers)
    return 0.7 * _alike(weights.inside, expected.inside) + 0.2 * _alike(around, expected_around) + 0.05 * model


def _alike(here: Iterable[str], expected: Iterable[str]) -> float:
    strange, lacking = len(unexplained(here, expected)), len(missing(here, expected))
    common = len(set(here)) - strange
    return common / (common + strange + lacking) if common else 0.0


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one | other else 0.0
