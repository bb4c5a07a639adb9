"""The configs on which a spec is judged, beside the strong ones for what it reads: what it does not read, changed."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import reduce
from itertools import combinations
from random import Random
from typing import Any, cast

from transformers.activations import ACT2FN

from codegen.configs import ConfigClass
from codegen.language.loaded import LoadedSpec
from codegen.language.spec import ATTENTION_KINDS, MLP_KINDS
from codegen.new.values import ALIASES, GENERIC
from codegen.tiny.configs import SIZES, is_dropout
from codegen.tiny.mentions import mentions
from nemo_automodel.parity.batches import LENGTH

Config = dict[str, Any]
TOKENS = ("_token_id", "_token_index", "_id")
COUNTS = (1, 2)  # what an optional field may count
NUMBERS = (0.83, 2, 24, True)  # what an optional field is set to, in turn
FACTOR = 1.7
DROPOUT, BESIDE, AT_ONCE = "dropout_", "dropout_beside_", "at_once_"  # how names of configs begin
SMALL = (5, 1)
HALVES = 3
LONGEST = ALIASES["max_position_embeddings"]  # names of how long a text may be: a longer one is none of the model's
WIDTH = "intermediate_size"  # which a class may leave at nothing, each with another rule for it


def key_of(values: Mapping[str, Any]) -> str:
    """A config as text, by which it is told from others."""
    plain = json.loads(json.dumps(values, default=str))  # whose keys are words, all of them
    return json.dumps(plain, sort_keys=True)


def unread(spec: LoadedSpec, config: ConfigClass) -> list[str]:
    """Fields of the class that no part of the spec reads, but those of no model."""
    read = {one for mention in mentions(spec, config) for one in (mention.field, f"{mention.field}.{mention.inner}")}
    return [name for name in structural(config) if name not in read]


def structural(config: ConfigClass) -> list[str]:
    """Fields of the class by which models may differ otherwise than in a size or in training, those of configs inside
    too."""
    return [*of_whole(config), *structural_among(dict(_inner(config)), ())]


def of_whole(config: ConfigClass) -> list[str]:
    """The same without those of configs inside."""
    return structural_among(config.fields, {config.field_name(name) for name in SIZES} | config.nested)


def _inner(config: ConfigClass) -> Iterator[tuple[str, Any]]:
    """The fields of configs inside the config, by their paths."""
    for outer in config.nested:
        values = config.fields.get(outer)
        yield from ((f"{outer}.{name}", one) for name, one in (values if isinstance(values, dict) else {}).items())


def structural_among(fields: Collection[str], sizes: Collection[str]) -> list[str]:
    """Those of some fields, of which these are sizes."""
    apart = {*sizes} | GENERIC | {"rope_parameters", "use_cache", *LONGEST}
    return [name for name in fields if not (name in apart or name.endswith(TOKENS) or is_dropout(name))]


def mended(values: Config, own: Config) -> Iterator[Config]:
    """In place of a config that the reference refuses: with what it lacks of the published one, with the words of that
    one's schedules, and that one."""
    both = merged(own, values)
    yield both
    words = {name: _of_length(some, both[name]) for name, some in own.items() if _is_schedule(some)}
    yield both | words
    yield own


def _is_schedule(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in cast("list[Any]", value))


def _of_length(words: list[str], other: Any) -> list[str]:
    length = len(cast("list[Any]", other)) if isinstance(other, list) else len(words)
    return [words[turn % len(words)] for turn in range(length)]


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> Config:
    """Both, with the values of the second where both have one, within mappings too."""
    inner = {
        name: merged(cast(Config, value), cast(Config, over[name]))
        for name, value in under.items()
        if isinstance(value, dict) and isinstance(over.get(name), dict)
    }
    return {**under, **over, **inner}


def changes(base: Mapping[str, Any], names: list[str], source: str = "") -> Iterator[tuple[str, list[Config]]]:
    """For each field the changes to try, of which the first that a model can be built with and that shows is kept.

    source: text in which words stand that a field is compared with.
    """
    for name in names:
        value = held(base, name)
        named = value is None or isinstance(value, str)
        words = [word for word in _words(name, source) if word != value] if named else []
        if tries := [_put(name, _unlike(other, base)) for other in (*_others(name, value), *words)]:
            yield name, tries


