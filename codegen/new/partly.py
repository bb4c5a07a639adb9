"""What attention has in some layers alone, in a draft: biases, sinks, another number of keys' heads."""

from codegen.language.spec import USUAL_KINDS
from codegen.new.body import Body
from codegen.new.heads import draft_kv_heads
from codegen.new.mixing import PLAIN, draft_mixer
from codegen.new.modules import layer
from codegen.new.schedules import Overlay, Schedule, kinds_of, lay_over, schedules, told_by_number
from codegen.new.values import Values
from codegen.new.weights import Weights

DOUBT = "the layers that have other tensors in attention here; a field may choose them"


def draft_apart(body: Body, weights: Weights, values: Values) -> None:
    """Say of some layers alone what only those have, where two kinds of layers with the same projections differ in
    their attention."""
    groups = _groups(weights)
    if (
        len(groups) != 2
        or _projections(weights, groups[0]) != _projections(weights, groups[1])
        or body.section("attention").get("kind", PLAIN) != PLAIN
    ):
        return
    fewer, more = sorted(
        ((_drafted(body, weights.only(layers), values), layers) for layers in groups), key=lambda one: _size(one[0])
    )
    overlay = _beyond(more[0], fewer[0])
    told = _told(more[1], len(weights.each), values)
    if told is None or fewer[0].keys() - more[0].keys() or not overlay or overlay.keys() & _apart(body):
        return
    if fewer[0]:
        body.put(fewer[0], "attention")
    else:
        body.drop("attention")
    lay_over(body, told, _merged(_usual(body, told), {"attention": overlay}), DOUBT)


def _usual(body: Body, told: Schedule) -> Overlay:
    """What the draft says of these layers already, or their word by itself."""
    written = [kinds_of(entry) for entry in body.listed("layers") if entry.get("by") == told.text]
    kinds = {**USUAL_KINDS, **(written[0] if written else {})}
    return kinds.get(told.words[0], {}) if told.words else {}


def _groups(weights: Weights) -> list[list[int]]:
    """The layers with attention, by what it holds there."""
    found: dict[str, list[int]] = {}
    for number, tensors in weights.each.items():
        here = layer(tensors)
        if here.attention is not None:
            shown = sorted((path, one.shape, one.bias) for path, one in here.mixing.items())
            found.setdefault(repr(shown), []).append(number)
    return [*found.values()]


def _projections(weights: Weights, layers: list[int]) -> set[str]:
    here = layer(weights.each[layers[0]])
    return {path for path, one in here.mixing.items() if one.weight and not one.is_norm}


def _drafted(body: Body, weights: Weights, values: Values) -> Overlay:
    """The section that the tensors of some layers call for."""
    one, here = Body.copied(body.content), layer(weights.inside)
    draft_mixer(one, here, values)
    draft_kv_heads(one, here, weights, values)
    return one.section("attention")


def _apart(body: Body) -> set[str]:
    """The keys of attention that stand in overlays."""
    entries = [one for entry in body.listed("layers") for one in (entry, *kinds_of(entry).values())]
    return {key for entry in entries for key in Body(entry).section("attention")}


def _told(layers: list[int], number: int, values: Values) -> Schedule | None:
    by_number = told_by_number({*layers}, number)
    return next(iter(schedules(layers, number, values)), None) or (Schedule(by_number) if by_number else None)


def _size(section: Overlay) -> int:
    return sum(1 for _ in Body(section).leaves())


def _beyond(new: Overlay, old: Overlay) -> Overlay:
    """What one section says and another does not."""
    return {key: value for key, value in new.items() if old.get(key) != value}


def _merged(base: Overlay, more: Overlay) -> Overlay:
    """Both; what both say by the second."""
    found = Body.copied(base)
    for path, value in Body(more).leaves():
        found.put(value, *path)
    return found.content
