"""Text of a spec as an expression over what a batch or a tower's output holds: `image_sizes // config.patch_size`."""

import ast
from collections.abc import Collection, Iterator

from codegen.errors import Location, cut
from codegen.language.expressions import Refused, parse, python
from codegen.language.suggest import cure
from codegen.language.values import NOWHERE, Expression

FIELDS = (
    *("pixel_values", "pixel_attention_mask", "pixel_mask", "image_sizes", "image_grid_thw", "image_grid_hws"),
    *("image_merge_sizes", "spatial_shapes", "target_sizes", "batch_num_images", "pixel_values_images"),
    "token_type_ids",
)
OUTPUTS = ("last_hidden_state", "hidden_states", "pooler_output")  # of a tower; further attributes by name
CALLS = {
    "real_tiles": (1, 1),
    "real_images": (1, 2),
    "patch_mask": (2, 3),
    "flatten": (1, 1),
    "not_": (1, 1),
    "with_time": (1, 1),
}
TILED = ("image_sizes", "batch_num_images")  # what says how images are cut into tiles
WORDS = ("any", "all")  # the last argument of patch_mask
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv)


def parse_tensor(value: object, at: Location = NOWHERE, names: Collection[str] = FIELDS) -> Expression:
    """An expression over tensors of these names, fields of the config and whole numbers.

    Raises:
        Refused: where the value is none.
    """
    if isinstance(value, int | float) and not names:  # a field of a config
        value = repr(value)
    if not isinstance(value, str):
        raise Refused("must be an expression over tensors", f"write one of {', '.join(names)}")
    tree = python(value)
    _check(tree, names)
    return Expression(ast.unparse(tree), tree, at)


def _check(node: ast.expr, names: Collection[str]) -> None:
    if _is_config(node) or isinstance(node, ast.Constant):
        parse(ast.unparse(node), names=("config",))
    elif isinstance(node, ast.Name):
        if node.id not in names:
            raise Refused(f"'{cut(node.id)}' is not known here", cure(node.id, names))
    elif isinstance(node, ast.Call):
        _call(node, names)
    elif isinstance(node, ast.IfExp):
        parse(ast.unparse(node.test), names=("config",))
        _check(node.body, names)
        _check(node.orelse, names)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, _ARITHMETIC):
        _check(node.left, names)
        _check(node.right, names)
    elif isinstance(node, ast.Subscript):
        _check(node.value, names)
        for index in node.slice.elts if isinstance(node.slice, ast.Tuple) else (node.slice,):
            _index(index)
    else:
        shown = cut(ast.unparse(node))
        raise Refused(f"'{shown}' is not allowed", "allowed: names, config fields, numbers, + - * / //, [...], calls")


def _is_config(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return isinstance(node, ast.Name) and node.id == "config"


def _index(node: ast.expr) -> None:
    parts = (node.lower, node.upper, node.step) if isinstance(node, ast.Slice) else (node,)
    for part in parts:
        if part is not None:
            parse(ast.unparse(part), names=("config",))


def _call(node: ast.Call, names: Collection[str]) -> None:
    name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
    if name not in CALLS:
        raise Refused(f"'{cut(name)}' is no function", cure(name, CALLS, "functions"))
    fewest, most = CALLS[name]
    if node.keywords or not fewest <= len(node.args) <= most:
        raise Refused(f"'{cut(ast.unparse(node))}': {name} takes {fewest} to {most} arguments", f"write {name}(...)")
    for index, argument in enumerate(node.args):
        if not (name == "patch_mask" and index == 2 and isinstance(argument, ast.Name) and argument.id in WORDS):
            _check(argument, names)


def fields_read(expression: Expression) -> Iterator[str]:
    """The fields of a batch that an expression reads, in their order there."""
    found = {node.id for node in ast.walk(expression.tree) if isinstance(node, ast.Name)}
    found |= set(TILED) if "real_tiles" in found else set()
    return (name for name in FIELDS if name in found)
