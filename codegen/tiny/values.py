"""Whether what a spec says has a value: every condition and expression, on every layer of the configs of its tests."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from codegen.configs import ConfigClass
from codegen.errors import Location, Problem, dotted, shown
from codegen.language.keys import Section, keys
from codegen.language.loaded import LoadedSpec, Split
from codegen.language.normalize import EVERY_ROLE
from codegen.language.values import Expression
from codegen.tiny.evaluate import UNREADABLE, Unknown, evaluate

Config = Mapping[str, Any]
NUMBERS = frozenset(  # keys whose values are numbers, or none
    (
        *("alpha", "chunk", "count", "decay_bound", "dt_rank", "eps", "groups", "head_dim", "heads", "jitter", "keep"),
        *("kernel", "key_dim", "key_heads", "kv_heads", "kv_rank", "latent", "limit", "min", "nope", "padding_idx"),
        *("q_rank", "rope", "rows", "scale", "softcap", "state", "theta", "top_k", "up_offset", "v_head_dim"),
        *("value_dim", "width", "window"),
    )
)
LAYERS = 4  # of which each kind of layer has one, at the latest


def readable(config: ConfigClass, values: Config) -> dict[str, Any]:
    """Every field of a config with these values, by all of its names; a config inside needs only what differs."""
    inner = {name: {**config.fields[name], **values[name]} for name in config.nested & values.keys()}
    by_name = {**config.fields, **values, **inner}
    return by_name | {alias: by_name.get(name) for alias, name in config.attribute_map.items()}


def unreadable(at: Location, path: str, error: Exception) -> Problem:
    """The problem of an expression that has no value on a config of the tests."""
    what = f"there is no {error}" if isinstance(error, KeyError) else str(error)
    cure = "write what has a value on every config, or give tests.tiny other values"
    return Problem(at, path, f"has no value on the config of the tests ({what})", cure)


def problems(loaded: LoadedSpec, config: ConfigClass, configs: Mapping[str, Config]) -> Iterator[Problem]:
    """What has no value on some layer of some config, each place once."""
    found: dict[tuple[str, Location], Problem] = {}
    written = {key: list(_expressions((), spec)) for key, spec in loaded.flat.items()}
    for values in configs.values():
        look = _Look(readable(config, values), found)
        for layer in range(layers_of(config, values)):
            outcomes = tuple(look.outcome(split, layer) for split in loaded.splits)
            for path, one in written.get(outcomes, ()):
                look.value(one, path, layer)
    return iter(found.values())


def layers_of(config: ConfigClass, values: Config) -> int:
    """How many layers are looked at."""
    return min(LAYERS, values.get(config.field_name("num_hidden_layers"), LAYERS))


class _Look:
    """One config."""

    def __init__(self, values: Config, found: dict[tuple[str, Location], Problem]) -> None:
        self.values, self.found = values, found
        self.once: dict[str, Any] = {}  # values that are the same on every layer

    def outcome(self, split: Split, layer: int) -> Any:
        """What a split is decided to on a layer; None where it has no outcome."""
        value = self.value(split.condition, split.path, layer)
        if not split.by:
            return bool(value)
        try:
            known = value in split.outcomes
        except TypeError:
            known = False
        if not known and (split.path, split.condition.at) not in self.found:
            listed = ", ".join(map(str, split.outcomes))
            message = f"is {shown(value)} in layer {layer} of the tests' config, which is none of: {listed}"
            self.found[split.path, split.condition.at] = Problem(split.condition.at, split.path, message, _CURE)
        return value if known else None

    def value(self, one: Expression, path: str, layer: int) -> Any:
        """The value on a layer; None, and a problem, where there is none. A problem too where a number is no number."""
        if one.text not in self.once or one.mentions("layer"):
            self.once[one.text] = self._value(one, path, layer)
        found = self.once[one.text]
        if path.rpartition(".")[2] in NUMBERS and not _is_number(found):
            message = f"is {shown(found)} on the config of the tests, which is no number"
            self.found.setdefault((path, one.at), Problem(one.at, path, message, "write a number of the config"))
        return found

    def _value(self, one: Expression, path: str, layer: int) -> Any:
        try:
            return evaluate(one.tree, self.values, layer=layer)
        except Unknown:
            return None
        except UNREADABLE as error:
            self.found.setdefault((path, one.at), unreadable(one.at, path, error))
            return None


def _is_number(found: Any) -> bool:
    return found is None or (isinstance(found, int | float) and not isinstance(found, bool))


_CURE = "list it under kinds, or give tests.tiny other values"


def _expressions(path: tuple[Any, ...], value: Any) -> Iterator[tuple[str, Expression]]:
    """The written expressions of a section, with their keys; constants have a value."""
    if isinstance(value, Expression):
        if value.constant is ...:
            yield dotted(*path), value
    elif isinstance(value, Section):
        for name in keys(type(value)):
            yield from _expressions((*path, name), getattr(value, name if hasattr(value, name) else f"{name}_"))
    elif isinstance(value, Mapping):
        for name, child in cast(Mapping[str, Any], value).items():
            yield from _expressions((*path, name) if name != EVERY_ROLE else path, child)
