"""The text half of a draft: a spec of the repository, and what has to be laid on it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from codegen.catalog import default
from codegen.configs import ConfigClass, table
from codegen.errors import CodegenError
from codegen.frozen import Frozen
from codegen.language.chains import candidate
from codegen.language.frame import FRAME
from codegen.language.loaded import LoadedSpec
from codegen.language.vision.text import HALF, SPEC
from codegen.meaning import meaning
from codegen.new.body import Path as Keys
from codegen.new.causal import Composed, Drafting, checked
from codegen.new.kind import Kind
from codegen.new.nearest import Candidate
from codegen.new.source import Source

SAME = 2  # kinship of the spec of the text's own model type


class Half(Frozen):
    """The spec of the text, the keys to lay on it with the reason why each is uncertain, and what is told.

    own: whether the spec is that of the text's own model type. strange, lacking: tensors that the text half does not
    explain, or expects in vain.
    """

    spec: str
    model_type: str
    own: bool
    alike: float
    laid: Mapping[Keys, Any]
    doubts: Mapping[Keys, str]
    strange: tuple[str, ...]
    lacking: tuple[str, ...]


def half(source: Source, kind: Kind, root: Path) -> Half:
    """Which spec the text is, by its model type or else by its tensors and its config.

    source: the language model alone, as `language` finds it.
    """
    published = source.config["model_type"]
    made = Drafting(source, kind, "half", "specs/half.yaml", root, table()).composed()
    best = made.ranked[0]
    found = _stray(made, best)
    if best.kinship == SAME and not any(found):
        return Half(best.name, published, True, best.alike, {}, {}, (), ())
    laid = dict(_laid(made, best))
    doubts = {path: _reason(made, path, best.name) for path in laid}
    strange, lacking = _drafted(made)
    return Half(best.name, published, best.kinship == SAME, best.alike, laid, doubts, strange, lacking)


def _stray(made: Composed, best: Candidate) -> tuple[list[str], list[str]]:
    """Tensors that the spec as it stands does not expect, and those that it expects in vain."""
    return checked(best.loaded, made.found, made.weights)


def _drafted(made: Composed) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The same of the draft of the text."""
    if made.error is not None:
        return (), ()
    strange, lacking = checked(made.loaded, made.found, made.weights)
    return tuple(strange), tuple(lacking)


def _laid(made: Composed, best: Candidate) -> Iterator[tuple[Keys, Any]]:
    """What the draft of the text has otherwise than the spec; what it takes out becomes the default again."""
    before = {name: _section(name, value) for name, value in best.written.items() if name not in FRAME}
    after = {name: _section(name, value) for name, value in made.body.content.items()}
    for path, value in _differing((), before, after):
        if path[:2] in (("checkpoint", "names"), ("checkpoint", "drop")) and path[-1] in ("model", "head"):
            continue  # where the text begins is said by the whole
        if value is not _GONE:
            yield path, value
        elif (instead := default_at(path, best.loaded, made.found.config)) is not None:
            yield path, instead


_GONE = object()


def _section(name: str, value: Any) -> Any:
    """A section with a kind, written out where it is that word alone."""
    return {"kind": value} if name in ("norm", "attention", "mlp") and isinstance(value, str) else value


def _differing(path: Keys, before: Any, after: Any) -> Iterator[tuple[Keys, Any]]:
    if isinstance(before, dict) and after is _GONE and path[-1] not in ("layers", "variants", "qk_norm"):
        after = dict[Any, Any]()  # every key of a section by itself
    if isinstance(before, dict) and isinstance(after, dict):
        names = dict.fromkeys((*cast("dict[Any, Any]", before), *cast("dict[Any, Any]", after)))
        for name in names:
            yield from _differing((*path, name), before.get(name, _GONE), after.get(name, _GONE))  # pyright: ignore
    elif before != after:
        yield path, after


def default_at(path: Keys, below: LoadedSpec, config: ConfigClass) -> Any:
    """What stands for a key that is not written; None where there is no such word."""
    if path[0] in ("layers", "variants"):
        return []
    try:
        key = meaning(path, next(iter(below.flat.values()))).key
    except CodegenError:
        return None
    if key is None:
        return None
    if key.chain:
        found = candidate(key.chain, config)
        return _LITERALS.get(str(found), found)
    if key.type in ("section", "mapping") or key.type == "expression":
        return "none"
    found = default(key)
    return int(found) if isinstance(found, str) and found.isdigit() else found


_LITERALS = {"True": True, "False": False, "None": "none"}


def _reason(made: Composed, path: Keys, name: str) -> str:
    mark = next((why for at, why in made.body.marks.items() if path[: len(at)] == at or at[: len(path)] == path), None)
    return mark or f"{name} has it otherwise"


def put(found: Half, config_type: str) -> tuple[Any, dict[Keys, str]]:
    """The section `text`, None where the config class says which spec it is; and its doubts by path."""
    if not found.laid:
        doubt = {} if found.own else {(HALF,): _nearest(found)}
        return (None if found.own and found.spec == config_type else found.spec), doubt
    section: dict[str, Any] = {SPEC: found.spec}
    doubts: dict[Keys, str] = {} if found.own else {(HALF, SPEC): _nearest(found)}
    for path, value in found.laid.items():
        place = section
        for part in path[:-1]:
            place = place.setdefault(part, {}) if isinstance(place.get(part, {}), dict) else place
        place[path[-1]] = value
        doubts[(HALF, *path[:3])] = found.doubts[path]
    return section, doubts


def _nearest(found: Half) -> str:
    return (
        f"no spec is that of {found.model_type}; this is the nearest ({found.alike:.2f}): "
        "draft the text alone with --text, prove it, and name it here"
    )
