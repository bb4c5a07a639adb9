"""Weight rules of routed experts, which lie stacked in memory: [E, rows, columns], a gated pair's rows gate then up.

Expert e of memory is the one that the checkpoint counts as e, or stores as its e-th: no rule can change their order.
Rules know no counts of experts (`flat` apart), so shards of dimension 0 convert like wholes. DTensors convert as the
whole tensors that they stand for, on every rank alike.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch.distributed.tensor import DTensor, Replicate

from nemo_automodel.components.models.common.checkpoint.rules import Rule, join


@dataclass(frozen=True)
class Read:
    """One piece of a parameter, and the tensors of a file that fill it by way of `convert` (None: as they are)."""

    out: torch.Tensor
    tensors: list
    convert: Callable | None = None

    @property
    def place(self):
        """Sorts reads into the order of the disk."""
        return self.tensors[0].place

    def run(self):
        if self.convert is None:
            self.tensors[0].read_into(self.out)
        else:
            self.out.copy_(self.convert([[tensor[...]] for tensor in self.tensors]))


@dataclass(frozen=True)
class StackExperts(Rule):
    """A tensor an expert and part on disk: `<path>.<e>.<part>.weight`, each [I, D] <-> `<path>.<stacked>` [E, n I, D].

    With `biases` also `<path>.<e>.<part>.bias` [I] <-> `<path>.<stacked>_bias` [E, n I].
    """

    path: str
    parts: tuple
    stacked: str
    biases: bool = False
    tensor: str = "weight"
    counted = True

    @property
    def disk(self):
        return tuple(join(self.path, f"*.{part}.{self.tensor}") for part in self.parts)

    @property
    def memory(self):
        return join(self.path, self.stacked if self.tensor == "weight" else f"{self.stacked}_bias")

    def expanded(self):
        weights = replace(self, biases=False)
        return (weights, replace(weights, tensor="bias")) if self.biases else (weights,)

    def load(self, parts):
        experts = list(zip(*parts, strict=True))
        rows = torch.cat([tensor for expert in experts for tensor in expert])
        return rows.unflatten(0, (len(experts), -1))

    def save(self, tensor):
        experts = with_all_experts(tensor)
        return [list(part.unbind(0)) for part in experts.chunk(len(self.parts), dim=1)]

    def reads(self, storage, parts):
        """What fills the parameter, expert by expert and part by part, from stored tensors."""
        pieces = zip(self.save(storage), parts, strict=True)
        return [Read(out, [tensor]) for outs, part in pieces for out, tensor in zip(outs, part, strict=True)]


@dataclass(frozen=True)
class StoredExperts(Rule):
    """All experts in one tensor on disk, or a gated pair in two; names are whole, as on disk, biases their siblings.

    On disk the rows of an expert are `groups` equal blocks of `order` (the number of rows: interleaved); two tensors
    come in `order`. transposed: stored [E, columns, rows]. flat: E, where experts lie below one another, [E rows, ...].
    is_bias: of vectors, which no layout turns.
    """

    stored: str | tuple
    memory: str
    groups: int = field(default=1, kw_only=True)
    transposed: bool = field(default=False, kw_only=True)
    flat: int | None = field(default=None, kw_only=True)
    order: tuple = field(default=("gate", "up"), kw_only=True)
    is_bias: bool = field(default=False, kw_only=True)

    @property
    def disk(self):
        return (self.stored,) if isinstance(self.stored, str) else tuple(self.stored)

    @property
    def turns(self):
        return self.transposed

    @property
    def _keeps_order(self):
        return self.groups == 1 and self.order == ("gate", "up")

    @property
    def _is_as_stored(self):
        return self.keeps_name and self._keeps_order and not self.transposed and self.flat is None

    def for_backend(self, packed):
        return None if self._is_as_stored else self

    def turned(self):
        """Qwen3-VL's mixtures were published as [E, columns, rows], which transformers writes as [E, rows, columns]."""
        return replace(self, transposed=True) if self._is_as_stored and not self.is_bias else None

    def expanded(self):
        biases = tuple(bias_name(name) for name in self.disk)
        return self, replace(self, stored=biases, memory=bias_name(self.memory), transposed=False, is_bias=True)

    def load(self, parts):
        tensors = [self._by_expert(tensor) for (tensor,) in parts]
        rows = tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim=1)
        return self._regroup(rows, (self.groups, 2), 2).contiguous()

    def save(self, tensor):
        rows = self._regroup(tensor, (2, self.groups), 1)
        return [[self._as_stored(part)] for part in rows.chunk(len(self.disk), dim=1)]

    def reads(self, storage, parts):
        """What fills the parameter, expert by expert, from stored tensors."""
        one = self if self.flat is None else replace(self, flat=1)
        shares = [(tensor, tensor.shape[0] // len(storage)) for (tensor,) in parts]
        return [
            Read(out, [tensor.rows(e * share, (e + 1) * share) for tensor, share in shares], one.load)
            for e, out in enumerate(storage.split(1))
        ]

    def _by_expert(self, tensor):
        experts = tensor if self.flat is None else tensor.unflatten(0, (self.flat, -1))
        return experts.transpose(1, 2) if self.transposed else experts

    def _as_stored(self, experts):
        experts = experts.transpose(1, 2) if self.transposed else experts
        return experts if self.flat is None else experts.flatten(0, 1)

    def _regroup(self, rows, blocks, halves):
        """Rows in `blocks` of groups and halves, which change places; `halves` is the dimension of the latter."""
        if self._keeps_order:
            return rows
        blocks = rows.unflatten(1, (*blocks, -1))
        ordered = blocks if self.order == ("gate", "up") else blocks.flip(halves)
        return ordered.transpose(1, 2).flatten(1, 3)


def with_all_experts(tensor):
    """The tensor itself, or a DTensor whose shards of dimension 0 are gathered: ranks then agree on the names."""
    if not isinstance(tensor, DTensor):
        return tensor
    placements = [Replicate() if placement.is_shard(0) else placement for placement in tensor.placements]
    return tensor.redistribute(placements=placements)


def bias_name(name):
    """The bias beside an experts' tensor: `x_bias`, or `x.bias` where it is called `x.weight`."""
    path = name.removesuffix(".weight")
    return f"{path}_bias" if path == name else f"{path}.bias"
