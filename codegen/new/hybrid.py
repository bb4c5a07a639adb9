"""Layers whose mixer is no attention, in a draft: what they are, and which layers of a hybrid they are."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, cast

from codegen.frozen import Frozen
from codegen.language.spec import MLP_KINDS, ROLE_NAMES, USUAL_KINDS
from codegen.new.body import Body
from codegen.new.mixing import PLAIN
from codegen.new.nearest import missing, unexplained
from codegen.new.recurrent import State, state
from codegen.new.values import Values
from codegen.new.weights import Weights
from codegen.plan.mixers.kinds import KEEPS_KEYS

DOUBT = "the layers that have other tensors; sizes are read off fields that hold the numbers of the shapes"

Overlay = dict[str, Any]


class Schedule(Frozen):
    """What tells some layers from the others. by: with the words of these and of the others; else a condition."""

    text: str
    words: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def states(weights: Weights, values: Values) -> dict[int, State]:
    """The mixers with a state, by the number of their layer."""
    found = {number: state(tensors, values) for number, tensors in weights.each.items()}
    return {number: one for number, one in found.items() if one is not None}


def is_told(found: Mapping[int, State], weights: Weights, expected: Collection[str]) -> bool:
    """Whether the nearest spec expects the tensors of these mixers, and no others there."""
    paths = tuple(f"{one.path}." for one in found.values())
    here = {name for number in found for name in weights.each[number] if name.startswith(paths)}
    there = {name for name in expected if name.startswith(paths)}
    return not unexplained(here, there) and not missing(weights.inside, there)


def draft_states(body: Body, found: Mapping[int, State], weights: Weights, values: Values) -> None:
    """Write the mixers with a state in place of those of the nearest spec."""
    _forget(body)
    if body.section("attention").get("kind", PLAIN) not in KEEPS_KEYS:
        body.drop("attention")
    if len(found) == len(weights.each):
        _everywhere(body, next(iter(found.values())))
        return
    for kind in dict.fromkeys(one.kind for one in found.values()):
        layers = [number for number, one in found.items() if one.kind == kind]
        told = [*_schedules(layers, len(weights.each), values), *_conditions(layers, len(weights.each), values)]
        if told:
            _lay_over(body, found[layers[0]], told[0])


def set_apart(body: Body, found: Mapping[int, State]) -> None:
    """What lies together in attention lies otherwise in layers with a state: it is said of the others alone."""
    taken = {role for one in found.values() for parts in one.fused.values() for role in _parts(parts)}
    overlays = [overlay for entry in body.listed("layers") for overlay in _kinds(entry).values()]
    for name, parts in body.section("checkpoint", "fused").items():
        if any(map(_has_state, overlays)) and taken & {*_parts(parts)}:
            body.drop("checkpoint", "fused", name)
            for overlay in overlays:
                if not _has_state(overlay):
                    Body(overlay).put(parts, "checkpoint", "fused", name)


def _everywhere(body: Body, one: State) -> None:
    body.drop("attention")
    body.put(dict(one.section), "attention", doubt=DOUBT)
    for group, value in _on_disk(body, one).items():
        for name, written in value.items():
            body.put(written, "checkpoint", group, name)


def _lay_over(body: Body, one: State, told: Schedule) -> None:
    """One mixer, in some of the layers."""
    on_disk = _on_disk(body, one)
    overlay: Overlay = {"attention": dict(one.section)} | ({"checkpoint": on_disk} if on_disk else {})
    entries = body.listed("layers")
    if told.words:
        entry = next((entry for entry in entries if entry.get("by") == told.text), None)
        old = {} if entry is None else _kinds(entry)
        rest = {word: old.get(word, {}) for word in told.others if not USUAL_KINDS.get(word) or word in old}
        entries = [one for one in entries if one is not entry]
        new = {"by": told.text, "kinds": {**old, **rest, **dict.fromkeys(told.words, overlay)}}
    else:
        new = {"when": told.text, **overlay}
    body.put([new, *entries] if entries else new, "layers", doubt=DOUBT)


def _on_disk(body: Body, one: State) -> dict[str, dict[str, Any]]:
    """Names that differ from those of the other layers, and what lies together."""
    base = ROLE_NAMES | {str(role): name for role, name in body.section("checkpoint", "names").items()}
    wanted = {"attention": one.path, **one.names, "out": one.names.get("out", ROLE_NAMES["out"])}
    names = {role: name for role, name in wanted.items() if base.get(role, role) != name}
    return {group: found for group, found in (("names", names), ("fused", dict(one.fused))) if found}


def _forget(body: Body) -> None:
    """Take out the mixers with a state that the nearest spec has in some layers."""
    kept: list[Overlay] = []
    for entry in body.listed("layers"):
        kinds = _kinds(entry)
        words = {word: one for word, one in kinds.items() if not _has_state(one)}
        if words:
            kept.append({**entry, "kinds": words})
        elif "by" in entry and set(kinds) <= set(USUAL_KINDS):
            kept.append({"by": entry["by"]})
        elif "when" in entry and not _has_state(entry):
            kept.append(entry)
    if body.get("layers") is not None:
        body.drop("layers")
    if kept:
        body.put(kept if len(kept) > 1 else kept[0], "layers")


def _kinds(entry: Mapping[str, Any]) -> dict[str, Overlay]:
    """The overlays of an entry, by word."""
    found = entry.get("kinds")
    return cast("dict[str, Overlay]", found) if isinstance(found, dict) else {}


def _has_state(overlay: Mapping[str, Any]) -> bool:
    section = overlay.get("attention")
    kind = cast(Overlay, section).get("kind") if isinstance(section, dict) else section
    return isinstance(kind, str) and kind not in KEEPS_KEYS


def _parts(written: Any) -> list[str]:
    return cast("list[str]", cast(Overlay, written)["parts"] if isinstance(written, dict) else written)


def _schedules(layers: Sequence[int], number: int, values: Values) -> list[Schedule]:
    """Lists of words that tell these layers from the others; those of MLPs last."""
    return sorted(_by_words(layers, number, values), key=lambda one: bool({*one.words} & {*MLP_KINDS}))


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
