"""A projector as equations, from the names and shapes of its tensors: maps, norms, merged patches, gates."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from math import isqrt
from typing import Any

from codegen.frozen import Frozen
from codegen.language.vision.equations import ACTIVATIONS, ORDERS
from codegen.new.headers import Shape
from codegen.new.modules import Module, modules

ALONE = "linear"  # a map that lies at the place of the projector itself
MOST = 5  # maps of a projector that is a sequence
_ACTIVATIONS = {"gelutanh": "gelu_pytorch_tanh", "pytorchgelutanh": "gelu_pytorch_tanh", "quickgelu": "quick_gelu"}


class Widths(Frozen):
    """What the projector stands between: the tower's width and that of the text."""

    tower: int
    text: int


class Step(Frozen):
    """A map or a norm.

    Attributes:
        name: of the part; `path` is below the projector on disk, `memory` what the class calls it otherwise.
        turned: whether the matrix lies [in, out].
        merges: patches a side that become one row before it.
        gated: whether half of what comes in is its gate.
        acts: the activation before it, if any.
        norms: before it; `merged_norms` behind the merge.
    """

    name: str
    path: str
    shape: tuple[int, ...]
    bias: bool = False
    memory: str | None = None
    turned: bool = False
    merges: int = 1
    gated: bool = False
    acts: str | None = None
    norms: tuple["Step", ...] = ()
    merged_norms: tuple["Step", ...] = ()

    @property
    def takes(self) -> int:
        return self.shape[0] if self.turned else self.shape[-1]

    @property
    def gives(self) -> int:
        return self.shape[-1] if self.turned else self.shape[0]


class Chain(Frozen):
    """The maps in their order; `norms` stand behind the last.

    ordered: whether shapes or the class say in which order; acts: whether the class says where activations stand.
    """

    steps: tuple[Step, ...]
    norms: tuple[Step, ...] = ()
    ordered: bool = True
    acts: bool = True

    @property
    def all_norms(self) -> tuple[Step, ...]:
        return (*(one for step in self.steps for one in (*step.norms, *step.merged_norms)), *self.norms)


def chain(tensors: Mapping[str, Shape], widths: Widths, inside: Mapping[str, str], act: str | None) -> Chain | None:
    """The projector as a sequence; None where it is none.

    inside: names and classes of the modules in its class, in their order; act: `act` where the config names one.
    """
    alone = {name: f"{ALONE}.{name}" for name in ("weight", "bias")}
    found = modules({alone.get(name, name): shape for name, shape in tensors.items()})
    maps = [_map(one) for one in found.values() if len(one.shape or ()) == 2]
    norms = [
        Step(one.name, one.path, one.shape or (), one.bias) for one in found.values() if one.weight and one.is_norm
    ]
    if len(maps) + len(norms) != len(found) or not 0 < len(maps) <= MOST or any(len(one.shape) != 1 for one in norms):
        return None
    if "ModuleList" in inside.values():  # as many as a config says
        return None
    maps = _named(maps, inside)
    hint = _places([*maps, *norms], inside)
    chains = [one for order in permutations(sorted(maps, key=hint)) if (one := _chain(order, widths)) is not None]
    if not chains:
        return None
    steps = _with_norms(chains[0], sorted(norms, key=hint), widths)
    if steps is None:
        return None
    acting, rest = steps
    told = all(hint(step)[0] < len(inside) for step in maps)
    acted = _activated(acting, inside, act, hint)
    return Chain(acted, rest, told or len(chains) == 1, told and _all_act(acted, inside))


def _map(one: Module) -> Step:
    name = one.name.removesuffix("_weight") if one.bare else one.name
    return Step(name, one.path, tuple(one.shape or ()), one.bias)


def _named(maps: list[Step], inside: Mapping[str, str]) -> list[Step]:
    """Maps that are numbers on disk under the names that the class has for them, else counted; no name twice."""
    numbers = sorted((one for one in maps if one.name.isdigit()), key=lambda one: int(one.name))
    linear = [name for name, kind in inside.items() if kind == "Linear" and name not in [one.path for one in maps]]
    own = len(linear) == len(numbers) and all(name.isidentifier() for name in linear)
    called = {
        one.path: Called(linear[place], linear[place]) if own else Called(f"linear_{place + 1}")
        for place, one in enumerate(numbers)
    }
    twice = {one.name for one in maps if [other.name for other in maps].count(one.name) > 1}
    named = [replace(one, name=one.path.replace(".", "_")) if one.name in twice else one for one in maps]
    return [replace(one, **vars(called[one.path])) if one.path in called else one for one in named]