def held(values: Mapping[str, Any], name: str) -> Any:
    """What a field holds, also of a config inside another: `text_config.hidden_act`."""
    place: Any = values
    for part in name.split("."):
        place = place.get(part) if isinstance(place, dict) else None
    return place


def _put(name: str, value: Any) -> Config:
    """A change of one field."""
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """The fields in which two configs differ, also those of a config inside."""
    for name in {**one, **other}:
        before, after = one.get(name), other.get(name)
        inside = before or {}, after or {}
        if name.endswith("_config") and all(isinstance(one, dict) for one in inside):  # one may leave it to the class
            yield from (f"{name}.{inner}" for inner in differing(*inside))
        elif before != after:
            yield name


def _unlike(value: Any, base: Mapping[str, Any]) -> Any:
    """A factor that no other field has: a run tells factors by their values."""
    while isinstance(value, float) and value in base.values():
        value *= FACTOR
    return value


def _words(name: str, source: str) -> Iterator[str]:
    compared = re.findall(rf"\b{re.escape(name.rpartition('.')[2])}\b\s*(?:==|!=|in|not in)\s*([^\n:]+)", source)
    yield from dict.fromkeys(word for text in compared for word in re.findall(r"[\"']([\w-]+)[\"']", text))


def listed(base: Mapping[str, Any], names: list[str]) -> Iterator[tuple[str, Config]]:
    """Each whole number as a list of one for each layer: some classes take both."""
    layers = base.get("num_hidden_layers")
    for name in names:
        value = held(base, name)
        if type(value) is int and value > 0 and isinstance(layers, int):
            yield name, {name: [value + turn % 2 for turn in range(layers)]}


def nearer(base: Mapping[str, Any], names: list[str]) -> Iterator[tuple[str, list[Config]]]:
    """For flags that change nothing: the flag with a small number in place of one which no text of a test reaches, or
    of none, which changes nothing by itself."""
    values = {name: base.get(name) for name in names}
    far = [name for name, value in values.items() if value is None or type(value) is int and value >= LENGTH]
    for name in names:
        if isinstance(base.get(name), bool):
            yield name, [{name: not base[name], other: small} for other in far for small in SMALL]


def freed(
    base: Mapping[str, Any], names: Sequence[str], fields: Mapping[str, Any]
) -> Iterator[tuple[str, list[Config]]]:
    """For flags that cannot be changed beside the other values: the flag with a number as the class (fields) has it by
    itself, nothing or what another field is."""
    numbers = [
        {name: one} for name in fields if type(base.get(name)) is int for one in _as_by_default(base, name, fields)
    ]
    for name in names:
        if isinstance(base.get(name), bool) and numbers:
            yield name, [{name: not base[name], **number} for number in numbers]


def _as_by_default(base: Mapping[str, Any], name: str, fields: Mapping[str, Any]) -> Iterator[int | None]:
    """Not of the sizes that every model has."""
    if name in SIZES:
        return
    if fields[name] is None:
        yield None
    alike = [one for one in fields if type(fields[one]) is int and fields[one] == fields[name] and one != name]
    for one in alike if not name.endswith(TOKENS) else ():
        if type(base.get(one)) is int and base[one] != base[name]:
            yield base[one]


def absent(base: Mapping[str, Any], config: ConfigClass) -> Iterator[tuple[str, Config]]:
    """Each field that the class by itself leaves at nothing, so; of the sizes that of the MLP too."""
    width = config.field_name(WIDTH)
    for name in (*structural(config), *([width] if width in config.fields else [])):
        default, value = held(config.fields, name), held(base, name)
        nothing = default is None or (default == 0 and not isinstance(default, bool))
        if nothing and value is not None and value != default:
            yield f"absent_{name}", _put(name, default)


def off(base: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[str, Config]]:
    """Each number at nothing, which may leave parts of a model out."""
    yield from (
        (f"off_{name}", _put(name, 0)) for name in names if type(value := held(base, name)) is int and value > 0
    )


