"""The equations of a reference's layers, of what precedes and of what follows them, read off its own run."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import nn

from codegen.language.disk import BESIDE
from nemo_automodel.parity.infer.candidate import PARTS, Candidate
from nemo_automodel.parity.infer.computed import NAME, computed, sinusoids
from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.infer.wiring import Unit, Wiring, flat, numbers
from nemo_automodel.parity.mutant import Path
from nemo_automodel.parity.tracing import Trace

BATCH, INPUT = "short", "input"
OFFSETS = 4  # of rows of a table of positions
OF_MLP = ("gate", "up", "down")  # roles of a part that is no module of its own


class Fitted:
    """What a reference's run of one config says. likely: fields that may be factors before others."""

    def __init__(self, candidate: Candidate, oracle: Oracle, likely: Collection[str] = ()) -> None:
        self.candidate, self.oracle = candidate, oracle
        self.trace = oracle.trace(BATCH)
        self.numbers = numbers(oracle.reference.config.to_dict(), likely)
        self.stack = candidate.layers(memory=True)
        self.parts: dict[str, dict[str, Any]] = {}  # that the equations call, and that hold nothing

    def sections(self) -> Iterator[tuple[str, list[str]]]:
        """Sections of the language with their equations; none of what they cannot say."""
        if not self._layers():
            return
        yield from (("block", lines) for lines in self.blocks())
        yield from ((INPUT, lines) for lines in [self.input()] if lines)
        yield from (("output", lines) for lines in [self.output()] if lines)

    def puts(self) -> Iterator[tuple[Path, Any]]:
        """The same as values at paths; at none where an equation calls parts that are to be written with it."""
        for section, lines in self.sections():
            yield (section,), lines
            if section == INPUT and self.parts:
                yield (), {(INPUT,): lines, **{("parts", name): one for name, one in self.parts.items()}}

    def blocks(self) -> list[list[str]]:
        """The equations of the layers, those of most layers first."""
        found = Counter(tuple(lines) for layer in self._layers() if (lines := self._block(f"{self.stack}.{layer}")))
        return [list(lines) for lines, _ in found.most_common()]

    def _layers(self) -> list[str]:
        below = (path.removeprefix(f"{self.stack}.") for path in self.trace.inputs if path.startswith(f"{self.stack}."))
        return [name for name in below if name.isdecimal()]

    def _block(self, layer: str) -> list[str]:
        wiring = Wiring(self.trace.inputs[layer], self.numbers)
        if not all(wiring.add(unit) for unit in _units(self.candidate, self.trace, f"{layer}.")):
            return []
        last = wiring.found(flat(self.trace.outputs[layer]))
        return [] if last is None else wiring.equations(last)

    def input(self) -> list[str]:
        """What makes the first layer's input of token ids and positions."""
        wiring = Wiring(None, self.numbers)
        first = f"{self.stack}.{self._layers()[0]}"
        for path in takewhile(lambda one: not one.startswith(f"{self.stack}."), self.trace.outputs):
            if not self._holds(path) and not self._add(wiring, path):
                return []
        given = self.trace.inputs[first]
        last = wiring.found(flat(given))
        for text, section, rows in sinusoids(given.shape) if last is None else ():
            other = wiring.with_(Unit(f"{NAME}({text})", None, rows))
            if (last := other.found(flat(given))) is not None:
                self.parts[NAME] = section
                return other.equations(last)
        return [] if last is None else wiring.equations(last)

    def output(self) -> list[str]:
        """What makes logits of the last layer's output."""
        wiring = Wiring(self.trace.outputs[f"{self.stack}.{self._layers()[-1]}"], self.numbers)
        paths = list(self.trace.outputs)
        last_layer = max(turn for turn, path in enumerate(paths) if path.startswith(f"{self.stack}."))
        for path in paths[last_layer + 1 :]:
            if not self._holds(path) and path in self.trace.inputs and not self._add(wiring, path):
                return []
        logits = flat(self.oracle.measured.logits[BATCH])
        last = wiring.found(logits)
        if last is None:
            last = wiring.capped(logits)
        return [] if last is None else wiring.equations(last, target="logits")

    def _holds(self, path: str) -> bool:
        return any(one.startswith(f"{path}.") for one in self.trace.outputs)

    def _add(self, wiring: Wiring, path: str) -> bool:
        """Whether a module takes ids, positions or a sum of what is there; what takes nothing of it is left out."""
        made, module = self.trace.outputs[path], self.oracle.reference.model.get_submodule(path)
        name = path.removeprefix(f"{self.candidate.model(memory=True)}.")
        if path in self.trace.inputs and not isinstance(module, nn.Embedding):  # which may be handed a mask
            given = self.trace.inputs[path]
            if torch.equal(_as(given, made), made):
                return True  # dropout
            if next(module.parameters(), None) is None and wiring.acted(flat(made)) is not None:
                return True  # a function
            return wiring.add(Unit(name, given, made)) or made.shape[-1:] != given.shape[-1:]
        weight = getattr(module, "weight", None)
        if isinstance(weight, torch.Tensor) and weight.dim() == 2:
            for text, table in _looked_up(weight, self.oracle.batches[BATCH].ids):
                if is_multiple(table, made):
                    return wiring.add(Unit(f"{name}({text})", None, table))
        if made.dim() < 3:
            return True
        text, made = "positions", made.expand(len(self.oracle.batches[BATCH].ids), *made.shape[1:])
        if (table := computed(made)) is not None:
            text, self.parts[name], _ = table
        return wiring.add(Unit(f"{name}({text})", None, made))


