"""Weight rules: one tensor in memory made of one or more on disk, and back.

A rule never joins tensors on the way to disk, so every tensor in memory converts to disk by itself. It never counts
rows or experts from the config, so shards convert like whole tensors. `*` in a disk name counts; a name ends before
`.weight` or `.bias`, which carry over. `load(parts)` takes a list of tensors for each disk name and returns one tensor;
`save(tensor)` is its exact inverse.
"""

import re
from copy import copy
from dataclasses import dataclass
from functools import cached_property

import torch
from transformers.core_model_loading import WeightRenaming


class Rule:
    """`disk`: names on disk; `memory`: the one name in memory; `counted`: each disk name stands for many tensors.

    `is_shared`: other rules take their rows of the same tensor on disk. `turns`: the last two dimensions change places,
    so that an oblong shape tells the side. `within`: the path in memory below which alone the rule holds, from the
    model with a head on; empty: everywhere.
    """

    needs_packing = False
    counted = False
    turns = False
    is_shared = False
    is_written = True
    within = ""

    def below(self, path):
        """The same rule, which holds below a path in memory alone: a vision tower has a `self_attn.q_proj` too."""
        rule = copy(self)
        rule.__dict__.pop("scope", None)
        object.__setattr__(rule, "within", path)
        return rule

    @cached_property
    def scope(self):
        """A pattern of where the rule holds; the base model's own names lack the first of the path."""
        first, _, rest = self.within.partition(".")
        return rf"(?:{re.escape(first)}\.)?{re.escape(rest)}\." if rest else ""

    @property
    def keeps_name(self):
        """Whether a name alone does not tell on which side a tensor is."""
        return self.disk == (self.memory,)

    def expanded(self):
        """The rules, each of one tensor in memory, that this entry of a table stands for."""
        return (self,)

    def turned(self):
        """The rule for matrices that lie the other way round on disk, where such are read too."""

    def for_backend(self, packed):
        """What remains of the rule where the backend packs projections, or does not; None: nothing."""
        return self if packed or not self.needs_packing else None


@dataclass(frozen=True)
class PackQKV(Rule):
    """Rows of q, k and v, grouped per KV head: [q_0 k_0 v_0 q_1 k_1 v_1 ...], `queries` query heads to a group."""

    path: str
    queries: int
    head_dim: int
    parts: tuple = ("q_proj", "k_proj", "v_proj")
    packed: str = "qkv_proj"
    v_head_dim: int | None = None
    needs_packing = True

    @property
    def disk(self):
        return tuple(join(self.path, part) for part in self.parts)

    @property
    def memory(self):
        return join(self.path, self.packed)

    @property
    def widths(self):
        return self.queries * self.head_dim, self.head_dim, self.v_head_dim or self.head_dim

    def load(self, parts):
        groups = [tensor.unflatten(0, (-1, width)) for (tensor,), width in zip(parts, self.widths, strict=True)]
        return torch.cat(groups, dim=1).flatten(0, 1)

    def save(self, tensor):
        groups = tensor.unflatten(0, (-1, sum(self.widths)))
        return [[part.flatten(0, 1)] for part in groups.split(self.widths, dim=1)]


@dataclass(frozen=True)
class PackGateUp(Rule):
    """Rows of gate and up, interleaved: [g_0 u_0 g_1 u_1 ...]."""

    path: str
    parts: tuple = ("gate_proj", "up_proj")
    packed: str = "gate_up_proj"
    needs_packing = True

    @property
    def disk(self):
        return tuple(join(self.path, part) for part in self.parts)

    @property
    def memory(self):
        return join(self.path, self.packed)

    def load(self, parts):
        return torch.stack([tensor for (tensor,) in parts], dim=1).flatten(0, 1)

    def save(self, tensor):
        return [[part] for part in tensor.unflatten(0, (-1, 2)).unbind(1)]


