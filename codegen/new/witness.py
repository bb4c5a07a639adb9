"""What bears witness for a key of the nearest spec: tensors show it, the config publishes its fields, or refutes it."""

import ast
import re
from collections.abc import Iterator
from typing import Any, cast

from codegen.language.expressions import Refused, config_paths, python
from codegen.new.body import Body, Path
from codegen.new.values import ALIASES, Values
from codegen.tiny.evaluate import UNREADABLE, evaluate

# Keys that the names and shapes of tensors show, as prefixes of paths.
VISIBLE: tuple[Path, ...] = (
    *(("attention", key) for key in ("kind", "bias", "inner_norm", "sinks", "gate")),
    *(("attention", "qk_norm", key) for key in ("over", "weights", "bias", "when")),
    *(("mlp", key) for key in ("kind", "bias", "inner_norm")),
    *(("mlp", "router", key) for key in ("bias", "correction_bias")),
    *(("mlp", "shared", key) for key in ("gate", "bias")),
    *(("norm", key) for key in ("kind", "bias", "weight")),
    *(("checkpoint", key) for key in ("names", "transposed", "unsqueezed", "experts", "drop", "float32")),
    ("head", "bias"),
    ("parts",),
)
BARE: tuple[Path, ...] = (("norm",), ("mlp",), ("attention",), ("attention", "qk_norm"))  # a word in place of a section

_INDEX = re.compile(r"\.\d+(\.|$)")


def is_visible(path: Path) -> bool:
    """Whether tensor names or shapes show what this key says."""
    plain = plain_path(path)
    return plain in BARE or any(plain[: len(one)] == one for one in VISIBLE) or path[-1] == "why"


def is_published(value: Any, values: Values, path: Path) -> bool:
    """Whether fields of the config speak for the value: such as exist for it, not the sizes that every config has."""
    plain = plain_path(path)
    if plain == ("rope",) and value == "none":
        return not values.has("rope_parameters")
    texts = [str(item) for item in cast("list[Any]", value)] if isinstance(value, list) else [str(value)]
    special = [name for text in texts for name in _fields(text) if name not in ALIASES]
    if plain in (("input",), ("output",)) and not any(symbol in text for text in texts for symbol in "*/"):
        return bool(special) or not any("softcap" in text for text in texts)
    if "block" in path or "fused" in path or (isinstance(value, list) and plain not in (("input",), ("output",))):
        return False
    return bool(special) and all(values.has(name) for name in special)


def plain_path(path: Path) -> Path:
    """A path inside an overlay as the path in the spec that it lies on."""
    if path[0] not in ("layers", "variants"):
        return path
    rest = path[2:] if len(path) > 1 and isinstance(path[1], int) else path[1:]
    return rest[2:] if rest[:1] == ("kinds",) else rest


def refute(body: Body, values: Values, nearest: str) -> list[str]:
    """Take out inherited keys that read what this config does not hold, such as a sub-key of `rope_parameters`."""
    taken: list[str] = []
    for path, value in list(body.leaves()):
        texts = [str(item) for item in cast("list[Any]", value)] if isinstance(value, list) else [str(value)]
        lost = next((shown for text in texts for shown in _unheld(text, values)), None)
        if lost is not None and body.get(*path) is not None and path[0] not in ("input", "block", "output"):
            at = whole(path)
            body.drop(*at)
            taken.append(f"{'.'.join(map(str, at))}: {nearest} has it and reads {lost}, which holds nothing here")
    return taken


def drop_indices(body: Body) -> None:
    """Take out inherited keys that name a layer by its number: another checkpoint has other numbers of layers."""
    for path, value in reversed(list(body.leaves())):
        if _INDEX.search(str(value)) if path[-1] == "match" else path[-1] == "when" and _numbers_layers(str(value)):
            body.drop(*path[:-1])


def _numbers_layers(condition: str) -> bool:
    """Whether a condition compares `layer` itself with numbers other than the first layer's."""
    try:
        compared = [node for node in ast.walk(python(condition)) if isinstance(node, ast.Compare)]
    except Refused:
        return False
    sides = [(node, side) for node in compared for side in (node.left, *node.comparators)]
    at_layer = [node for node, side in sides if isinstance(side, ast.Name) and side.id == "layer"]
    within = (part for node in at_layer for side in (node.left, *node.comparators) for part in _elements(side))
    return any(isinstance(part, ast.Constant) and part.value != 0 for part in within)


def _elements(side: ast.expr) -> list[ast.expr]:
    return side.elts if isinstance(side, ast.List | ast.Tuple) else [side]


def whole(path: Path) -> Path:
    """What goes with a key: a mapping with its `when`, an overlay with its condition."""
    return path[:-1] if path[-1] in ("when", "by") and len(path) > 1 else path


def _unheld(text: str, values: Values) -> Iterator[str]:
    """Sub-keys and elements of config fields that no layer can read; whole fields are the check's matter."""
    if "config." not in text:
        return
    try:
        tree = python(text)
    except Refused:
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.Subscript | ast.Attribute) or not isinstance(
            node.value, ast.Subscript | ast.Attribute
        ):
            continue
        if not _is_readable(node, values):
            yield ast.unparse(node)


def _is_readable(node: ast.expr, values: Values) -> bool:
    """Whether some layer can read it: others may be of a kind that does not."""
    number = values.get("num_hidden_layers")
    for layer in range(number if isinstance(number, int) and _mentions_layer(node) else 1):
        try:
            evaluate(node, values.held, layer=layer)
            return True
        except UNREADABLE:
            pass
    return False


def _mentions_layer(node: ast.expr) -> bool:
    return any(isinstance(one, ast.Name) and one.id == "layer" for one in ast.walk(node))


def _fields(text: str) -> Iterator[str]:
    right = text.split("=", 1)[1] if "=" in text and "==" not in text else text
    try:
        yield from config_paths(python(right))
    except Refused:
        return