def _looked_up(weight: torch.Tensor, ids: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Rows of a table: those of the tokens, or of their positions."""
    yield "ids", weight[ids.clamp(max=len(weight) - 1)]
    length = ids.shape[1]
    for offset in range(min(OFFSETS, len(weight) - length + 1)):
        rows = weight[offset : offset + length].expand(*ids.shape, -1)
        yield f"positions + {offset}" if offset else "positions", rows


def is_multiple(table: torch.Tensor, made: torch.Tensor) -> bool:
    """Whether one is the other, scaled. table: [B, T, D]. made: the same, or [1, T, D] or [T, D], of all texts."""
    made = made[None] if made.dim() == 2 else made
    if made.shape[1:] != table.shape[1:] or len(made) not in (1, len(table)):
        return False
    rows, other = flat(table).double(), flat(made.expand(table.shape)).double()
    factor = (rows @ other) / (rows @ rows)
    return bool((rows * factor - other).norm() <= 1e-5 * other.norm())


def _units(candidate: Candidate, trace: Trace, layer: str) -> Iterator[Unit]:
    """The parts and norms of a layer, in the order of its run."""
    inside = [path.removeprefix(layer) for path in trace.inputs if path.startswith(layer) and path in trace.outputs]
    parts = {name: part for part in PARTS for name in candidate.names_of(part, memory=True)}
    done: list[str] = []
    for name in inside:
        if any(name == one or name.startswith(f"{one}.") for one in done):
            continue
        given, made = trace.inputs[layer + name], trace.outputs[layer + name]
        if together := next((some for some in _together(candidate, parts, inside) if name in some), []):
            done += inside[inside.index(name) : inside.index(together[-1])]
            name = together[-1]
            yield Unit("mlp", given, _last_or_sum(trace, layer, together, "" in parts))
        elif name in parts:
            yield Unit(parts[name], given, made, _inner(trace, layer + name))
        elif any(one.startswith(f"{name}.") for one in parts) or torch.equal(_as(given, made), made):
            continue  # what holds parts; and dropout
        else:
            yield Unit(name, given, made)
        done.append(name)


def _together(candidate: Candidate, parts: Mapping[str, str], inside: Sequence[str]) -> Iterator[list[str]]:
    """Modules of a layer that make its MLP together: its projections, or the experts and what stands beside them."""
    if "" in parts:
        names = [name for role in OF_MLP for name in candidate.names_of(role, memory=True)]
    else:
        beside = [name for name in candidate.names_of("shared", memory=True) if name.startswith(BESIDE)]
        mlps = [name for name, part in parts.items() if part == "mlp"] if beside else []
        names = [*mlps, *(name.removeprefix(BESIDE) for name in beside)]
    found = sorted({name for name in names if name in inside}, key=inside.index)
    if len(found) > 1:
        yield found


def _last_or_sum(trace: Trace, layer: str, names: Sequence[str], last: bool) -> torch.Tensor:
    made = [trace.outputs[layer + name] for name in names]
    return made[-1] if last else sum(made[1:], made[0])


def _inner(trace: Trace, path: str) -> torch.Tensor | None:
    """What the last module of a part makes, where the part itself hands out something else."""
    made = trace.outputs[path]
    ends = [one for name, one in trace.outputs.items() if name.startswith(f"{path}.") and one.numel() == made.numel()]
    return ends[-1] if ends and not torch.equal(ends[-1].reshape(made.shape), made) else None


def _as(given: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    return given.reshape(made.shape) if given.numel() == made.numel() else torch.zeros(())
