"""Values, conditions and equations that a change of a spec may put in place of what stands there."""

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Any

from codegen.configs import ConfigClass
from codegen.language.keys import keys
from codegen.new.values import ALIASES
from nemo_automodel.parity.infer.below import key_at
from nemo_automodel.parity.infer.offer import READ, REMADE
from nemo_automodel.parity.infer.variants import held
from nemo_automodel.parity.mutant import Data, Path
from nemo_automodel.parity.sensitivity import is_dtype_key


def chosen(path: Path, value: Any, data: Data) -> Iterator[dict[str, Any]]:
    """What others say of something within a part, with another word for one of its choices."""
    key = key_at(path, data) if len(path) > 2 else None
    if key is not None and key.section is not None and isinstance(value, dict):
        for name, choice in keys(key.section).items():
            if choice.type == "choice" and not is_dtype_key(name):
                yield from ({**value, name: word} for word in choice.words if word != value.get(name, choice.words[0]))


def with_keys(path: Path, value: Any, data: Data) -> Iterator[dict[str, Any]]:
    """What is there with its defaults, with one key otherwise: a switch that is off, another word of a choice."""
    key = key_at(path, data) if value is True else None
    for name, inner in keys(key.section).items() if key is not None and key.section is not None else ():
        if inner.type == "choice" and not is_dtype_key(name):
            yield from ({name: word} for word in inner.words[1:] if word not in inner.unready_words)
        elif inner.type == "expression" and inner.chain == ("False",):
            yield {name: True}


def tests_of(name: str, config: ConfigClass, value: Any) -> Iterator[tuple[str, bool]]:
    """Conditions that tell a value of a field from its default, and whether each holds of that value."""
    field, default = f"config.{name}", held(config.fields, name)
    if isinstance(default, bool):
        yield from ((field, bool(value)), (f"not {field}", not value))
    elif isinstance(default, str) and isinstance(value, str):
        yield from ((f"{field} == {value!r}", True), (f"{field} != {value!r}", False))
    elif default is None or value is None:
        if type(value) is int and value == 1:  # which tells it from other counts too
            yield from ((f"{field} == 1", True), (f"{field} != 1", False))
        yield from ((f"{field} is not None", value is not None), (f"{field} is None", value is None))
    elif value == 0:
        yield from ((f"{field} == 0", True), (field, False))
    elif type(default) is int and default == 1:  # of what is counted, one may stand for none
        yield from ((f"{field} == 1", value == 1), (f"{field} != 1", value != 1))


def renamed(value: Any, old: str, new: str) -> Any:
    """A value with another field in its expressions."""
    if isinstance(value, str):
        return re.sub(rf"{re.escape(old)}\b", new, value)
    if isinstance(value, dict):
        return {key: renamed(one, old, new) for key, one in value.items()}
    return [renamed(one, old, new) for one in value] if isinstance(value, list) else value


def in_words_of(config: ConfigClass, value: Any) -> Any:
    """A value whose expressions read this config's name of a size where they read one that it lacks: `hidden_size` for
    `d_model`."""
    for standard, others in ALIASES.items():
        here = next((name for name in (standard, *others) if config.field_name(name) in config.fields), None)
        for name in (standard, *others) if here else ():
            if config.field_name(name) not in config.fields:
                value = renamed(value, f"config.{name}", f"config.{here}")
    return value


def of_field(name: str, default: Any, switches: bool) -> Iterator[tuple[int, str]]:
    """Expressions that read a field by itself, of the kind that a key asks for."""
    field = f"config.{name}"
    if switches:
        if isinstance(default, bool | None):
            yield from ((READ, field), (READ, f"not {field}"))
        else:
            yield from ((REMADE, f"{field} is not None"), (REMADE, f"{field} > 0"))
    elif isinstance(default, list):
        yield READ, f"{field}[layer]"
    elif default is None or isinstance(default, int | float) and not isinstance(default, bool):
        yield READ, field
        yield from ((REMADE, f"{field} ** -0.5"), (REMADE, f"1 / {field}"))


def recast(line: str) -> Iterator[str]:
    """The equation with a factor in other precisions, or in none: one of the weight's scales within a lookup."""
    for dtype in ("weight", "float32", ""):
        tree = ast.parse(line)
        products = [one for one in ast.walk(tree) if isinstance(one, ast.BinOp) and isinstance(one.op, ast.Mult)]
        for node in products[:1]:
            plain = node.right
            if isinstance(plain, ast.Call) and ast.unparse(plain.func) == "cast":
                plain = plain.args[0]
            node.right = ast.Call(ast.Name("cast"), [plain, ast.Name(dtype)], []) if dtype else plain
            yield ast.unparse(tree)


def of_function(line: str, function: str, name: str) -> str:
    """The equation with the function that an expression names in place of one."""
    tree = ast.parse(line)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == function]
    for node in calls:
        node.func = ast.Name("act")
        node.args.append(ast.parse(name, mode="eval").body)
    return ast.unparse(tree) if calls else line


def scaled(line: str, factors: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The equation with one call in it multiplied or divided by a field."""
    target, _, value = line.partition("=")
    calls = {ast.unparse(node) for node in ast.walk(ast.parse(value.strip())) if isinstance(node, ast.Call)}
    for call in sorted(calls, key=len, reverse=True):
        for name in factors:
            for operator in "*/":
                scaled = value.strip().replace(call, f"{call} {operator} config.{name}", 1)
                yield READ, f"{target.strip()} = {scaled}"
