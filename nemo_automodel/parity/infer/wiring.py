"""Equations read off a trace: each module's input, and what comes out, as sums of what was there before.

The factors of a sum come from least squares and are told as fields of the config; the order of its additions is the one
that gives the same bits.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from math import isclose, sqrt

import torch
from torch import nn

from codegen.language.spec import FUNCTIONS, WITH_FIELD

TERMS = 4  # of a sum
RESIDUAL = 1e-5  # of a sum that fits, of the size of the whole
FACTOR = 1e-4  # by which a factor may be off
LEAST = 16  # a count that is smaller has the square root of others too
CONSTANTS = {"2.0": 2.0, "0.5": 0.5, "sqrt(0.5)": sqrt(0.5), "sqrt(2)": sqrt(2)}  # factors that no field holds
ACTS = {name: getattr(nn.functional, name) for name in FUNCTIONS if name not in WITH_FIELD}
NAMES = ("h", "g", "u", "w")  # of values that are used more than once; x is what layers hand on

Tree = int | tuple["Tree", "Tree"]  # a value, or two sums added


@dataclass(frozen=True)
class Unit:
    """A call in an equation. given: its input; None: `call` says it. inner: what was made before something was added
    within the module, if anything was."""

    call: str
    given: torch.Tensor | None
    made: torch.Tensor
    inner: torch.Tensor | None = None


@dataclass(frozen=True)
class _Value:
    """Something that an equation can use: a call of another value, or a sum. None of both: what is there first."""

    tensor: torch.Tensor
    call: str = ""
    tree: Tree | None = None
    factors: tuple[tuple[int, str], ...] = ()  # of values within the tree

    def uses(self) -> Iterator[int]:
        yield from _leaves(self.tree) if self.tree is not None else ()


class Wiring:
    """The values of one stretch of a model. first: what is there before it, by the name that equations give it."""

    def __init__(self, first: torch.Tensor | None, numbers: Mapping[str, float]) -> None:
        self.numbers = numbers  # by the text that stands for them
        self.values = [_Value(flat(first))] if first is not None else []

    def with_(self, unit: Unit) -> "Wiring":
        """A copy with one unit more."""
        other = Wiring(None, self.numbers)
        other.values = [*self.values]
        other.add(unit)
        return other

    def add(self, unit: Unit) -> bool:
        """Whether the unit's input is a sum of what is there, or a function of one value."""
        tree = None
        if unit.given is not None:
            given = flat(unit.given)
            if (tree := self.found(given)) is None and (tree := self.acted(given)) is None:
                return False
        made = flat(unit.made)
        if unit.inner is None:
            self.values.append(_Value(made, unit.call, tree))
            return True
        self.values.append(_Value(flat(unit.inner), unit.call, tree))
        if self.found(made) is None:
            self.values[-1] = _Value(made, unit.call, tree)
        return True

    def found(self, wanted: torch.Tensor) -> int | None:
        """The value that a tensor is; a sum becomes one."""
        usable = [turn for turn, value in enumerate(self.values) if value.tensor.shape == wanted.shape]
        for turn in reversed(usable):
            if torch.equal(self.values[turn].tensor, wanted):
                return turn
        for count in range(1, min(TERMS, len(usable)) + 1):
            for some in combinations(usable[::-1], count):
                if (factors := self._fit(wanted, some)) is not None:
                    value = self._sum(wanted, some, dict(factors))
                    self.values.append(replace(value, tensor=wanted))
                    return len(self.values) - 1
        return None

    def acted(self, wanted: torch.Tensor) -> int | None:
        """The value that a tensor is after one of the functions that equations may call."""
        for turn in reversed(range(len(self.values))):
            for name, act in ACTS.items() if self.values[turn].tensor.shape == wanted.shape else ():
                if torch.allclose(act(self.values[turn].tensor), wanted, rtol=RESIDUAL, atol=RESIDUAL):
                    self.values.append(_Value(wanted, name, turn))
                    return len(self.values) - 1
        return None

    def capped(self, wanted: torch.Tensor) -> int | None:
        """The value that a tensor is after a soft cap."""
        made = len(self.values) - 1
        if self.values[made].tensor.shape != wanted.shape:
            return None
        fields = {text[2:]: cap for text, cap in self.numbers.items() if text.startswith("* config.")}
        for text, cap in fields.items():
            if torch.allclose(torch.tanh(self.values[made].tensor / cap) * cap, wanted, rtol=RESIDUAL, atol=RESIDUAL):
                self.values.append(_Value(wanted, f"softcap({{}}, {text})", made))
                return len(self.values) - 1
        return None

    def _fit(self, wanted: torch.Tensor, some: Sequence[int]) -> list[tuple[int, str]] | None:
        columns = torch.stack([self.values[turn].tensor.double() for turn in some], dim=1)
        solved = torch.linalg.lstsq(columns, wanted.double()[:, None]).solution
        if not (columns @ solved)[:, 0].sub(wanted).norm() <= RESIDUAL * wanted.norm():
            return None
        factors = [(turn, self._factor(float(one))) for turn, one in zip(some, solved[:, 0], strict=True)]
        return None if any(text is None for _, text in factors) else factors  # type: ignore[return-value]

    def _factor(self, value: float) -> str | None:
        if isclose(value, 1, rel_tol=FACTOR):
            return ""
        return next((text for text, one in self.numbers.items() if isclose(value, one, rel_tol=FACTOR)), None)

    def _sum(self, wanted: torch.Tensor, some: Sequence[int], factors: Mapping[int, str]) -> _Value:
        """In the order of additions that gives the same bits; terms of one factor are added first, if that does."""
        shared = [turn for turn in some if factors[turn] and list(factors.values()).count(factors[turn]) > 1]
        if 1 < len(shared) < len(some) and len({factors[turn] for turn in shared}) == 1:
            inner = self._scaled({turn: self.values[turn].tensor for turn in shared}, shared, {}, wanted)
            self.values.append(inner)
            joined = [*(turn for turn in some if turn not in shared), len(self.values) - 1]
            grouped = {turn: factors.get(turn, factors[shared[0]]) for turn in joined}
            if torch.equal((value := self._scaled(self._terms(grouped), joined, grouped, wanted)).tensor, wanted):
                return value
            self.values.pop()
        return self._scaled(self._terms(factors), some, factors, wanted)

    def _terms(self, factors: Mapping[int, str]) -> dict[int, torch.Tensor]:
        return {
            turn: _by(self.values[turn].tensor, text, self.numbers[text]) if text else self.values[turn].tensor
            for turn, text in factors.items()
        }

    def _scaled(
        self,
        terms: Mapping[int, torch.Tensor],
        some: Sequence[int],
        factors: Mapping[int, str],
        wanted: torch.Tensor,
    ) -> _Value:
        trees = list(_trees(some))
        tree = next((tree for tree in trees if torch.equal(_added(tree, terms), wanted)), trees[0])
        return _Value(_added(tree, terms), "", tree, tuple((turn, text) for turn, text in factors.items() if text))

    def equations(self, last: int, first: str = "x", target: str = "x") -> list[str]:
        """Those that make a value: what is used more than once has a name, all else stands where it is used."""
        uses = [0] * len(self.values)
        needed = sorted(self._needed(last))
        for turn in needed:
            for used in self.values[turn].uses():
                uses[used] += 1
        made = [turn for turn in needed if self.values[turn].tree is not None or self.values[turn].call]
        order = [turn for turn in made if uses[turn] > 1 and turn != last] + [last]
        names, lines = ({} if 0 in made else {0: first}), list[str]()
        for index, turn in enumerate(order):
            text = self._text(turn, names, top=True)
            held = next((one for one, name in names.items() if name == target), None)
            free = not any(held in self._reached(one, {*names, turn}) for one in order[index + 1 :])
            name = target if turn == last or free else next(one for one in NAMES if one not in names.values())
            names = {one: called for one, called in names.items() if called != name} | {turn: name}
            lines.append(f"{name} = {text}")
        return lines

    def _needed(self, turn: int) -> set[int]:
        return {turn}.union(*(self._needed(one) for one in self.values[turn].uses()))

    def _reached(self, turn: int, known: set[int]) -> set[int]:
        """What the text of a value reads, with what is known as names."""
        found: set[int] = set()
        for one in self.values[turn].uses():
            found |= {one} if one in known else {one} | self._reached(one, known)
        return found

    def _text(self, turn: int, names: Mapping[int, str], top: bool = False) -> str:
        if turn in names and not top:
            return names[turn]
        value = self.values[turn]
        if value.call:
            if not isinstance(value.tree, int):
                return value.call
            form = value.call if "{}" in value.call else f"{value.call}({{}})"
            return form.format(self._inside(value.tree, names))
        assert value.tree is not None
        text = self._of_tree(value.tree, names, dict(value.factors), top=True)
        return text if top or isinstance(value.tree, int) else f"({text})"

    def _inside(self, turn: int, names: Mapping[int, str]) -> str:
        """As an argument."""
        return self._text(turn, names) if turn in names else self._text(turn, names, top=True)

    def _of_tree(self, tree: Tree, names: Mapping[int, str], factors: Mapping[int, str], top: bool = False) -> str:
        if isinstance(tree, int):
            text = self._text(tree, names)
            return f"{text} {factors[tree]}" if factors.get(tree) else text
        left = self._of_tree(tree[0], names, factors, top=True)
        right = self._of_tree(tree[1], names, factors)
        return f"{left} + {right}" if top else f"({left} + {right})"


