"""What mutations of every kind of spec are made with: values near a given one, and copies with one place changed."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import yaml

from codegen.configs import ConfigClass
from codegen.language.bare import bare_key
from codegen.language.keys import Key
from codegen.language.values import Expression, expression
from codegen.tiny.evaluate import UNREADABLE, evaluate

Data = dict[str, Any]
Path = tuple[Any, ...]
Named = Iterator[tuple[str, Data]]  # what was done, and the spec after it
BARE = {"text": "spec", "vision": "tower"}  # what a bare word says of images and text


@dataclass(frozen=True)
class Mutation:
    """What was done, and the spec after it.

    key: the changed key. from_default: the spec leaves the key to its default. derived: that default follows from other
    keys, so that the mutant may say the same.
    """

    name: str
    text: str
    key: str
    from_default: bool = False
    derived: bool = False


class Reader:
    """Reads expressions under one config."""

    def __init__(self, config: ConfigClass, values: Mapping[str, Any]) -> None:
        known = {**config.fields, **values}
        known |= {name: {**config.value(name), **known[name]} for name in config.nested & known.keys()}
        self.values = known | {alias: known.get(name) for alias, name in config.attribute_map.items()}

    def read(self, value: Expression) -> Any:
        """The value on the first layer; None where it cannot be read."""
        try:
            return evaluate(value.tree, self.values, layer=0, head_dim=12)
        except UNREADABLE:
            return None

    def default(self, key: Key) -> Expression | None:
        """The first of a key's defaults that can be read, or says none."""
        candidates = [expression(text) for text in key.chain]
        return next((c for c in candidates if c.is_none or self.read(c) is not None), None)


def dumped(data: Data) -> str:
    return yaml.safe_dump(data, sort_keys=False, width=10_000)


def dotted(path: Path) -> str:
    return ".".join(map(str, path))


def put(data: Data, path: Path, value: Any) -> Data:
    """A copy with a value at a path; mappings on the way are made, and bare words written out."""
    mutant = deepcopy(data)
    place: Any = mutant
    for part in path[:-1]:
        inner = place[part] if isinstance(place, list) else place.get(part)
        if not isinstance(inner, dict | list):
            inner = (
                {}
                if inner is None or isinstance(inner, bool) or inner == "none"
                else {BARE.get(part) or bare_key(part): inner}
            )
        place[part] = inner
        place = inner
    place[path[-1]] = value
    return mutant


def other_words(key: Key, value: Any) -> Iterator[Any]:
    """The words of a choice that is now `value`; None: its first."""
    now = key.words[0] if value is None else value
    return (word for word in key.words if word != now)


def flipped(text: str, value: Any) -> Iterator[Any]:
    """Other values for an expression that now yields `value`."""
    if isinstance(value, bool):
        yield not value if text in ("True", "False") else f"not ({text})"
    elif isinstance(value, int):
        yield f"({text}) + 1"
    elif isinstance(value, float):
        yield f"({text}) * 1.5" if value else "0.45"  # what no field of a tiny config holds
    elif isinstance(value, str):
        yield "relu" if value != "relu" else "silu"