@dataclass(frozen=True)
class JoinRows(Rule):
    """Rows of several tensors below one another, so many of each: convolutions of queries, keys and values."""

    path: str
    parts: tuple
    rows: tuple
    joined: str

    @property
    def disk(self):
        return tuple(join(self.path, part) for part in self.parts)

    @property
    def memory(self):
        return join(self.path, self.joined)

    def load(self, parts):
        return torch.cat([tensor for (tensor,) in parts])

    def save(self, tensor):
        share = sum(self.rows) // len(tensor)  # of a shard, as many of each
        return [[part] for part in tensor.split([count // share for count in self.rows])]


class Renaming(Rule):
    """Another name of the same tensor, by `to_memory` and `to_disk`; `conversion` is the entry of transformers' loader.

    Renamings act on the way in before every other rule, which so speak of names in memory alone.
    """


@dataclass(frozen=True)
class Rename(Renaming):
    """A path on disk that is no attribute name, and its path in memory; what stands around it carries over."""

    disk_path: str
    memory: str

    @property
    def disk(self):
        return (self.disk_path,)

    @cached_property
    def disk_pattern(self):
        """Finds the path on disk at whole dotted names, but not where it is the end of the path in memory already."""
        kept = self.memory.removesuffix(self.disk_path) if self.memory.endswith("." + self.disk_path) else ""
        return rf"{f'(?<!{re.escape(kept)})' if kept else ''}(?<![^.]){re.escape(self.disk_path)}(?![^.])"

    @cached_property
    def memory_pattern(self):
        return rf"(?<![^.]){re.escape(self.memory)}(?![^.])"

    def to_memory(self, name):
        return self._renamed(name, self.disk_pattern, self.memory) if self.disk_path in name else name

    def to_disk(self, name):
        return self._renamed(name, self.memory_pattern, self.disk_path) if self.memory in name else name

    def conversion(self):
        return WeightRenaming(self.disk_pattern, self.memory_pattern)

    def _renamed(self, name, pattern, path):
        scope = re.match(self.scope, name)
        return name if scope is None else scope[0] + re.sub(pattern, path, name[scope.end() :], count=1)


@dataclass(frozen=True)
class Prefix(Rename):
    """Where a part of the model begins on disk, and in memory: names that begin so.

    others: where other parts begin, which are not this one's though their names begin alike.
    """

    others: tuple = ()

    @cached_property
    def disk_pattern(self):
        return self._beginning(self.disk_path)

    @cached_property
    def memory_pattern(self):
        return self._beginning(self.memory)

    def _beginning(self, path):
        inner = [re.escape(one.removeprefix(path)) for one in self.others if one.startswith(f"{path}.")]
        longer = [one + end for one in inner for end in (r"\.", "$")]  # transformers strips no groups within a group
        return rf"^{re.escape(path)}(?=\.|$)" + (f"(?!{'|'.join(longer)})" if longer else "")


@dataclass(frozen=True)
class ReadPrefix(Prefix):
    """The same of names that are read, and not written."""

    is_written = False

    def to_disk(self, name):
        return name


@dataclass(frozen=True)
class OneTensor(Rule):
    """A tensor that has the same name on disk and in memory."""

    path: str

    @property
    def disk(self):
        return (self.path,)

    @property
    def memory(self):
        return self.path


class Transpose(OneTensor):
    """Stored [in, out] (GPT-2's Conv1D), used [out, in]; vectors stay."""

    turns = True

    def load(self, parts):
        return parts[0][0].t()

    def save(self, tensor):
        return [[tensor.t()]]


class Unsqueeze(OneTensor):
    """A vector that is stored as a row: [1, n] on disk, [n] in memory. Its rank tells the side, so vectors pass."""

    keeps_name = False

    def load(self, parts):
        tensor = parts[0][0]
        return tensor.squeeze(0) if tensor.dim() == 2 else tensor

    def save(self, tensor):
        return [[tensor.unsqueeze(0)]]


class Reorder(Rule):
    """The same matrix with its rows in another order; `transposed` ones turn on every backend.

    In memory it is called `<name>_packed`: a state dict must tell by its names which order it has.
    """

    needs_packing = True

    @property
    def disk(self):
        return (self.path,)

    @property
    def memory(self):
        return packed_name(self.path)

    def for_backend(self, packed):
        if packed:
            return self
        return Transpose(self.path) if self.transposed else None

    def load(self, parts):
        tensor = parts[0][0]
        return self.pack(tensor.t() if self.transposed else tensor)

    def save(self, tensor):
        rows = self.unpack(tensor)
        return [[rows.t() if self.transposed else rows]]


@dataclass(frozen=True)
class ReorderQKV(Reorder):
    """Rows in `groups` equal blocks of `parts` on disk (1: [q | k | v]), grouped per KV head in memory."""

    path: str
    parts: tuple
    groups: int
    queries: int
    head_dim: int
    transposed: bool = False

    def pack(self, rows):
        units = self.queries + 2  # one KV head's share of the rows, in heads
        heads = rows.unflatten(0, (self.groups, -1, self.head_dim))
        per_block = heads.shape[1] // units
        sizes = [self._share(part) * per_block for part in self.parts]
        blocks = dict(zip(self.parts, heads.split(sizes, dim=1), strict=True))
        grouped = [blocks[part].unflatten(1, (per_block, self._share(part))).flatten(0, 1) for part in ("q", "k", "v")]
        return torch.cat(grouped, dim=1).flatten(0, 2)

    def unpack(self, rows):
        grouped = rows.unflatten(0, (self.groups, -1, self.queries + 2, self.head_dim))
        split = grouped.split([self._share(part) for part in "qkv"], dim=2)
        parts = {part: block.flatten(1, 2) for part, block in zip("qkv", split, strict=True)}
        return torch.cat([parts[part] for part in self.parts], dim=1).flatten(0, 2)

    def _share(self, part):
        return self.queries if part == "q" else 1


@dataclass(frozen=True)
class ReorderGateUp(Reorder):
    """Rows in `groups` equal blocks of `order` on disk, interleaved [g_0 u_0 g_1 u_1 ...] in memory."""

    path: str
    groups: int = 1
    transposed: bool = False
    order: tuple = ("gate", "up")

    def pack(self, rows):
        blocks = rows.unflatten(0, (self.groups, 2, -1))
        return self._in_order(blocks, 1).transpose(1, 2).flatten(0, 2)

    def unpack(self, rows):
        blocks = rows.unflatten(0, (self.groups, -1, 2)).transpose(1, 2)
        return self._in_order(blocks, 1).flatten(0, 2)

    def _in_order(self, blocks, dim):
        return blocks if self.order == ("gate", "up") else blocks.flip(dim)


def packed_name(fused):
    """What a matrix is called in memory that is stored fused in another order."""
    return f"{fused}_packed"


def join(path, name):
    return f"{path}.{name}" if path else name
