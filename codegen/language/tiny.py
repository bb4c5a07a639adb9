"""`tests.tiny` and `tests.also`: values that suit the fields of the config class, and are small."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from codegen.configs import ConfigClass
from codegen.errors import Problem, dotted, shown
from codegen.language.load import Node
from codegen.language.suggest import cure

# What counts or measures something: at least one of it, and few enough for a model that tests build many times.
MOST = {
    **{"num_hidden_layers": 32, "num_attention_heads": 64, "num_key_value_heads": 64, "head_dim": 512},
    **dict.fromkeys(("vocab_size", "hidden_size", "intermediate_size", "max_position_embeddings"), 4096),
}
LARGEST, LONGEST = 4096, 256  # any other whole number, and any list
WORDS: dict[Any, str] = {bool: "true or false", int: "an integer", float: "a number", str: "text", list: "a list"}


def problems(node: Node, config: ConfigClass, above: str) -> Iterator[Problem]:
    """What is wrong with a mapping of fields; `above`: the dotted key that it stands under."""
    for name, child in (node.mapping or {}).items():
        path, field = dotted(above, name), config.field_name(str(name))
        if not config.has(str(name)) and name not in config.published:
            remedy = cure(name, config.names(), "fields")
            yield Problem(node.key_at.get(name, child.at), path, f"{config.name} has no such field", remedy)
        elif field in config.nested:
            yield from _inner(child, config, field, path)
        else:
            yield from _value(child, config.fields.get(field), _counted(config, field), path)


def _counted(config: ConfigClass, field: str) -> int | None:
    """How much there may be of what a field counts; None for a field that counts nothing known."""
    return next((most for name, most in MOST.items() if config.field_name(name) == field), None)


def _inner(node: Node, config: ConfigClass, field: str, path: str) -> Iterator[Problem]:
    """The values of a config inside the config."""
    if node.mapping is None:
        yield Problem(node.at, path, f"must be a mapping, not {shown(node.plain())}", "write {<field>: <value>}")
    for name, child in (node.mapping or {}).items():
        inner = f"{field}.{name}"
        if not config.has(inner) and name in config.published:  # of the whole, and of what it holds
            yield from _value(child, None, MOST.get(str(name)), dotted(path, name))
        elif not config.has(inner):
            known = cast(Mapping[str, Any], config.value(field) or {})
            yield Problem(
                node.key_at.get(name, child.at), dotted(path, name), "is no field", cure(name, known, "fields")
            )
        elif inner in config.nested:
            yield from _inner(child, config, inner, dotted(path, name))
        else:
            yield from _value(child, config.value(inner), None, dotted(path, name))


def _value(node: Node, default: Any, most: int | None, path: str) -> Iterator[Problem]:
    """A value beside the one that the class has by itself."""
    if (wanted := _unlike(node, default, most)) is not None:
        yield Problem(node.at, path, f"must be {wanted}, not {shown(node.plain())}", f"write {wanted}")
    elif node.mapping is not None:
        for name, child in node.mapping.items():
            yield from _value(child, cast(Mapping[str, Any], default or {}).get(str(name)), None, dotted(path, name))
    elif node.items is not None:
        kinds = [*map(type, cast(list[Any], default or []))]
        for index, child in enumerate(node.items):
            alike = cast(list[Any], default)[0] if len(set(kinds)) == 1 else None
            yield from _value(child, alike, None, f"{path}.{index}")
    elif type(node.value) is int:
        least = 0 if isinstance(default, int) and default >= 0 else -1
        low, high = (1, most) if most is not None else (least, LARGEST)
        if not low <= node.value <= high:
            yield Problem(node.at, path, f"{node.value} is no size for a test", f"write {low} to {high}")


def _unlike(node: Node, default: Any, most: int | None) -> str | None:
    """What the value should be and is not; a field without a value by itself takes any scalar, list or mapping."""
    value = node.value
    if node.items is not None:
        many = isinstance(default, list) or (default is None and most is None)
        return None if many and len(node.items) <= LONGEST else _worded(default, most)
    if node.mapping is not None:
        return None if isinstance(default, dict) or (default is None and most is None) else _worded(default, most)
    if value is None:
        return _worded(default, most) if isinstance(default, dict) or (most and default is not None) else None
    if most is not None or type(default) is int:
        return None if type(value) is int else WORDS[int]
    if default is None:
        return None
    if isinstance(default, float):
        return None if type(value) in (int, float) else WORDS[float]
    return None if type(value) is type(default) else _worded(default, most)


def _worded(default: Any, most: int | None) -> str:
    if most is not None:
        return WORDS[int]
    return (
        "a mapping"
        if isinstance(default, dict)
        else WORDS.get(type(default), f"a value, a mapping, or a list of {LONGEST}")
    )
