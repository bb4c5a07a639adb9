"""Whether each key that a spec writes is heeded: with another value there, something else is generated."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from codegen.errors import SpecError
from codegen.language.keys import Section, keys
from codegen.language.spec import Spec
from tests.random_specs.package import planned

FRAME = ("name", "architecture", "config", "summary", "docs", "tests", "why")
EXPRESSIONS: tuple[Any, ...] = (3, 0.25, True, False, "none", "config.num_hidden_layers", "config.hidden_size + 1")
Path = tuple[Any, ...]


def unheeded(spec: dict[str, Any]) -> list[str]:
    """Dotted paths of what could stand there differently without a difference in what is generated.

    A key of which every other value is refused is heeded; so is a word beside which no other is accepted.
    """
    model = _model(spec)
    if model is None:
        return []
    found: list[str] = []
    for path, value in leaves(spec):
        tried = [_model(replaced(spec, path, other)) for other in others(path, value)]
        accepted = [other for other in tried if other is not None]
        if accepted and all(other == model for other in accepted):
            found.append(".".join(map(str, path)))
    return found


def _model(spec: dict[str, Any]) -> Any:
    """The plan of the code, without what docstrings and the docs say of it; None where the spec is refused."""
    try:
        model = planned(spec).model
    except SpecError:
        return None
    mixers = tuple(plan._replace(features=(), made=plan.made and plan.made._replace(docs={})) for plan in model.mixers)
    return model._replace(summary="", mixers=mixers, body=model.body._replace(features=()))


def leaves(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Scalars, and lists of text, with their paths; what belongs to the frame is left out."""
    if isinstance(tree, dict):
        for name, child in tree.items():
            if path or name not in FRAME:
                yield from leaves(child, (*path, name))
    elif isinstance(tree, list) and any(isinstance(item, dict) for item in tree):
        for index, child in enumerate(tree):
            yield from leaves(child, (*path, index))
    else:
        yield path, tree


def others(path: Path, value: Any) -> list[Any]:
    """Other values for a key."""
    if isinstance(value, list):
        return [value[1:]] if len(value) > 1 else []
    if path[-1] in ("when", "by", "match"):
        return []
    if "names" in path:
        return [f"{value}z"]
    words = _words().get(path[-1], ())
    if value in words:
        return [word for word in words if word != value or isinstance(word, bool) != isinstance(value, bool)]
    return [*(other for other in EXPRESSIONS if other != value or type(other) is not type(value)), *words]


def replaced(spec: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    changed = deepcopy(spec)
    place: Any = changed
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return changed


_found: dict[str, list[Any]] = {}


def _words() -> dict[str, list[Any]]:
    """The words of every key of the language, by its name."""
    if not _found:
        pending: list[type[Section]] = [Spec]
        while pending:
            cls = pending.pop()
            for name, key in keys(cls).items():
                pending += [key.section] if key.section is not None else []
                pending += [kind for kind in (key.kinds or {}).values() if kind not in pending]
                known = _found.setdefault(name, [])
                known += [word for word in (*key.words, *(key.kinds or ())) if word not in known]
                _found.setdefault("kind", []).extend(kind for kind in key.kinds or () if kind not in _found["kind"])
    return _found