class Called(Frozen):
    """What a part is called in equations, and in memory where the class has another name for it than the disk."""

    name: str
    memory: str | None = None


def _places(steps: Sequence[Step], inside: Mapping[str, str]) -> Any:
    """Where a step stands in its class; by name where that does not say."""
    order = list(inside)

    def place(step: Step) -> tuple[int, str]:
        known = [name for name in (step.path, step.name) if name in order]
        return (order.index(known[0]) if known else len(order), step.path)

    return place


def _chain(order: Sequence[Step], widths: Widths) -> tuple[Step, ...] | None:
    """The maps, if each can read what the one before it gives, from the tower to the text."""
    found: list[Step] = []
    width = widths.tower
    for step in order:
        link = _link(step, width, first=not found)
        if link is None:
            return None
        found.append(link)
        width = link.gives
    return tuple(found) if width == widths.text else None


def _link(step: Step, width: int, first: bool) -> Step | None:
    """A map behind what is `width` wide: as it is, gated, or behind merged patches."""
    turned = step.name != step.path.rpartition(".")[2] and step.shape[0] == width  # a bare parameter
    step = replace(step, turned=turned)
    if step.takes == width:
        return step
    if not first and step.takes * 2 == width:
        return replace(step, gated=True)
    side = isqrt(step.takes // width)
    return replace(step, merges=side) if side > 1 and step.takes == side * side * width else None


def _with_norms(
    maps: tuple[Step, ...], norms: Sequence[Step], widths: Widths
) -> tuple[tuple[Step, ...], tuple[Step, ...]] | None:
    """Each norm before the first map where its width fits; the last may stand behind all."""
    left = list(norms)
    steps: list[Step] = []
    width = widths.tower
    for step in maps:
        before = [one for one in left[:1] if one.shape[0] == width]
        after = [one for one in left[:1] if one not in before and one.shape[0] == step.takes and step.merges > 1]
        left = left[len(before) + len(after) :]
        steps.append(replace(step, norms=tuple(before), merged_norms=tuple(after)))
        width = step.gives
    behind = [one for one in left if one.shape[0] == width]
    return (tuple(steps), tuple(behind)) if len(behind) == len(left) <= 1 else None


def _activated(steps: tuple[Step, ...], inside: Mapping[str, str], act: str | None, hint: Any) -> tuple[Step, ...]:
    """The activation before the map that follows it in the class; by itself before the last of several."""
    at = {place: word for place, kind in enumerate(inside.values()) if (word := activation(kind)) is not None}
    found: list[Step] = []
    for number, step in enumerate(steps):
        before = hint(steps[number - 1])[0] if number else -1
        told = next((word for where, word in at.items() if before < where < hint(step)[0]), None) if number else None
        found.append(replace(step, acts=None if told is None else act or told))
    last = found[-1]
    if len(found) > 1 and not any(step.acts for step in found) or last.gated and last.acts is None:
        word = next(iter(at.values()), "silu" if last.gated else "gelu")
        found[-1] = replace(last, acts=act or word)
    return tuple(found)


def _all_act(steps: Sequence[Step], inside: Mapping[str, str]) -> bool:
    """Whether the class has as many activations as stand between the maps."""
    return sum(activation(kind) is not None for kind in inside.values()) == sum(step.acts is not None for step in steps)


def activation(kind: str) -> str | None:
    """The word of the language for a class of torch or transformers that is an activation; None for another."""
    plain = kind.removesuffix("Activation").lower()
    word = _ACTIVATIONS.get(plain, plain)
    return word if word in ACTIVATIONS else None


def equations(found: Chain, count: str, order: str) -> list[str]:
    """The chain as equations; `count` says how many patches a side are merged, `order` how they lie in a row."""
    lines: list[str] = []
    value = "x"
    for number, step in enumerate(found.steps):
        if step.gated:
            lines.append(f"h, gate = chunk({value}, 2)")
            value = f"{step.acts}(gate) * h"
        elif step.acts is not None:
            value = f"{step.acts}({value})"
        elif number:
            lines.append(f"x = {value}")
            value = "x"
        value = _called(value, step.norms)
        if step.merges > 1:
            value = f"merge_patches({value}, {count}{'' if order == ORDERS[0] else f', {order}'})"
        value = f"{step.name}({_called(value, step.merged_norms)})"
    return [*lines, f"x = {_called(value, found.norms)}"]


def _called(value: str, norms: tuple[Step, ...]) -> str:
    for norm in norms:
        value = f"{norm.name}({value})"
    return value
