"""What tells some layers of a draft from the others, and what only those say."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from codegen.frozen import Frozen
from codegen.language.spec import MLP_KINDS, USUAL_KINDS
from codegen.new.body import Body
from codegen.new.values import Values

Overlay = dict[str, Any]


class Schedule(Frozen):
    """What tells some layers from the others. by: with the words of these and of the others; else a condition."""

    text: str
    words: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def schedules(layers: Sequence[int], number: int, values: Values) -> list[Schedule]:
    """Lists of the config that tell these layers from the others: of words, those of MLPs last, then of numbers."""
    by_words = sorted(_by_words(layers, number, values), key=lambda one: bool({*one.words} & {*MLP_KINDS}))
    return [*by_words, *_conditions(layers, number, values)]


def told_by_number(layers: set[int], number: int) -> str | None:
    """What tells these layers from the others by their number alone."""
    first, last = {0}, {number - 1}
    every = {*range(number)}
    told = {
        "layer == 0": first,
        "layer == config.num_hidden_layers - 1": last,
        "layer > 0": every - first,
        "layer < config.num_hidden_layers - 1": every - last,
        "layer % 2 == 0": {*range(0, number, 2)},
        "layer % 2": {*range(1, number, 2)},
    }
    return next((text for text, some in told.items() if some == layers), None)


def lay_over(body: Body, told: Schedule, overlay: Overlay, doubt: str) -> None:
    """Say something of some layers alone."""
    entries = body.listed("layers")
    if told.words:
        entry = next((entry for entry in entries if entry.get("by") == told.text), None)
        old = {} if entry is None else kinds_of(entry)
        rest = {word: old.get(word, {}) for word in told.others if not USUAL_KINDS.get(word) or word in old}
        entries = [one for one in entries if one is not entry]
        new = {"by": told.text, "kinds": {**old, **rest, **dict.fromkeys(told.words, overlay)}}
    else:
        new = {"when": told.text, **overlay}
    body.put([new, *entries] if entries else new, "layers", doubt=doubt)


def kinds_of(entry: Mapping[str, Any]) -> dict[str, Overlay]:
    """The overlays of an entry, by word."""
    found = entry.get("kinds")
    return cast("dict[str, Overlay]", found) if isinstance(found, dict) else {}


def _by_words(layers: Sequence[int], number: int, values: Values) -> Iterator[Schedule]:
    for name, held in _lists(values):
        if held and all(isinstance(word, str) for word in held):
            words = [str(held[layer % len(held)]) for layer in range(number)]
            here = dict.fromkeys(words[layer] for layer in layers)
            others = dict.fromkeys(words[layer] for layer in range(number) if layer not in layers)
            if not here.keys() & others.keys():
                index = "layer" if len(held) >= number else f"layer % len(config.{name})"
                yield Schedule(f"config.{name}[{index}]", (*here,), (*others,))


def _conditions(layers: Sequence[int], number: int, values: Values) -> Iterator[Schedule]:
    """Lists of the numbers of these layers, or of the others."""
    rest = {*range(number)} - {*layers}
    for name, held in _lists(values):
        if {*held} == {*layers}:
            yield Schedule(f"layer in config.{name}")
        elif {*held} == rest:
            absent = f"config.{name} is None or " if values.config.fields[name] is None else ""
            yield Schedule(f"{absent}layer not in config.{name}")


def _lists(values: Values) -> list[tuple[str, list[Any]]]:
    """Fields that hold lists; those that the config class makes of others last."""
    names = sorted(values.config.fields, key=lambda name: name in values.config.derived)
    found = [(name, values.get(name)) for name in names]
    return [(name, cast("list[Any]", held)) for name, held in found if isinstance(held, list)]