def numbers(fields: Mapping[str, object], likely: Collection[str] = ()) -> dict[str, float]:
    """What a factor may be, with its operator: a field, a constant, or what is made of fields. likely: of fields that
    come first."""
    ordered = sorted(fields, key=lambda name: name not in likely)
    plain = {f"config.{name}": one for name in ordered if type(one := fields[name]) in (int, float) and one}
    floats = {text: float(one) for text, one in plain.items() if isinstance(one, float)}
    integers = {text: float(one) for text, one in plain.items() if text not in floats and one != 1}
    made: dict[str, Callable[[float], float]] = {
        "/ {}": lambda x: 1 / x,
        "* sqrt({})": sqrt,
        "/ sqrt({})": lambda x: 1 / sqrt(x),
        "* {} ** -0.5": lambda x: x**-0.5,
        "* bfloat16(sqrt({}))": lambda x: torch.tensor(sqrt(x)).bfloat16().item(),
    }
    sized = {text: one for text, one in (floats | integers).items() if text in floats and one > 0 or one >= LEAST}
    unary = {form.format(text): act(one) for form, act in made.items() for text, one in sized.items()}
    rooted = {
        f"* ({a} / sqrt({b}))": floats[a] / sqrt(integers[b]) for a in floats for b in integers if integers[b] > 0
    }
    ratios = {f"/ ({a} / {b})": integers[b] / integers[a] for a in integers for b in integers if a in sized and a != b}
    first = {text: one for text, one in integers.items() if text[7:] in likely}
    plain = {f"* {text}": one for text, one in (floats | first | CONSTANTS | integers).items()}
    return plain | {text: one for text, one in (unary | rooted | _of_likely(ratios, likely)).items() if one != 1}


