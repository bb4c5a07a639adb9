"""One matrix on disk whose rows are several tensors in memory, and rows that lie as rotary pairs on disk."""

from dataclasses import dataclass

from nemo_automodel.components.models.common.checkpoint.rules import Rule


@dataclass(frozen=True)
class RowsOf(Rule):
    """Block `index` of `count` equal blocks of the rows of a tensor on disk; the others are other tensors in memory.

    head_dim: rows of a head where those that turn together lie side by side on disk (2i, 2i + 1), and half a head apart
    in memory (i, i + head_dim / 2); 0: they lie alike. `save` gives this block alone, which the adapter joins to those
    beside it.
    """

    path: str
    memory: str
    index: int = 0
    count: int = 1
    head_dim: int = 0

    @property
    def disk(self):
        return (self.path,)

    @property
    def is_shared(self):
        return self.count > 1

    def load(self, parts):
        rows = parts[0][0].chunk(self.count)[self.index]
        return rows.unflatten(0, (-1, self.head_dim // 2, 2)).transpose(1, 2).flatten(0, 2) if self.head_dim else rows

    def save(self, tensor):
        if self.head_dim:
            tensor = tensor.unflatten(0, (-1, 2, self.head_dim // 2)).transpose(1, 2).flatten(0, 2)
        return [[tensor]]
