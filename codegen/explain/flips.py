"""Specs beside a spec: with one field taken out, or holding something else."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, cast

from codegen.language.bare import bare_key
from codegen.language.keys import Section
from codegen.language.spec import WIRINGS, Spec
from codegen.meaning import OVERLAYS, Meaning, Path

MOST = 16  # tries, until one changes something
# Stand-ins for an expression: what an optional number, a flag or a factor may hold.
_EXPRESSIONS: tuple[Any, ...] = (3, 0.25, True, False, "none", "config.num_hidden_layers")
# Stand-ins for a projector.
_PROJECTIONS = ("none", "x = linear_1(x)", "x = linear_2(gelu(linear_1(x)))")


def flips(
    written: dict[str, Any], path: Path, meaning: Meaning, of: type[Section] = Spec
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Other specs, each with what it is: first the one without the field, if it is written. `of` declares the spec."""
    shown = ".".join(map(str, path))
    if get(written, path) is not None:
        entry = path[0] in OVERLAYS and path[-1] in ("by", "when")  # an overlay goes with its condition
        yield f"the spec without {shown}", removed(written, path[:-1] if entry else path)
    for number, value in enumerate(_values(meaning, get(written, path))):
        if number == MOST:
            return
        yield f"{shown}: {str(value).lower() if isinstance(value, bool) else value}", replaced(written, path, value, of)


def get(tree: Any, path: Path) -> Any:
    """What stands at a path; None where nothing does."""
    for part in path:
        if isinstance(tree, dict) and part in tree:
            tree = cast("dict[Any, Any]", tree)[part]
        elif isinstance(tree, list) and isinstance(part, int) and part < len(cast("list[Any]", tree)):
            tree = cast("list[Any]", tree)[part]
        else:
            return None
    return tree


def removed(tree: dict[str, Any], path: Path) -> dict[str, Any]:
    """A copy without what stands at a path, and without what that leaves empty."""
    changed = deepcopy(tree)
    for end in range(len(path), 0, -1):
        parent = get(changed, path[: end - 1])
        del parent[path[end - 1]]
        if parent:
            break
    return changed


def replaced(tree: dict[str, Any], path: Path, value: Any, of: type[Section] = Spec) -> dict[str, Any]:
    """A copy with a value at a path; a bare word on the way becomes the `kind` of its section."""
    changed = deepcopy(tree)
    found: Any = changed
    for part in path[:-1]:
        inner = get(found, (part,))
        if not isinstance(inner, dict | list):
            inner = {} if inner is None or isinstance(inner, bool) else {bare_key(part, of): inner}
            found[part] = inner
        found = cast("Any", inner)
    found[path[-1]] = value
    return changed


def _values(meaning: Meaning, current: Any) -> Iterator[Any]:
    key = meaning.key
    if key is None:
        return
    if key.type in ("choice", "kinds"):
        words = key.words or tuple(key.kinds or ())
        yield from (word for word in words if str(word) != str(current) and (current is not None or word != words[0]))
    elif key.type == "expression":
        yield from (word for word in key.words[:2] if word != current)
        yield from (value for value in _EXPRESSIONS if value != current or type(value) is not type(current))
    elif key.type == "mapping" and key.bare is not None:
        yield from (value for value in (True, False) if value is not current)
    elif key.type == "tensor":
        yield from (name for name in key.names if name != current)
    elif key.type == "projection":
        yield from (value for value in _PROJECTIONS if value != current)
    elif key.type == "section":
        yield from (True, "none", {})
    elif key.type == "equations" and key.default in WIRINGS:
        yield from (word for word in WIRINGS if word != current)