def _of_likely(ratios: Mapping[str, float], likely: Collection[str]) -> dict[str, float]:
    return {text: one for text, one in ratios.items() if text.rpartition(".")[2].removesuffix(")") in likely}


def flat(tensor: torch.Tensor) -> torch.Tensor:
    """As one vector, in fp32."""
    return tensor.detach().float().reshape(-1)


def _by(tensor: torch.Tensor, text: str, value: float) -> torch.Tensor:
    """A division rounds otherwise than a product with the inverse."""
    return tensor / (1 / value) if text.startswith("/") else tensor * value


def _leaves(tree: Tree) -> Iterator[int]:
    if isinstance(tree, int):
        yield tree
    else:
        yield from _leaves(tree[0])
        yield from _leaves(tree[1])


def _trees(some: Sequence[int]) -> Iterator[Tree]:
    """Orders of additions: the earliest value first, then the others one by one, then two sums added."""
    for order in permutations(sorted(some)):
        folded: Tree = order[0]
        for one in order[1:]:
            folded = (folded, one)
        yield folded
    for order in permutations(sorted(some)):
        if len(order) > 2:
            folded = order[1]
            for one in order[2:]:
                folded = (folded, one)
            yield (order[0], folded)


def _added(tree: Tree, values: Mapping[int, torch.Tensor]) -> torch.Tensor:
    return values[tree] if isinstance(tree, int) else _added(tree[0], values) + _added(tree[1], values)