def together(shown: Sequence[Config]) -> Iterator[Config]:
    """Changes that each show, made together: all of them, and halves drawn at random."""
    draws = Random(0)
    if len(shown) > 1:
        yield dict(reduce(merged, shown))
    for _ in range(HALVES if len(shown) > 2 else 0):
        half = draws.sample(shown, (len(shown) + 1) // 2)
        yield dict(reduce(merged, half))


def flags_at_once(shown: Sequence[Config]) -> Iterator[tuple[str, Config]]:
    """Each two changes of flags that put other tensors in: what each says alone may not be true beside the other."""
    for one, other in combinations(shown, 2):
        yield f"{AT_ONCE}{next(iter(one))}_{next(iter(other))}", merged(one, other)


def dropouts(base: Mapping[str, Any], fields: Mapping[str, Any]) -> Iterator[tuple[str, Config]]:
    """Each probability by itself, so that where it acts can be told from where others do."""
    names = [name for name, value in fields.items() if is_dropout(name) and isinstance(value, int | float)]
    for name in names:
        others = {other: 0.0 for other in names if base.get(other, fields[other])}
        yield f"{DROPOUT}{name}", {**others, name: 0.3}


def dropouts_beside(
    alone: Sequence[tuple[str, Config]], flags: Mapping[str, Config], names: Sequence[str]
) -> Iterator[tuple[str, Config]]:
    """Those of some probabilities beside each change of a flag, which may have them act elsewhere.

    alone: each probability by itself. names: of fields. flags: their changes, by their names.
    """
    for name, change in alone:
        if name.removeprefix(DROPOUT) in names:
            yield from ((f"{BESIDE}{flag}_{name}", merged(other, change)) for flag, other in flags.items())


def schedules(base: Mapping[str, Any], fields: list[str]) -> Iterator[Config]:
    """Every list of words by layer with one of its words alone; numbers that may be absent, absent with each; and lists
    of numbers with nothing for one layer."""
    lists = {name: value for name in fields if isinstance(value := base.get(name), list) and value}
    absent = [name for name in fields if isinstance(base.get(name), int) and "window" in name]
    for name, value in lists.items():
        if all(isinstance(one, float) for one in value):
            yield {name: [one * (turn != 1) for turn, one in enumerate(value)]}
        words = list(dict.fromkeys(word for word in value if isinstance(word, str)))
        for word in words if len(words) > 1 else []:
            yield {name: [word] * len(value)}
            yield from ({name: [word] * len(value), other: None} for other in absent)


def _others(name: str, value: Any) -> Iterator[Any]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value * 2, max(1, value // 2), *(SMALL if value >= LENGTH else ()), 0)
    elif isinstance(value, float):
        yield from (value * FACTOR, 0.37) if value else (0.37,)
    elif value is None:
        yield from NUMBERS
    elif isinstance(value, str):
        yield from (word for word in ("relu", "gelu_pytorch_tanh") if value in ACT2FN and word != value)
    elif isinstance(value, list):
        yield from _lists(cast("list[Any]", value)) if value else ([0, 2], [1])


def is_one_kind(value: Any) -> bool:
    """Whether a list for all layers holds one kind of layers alone, of which the library knows others."""
    kinds = (
        {*value} if isinstance(value, list) and all(isinstance(one, str) for one in cast("list[Any]", value)) else set()
    )
    return len(kinds) == 1 and not kinds.isdisjoint([*ATTENTION_KINDS, *MLP_KINDS])


def _lists(value: list[Any]) -> Iterator[list[Any]]:
    if any(isinstance(one, list | dict) for one in value):
        return
    kinds = list(dict.fromkeys(value))
    if len(kinds) == 1:
        for known in (ATTENTION_KINDS, MLP_KINDS):
            others = [word for word in known if word != kinds[0]] if kinds[0] in known else []
            yield from ([other if turn % 4 in (0, 3) else kinds[0] for turn in range(len(value))] for other in others)
    if len(kinds) > 1:
        yield value[1:] + value[:1]
        yield value[::-1]
    if all(type(one) is int for one in value):
        yield [one + 1 for one in value]
        yield [one * (1 + turn % 2) for turn, one in enumerate(value)]
    if all(isinstance(one, float) for one in value):
        yield [one * (1.5 + turn) for turn, one in enumerate(value)]
