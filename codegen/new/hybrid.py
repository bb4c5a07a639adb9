"""Layers whose mixer is no attention, in a draft: what they are, and which layers of a hybrid they are."""

from collections.abc import Collection, Mapping
from typing import Any, cast

from codegen.language.spec import ROLE_NAMES, USUAL_KINDS
from codegen.new.body import Body
from codegen.new.mixing import PLAIN
from codegen.new.nearest import missing, unexplained
from codegen.new.recurrent import State, state
from codegen.new.schedules import Overlay, kinds_of, lay_over, schedules
from codegen.new.values import Values
from codegen.new.weights import Weights
from codegen.plan.mixers.kinds import KEEPS_KEYS

DOUBT = "the layers that have other tensors; sizes are read off fields that hold the numbers of the shapes"


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
        if told := schedules(layers, len(weights.each), values):
            one = found[layers[0]]
            on_disk = _on_disk(body, one)
            overlay: Overlay = {"attention": dict(one.section)} | ({"checkpoint": on_disk} if on_disk else {})
            lay_over(body, told[0], overlay, DOUBT)


def set_apart(body: Body, found: Mapping[int, State]) -> None:
    """What lies together in attention lies otherwise in layers with a state: it is said of the others alone."""
    taken = {role for one in found.values() for parts in one.fused.values() for role in _parts(parts)}
    overlays = [overlay for entry in body.listed("layers") for overlay in kinds_of(entry).values()]
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
        kinds = kinds_of(entry)
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


def _has_state(overlay: Mapping[str, Any]) -> bool:
    section = overlay.get("attention")
    kind = cast(Overlay, section).get("kind") if isinstance(section, dict) else section
    return isinstance(kind, str) and kind not in KEEPS_KEYS


def _parts(written: Any) -> list[str]:
    return cast("list[str]", cast(Overlay, written)["parts"] if isinstance(written, dict) else written)
