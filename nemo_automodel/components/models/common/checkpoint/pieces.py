"""Names in which several words differ on disk and in memory, and where what one is called the other is called there."""

import re
from dataclasses import dataclass
from functools import cached_property

from transformers.core_model_loading import WeightRenaming

from nemo_automodel.components.models.common.checkpoint.rules import Renaming


@dataclass(frozen=True)
class Pieces(Renaming):
    """Whole dotted pieces of names, on disk -> in memory, all at once: what one has become no other changes.

    Where two pieces would fit, the longer one does. Raises ValueError for names that have no way back.
    """

    names: tuple

    def __post_init__(self):
        memory = [one for _, one in self.names]
        if twice := sorted({one for one in memory if memory.count(one) > 1}):
            raise ValueError(f"{', '.join(twice)}: two pieces of names on disk become one in memory")

    @property
    def disk(self):
        return tuple(disk for disk, _ in self.names)

    @property
    def memory(self):
        return tuple(memory for _, memory in self.names)

    def to_memory(self, name):
        return self._replaced(name, dict(self.names), self._on_disk)

    def to_disk(self, name):
        return self._replaced(name, {memory: disk for disk, memory in self.names}, self._in_memory)

    @cached_property
    def _on_disk(self):
        return _whole(self.disk)

    @cached_property
    def _in_memory(self):
        return _whole(self.memory)

    def _replaced(self, name, table, pattern):
        scope = re.match(self.scope, name)
        if scope is None:
            return name
        return scope[0] + pattern.sub(lambda found: table[found[0]], name[scope.end() :])

    def conversion(self):
        return WeightPieces(self)


class WeightPieces(WeightRenaming):
    """The same as an entry of transformers' loader."""

    def __init__(self, rule, reversed_=False):
        super().__init__("|".join(rule.disk), "")
        self.rule, self.reversed = rule, reversed_

    def rename_source_key(self, source_key):
        renamed = (self.rule.to_disk if self.reversed else self.rule.to_memory)(source_key)
        if renamed == source_key:
            return source_key, None
        self._was_used = True
        return renamed, self.source_patterns[0]

    def reverse_transform(self):
        return WeightPieces(self.rule, not self.reversed)


def _whole(pieces):
    """A pattern of these pieces at whole dotted names, the longest first."""
    words = "|".join(map(re.escape, sorted(pieces, key=len, reverse=True)))
    return re.compile(rf"(?<![^.])(?:{words})(?![^.])")
