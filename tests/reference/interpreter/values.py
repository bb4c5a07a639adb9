"""Literals and expressions over the config, by walking their syntax trees."""

import ast
import math
import operator
from functools import cache

import torch
import torch.nn.functional as F
from transformers.activations import ACT2FN


class Missing(Exception):
    """A name, or a field of the config, that is not there."""


class Box:
    """A config, or a mapping inside one: fields by attribute or by item; a missing field is an error."""

    def __init__(self, inner):
        self.inner = inner

    def get(self, key):
        if isinstance(self.inner, dict):
            if key not in self.inner:
                raise Missing(str(key))
            return boxed(self.inner[key])
        if not hasattr(self.inner, key):
            raise Missing(key)
        return boxed(getattr(self.inner, key))


def boxed(value):
    return Box(value) if isinstance(value, dict) or hasattr(value, "to_dict") else value


def mscale(factor, weight=1.0):
    """YaRN's factor of the table (arXiv 2309.00071)."""
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


def yarn_mscale(parameters):
    """What latent attention owes to a YaRN table; 1 without one."""
    parameters = parameters.inner if isinstance(parameters, Box) else parameters
    if parameters.get("rope_type", "default") == "default" or not parameters.get("mscale_all_dim"):
        return 1.0
    return mscale(parameters["factor"], parameters["mscale_all_dim"])


def softcap(x, limit):
    """None and 0 leave x alone."""
    return limit * torch.tanh(x / limit) if limit else x


def _either(tensors, numbers):
    return lambda value: tensors(value) if torch.is_tensor(value) else numbers(value)


FUNCTIONS = {
    "sqrt": math.sqrt,
    "log": _either(torch.log, math.log),
    "floor": _either(torch.floor, math.floor),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "silu": F.silu,
    "min": min,
    "max": max,
    "int": int,
    "len": len,
    "sum": sum,
    "newer": lambda value, older: value,
    "given": lambda value, otherwise: otherwise if value is None else value,
    "per_layer": lambda value, layer: value[layer] if isinstance(value, list | tuple) else value,
    "yarn_mscale": yarn_mscale,
    "softcap": softcap,
    "act": lambda x, name: ACT2FN[name](x),
    "bfloat16": lambda value: float(torch.tensor(value, dtype=torch.bfloat16)),
    "cast": lambda value, weight: float(torch.tensor(value, dtype=weight)),
}
OPERATORS = {
    **{ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv},
    **{ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow},
    **{ast.USub: operator.neg, ast.Not: operator.not_},
    **{ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le},
    **{ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not},
    ast.In: lambda item, group: item in group,
    ast.NotIn: lambda item, group: item not in group,
}


@cache
def tree(text):
    return ast.parse(text.strip(), mode="eval").body


def value(written, names):
    """A literal, or an expression in which `names` stand for values; `none` is None."""
    if not isinstance(written, str):
        return written
    return None if written == "none" else evaluate(tree(written), names)


def evaluate(node, names):
    """The value of a syntax tree; `names["__call__"]` finds what is called and is no function of the language."""

    def inner(child):
        return evaluate(child, names)

    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            if node.id not in names:
                raise Missing(node.id)
            return names[node.id]
        case ast.Attribute():
            return inner(node.value).get(node.attr)
        case ast.Subscript():
            group, key = inner(node.value), inner(node.slice)
            return group.get(key) if isinstance(group, Box) else boxed(group[key])
        case ast.BinOp():
            return OPERATORS[type(node.op)](inner(node.left), inner(node.right))
        case ast.UnaryOp():
            return OPERATORS[type(node.op)](inner(node.operand))
        case ast.BoolOp():
            return _until(node, inner)
        case ast.Compare():
            return _chain(node, inner)
        case ast.IfExp():
            return inner(node.body) if inner(node.test) else inner(node.orelse)
        case ast.List() | ast.Tuple():
            return [inner(item) for item in node.elts]
        case ast.Call():
            name = ast.unparse(node.func)
            function = FUNCTIONS[name] if name in FUNCTIONS else names["__call__"](name)
            return function(*map(inner, node.args))
    raise SyntaxError(f"not of the language: {ast.dump(node)}")


def _until(node, inner):
    for item in node.values:
        found = inner(item)
        if bool(found) == isinstance(node.op, ast.Or):
            break
    return found


def _chain(node, inner):
    left = inner(node.left)
    for operation, item in zip(node.ops, node.comparators, strict=True):
        right = inner(item)
        if not OPERATORS[type(operation)](left, right):
            return False
        left = right
    return True
