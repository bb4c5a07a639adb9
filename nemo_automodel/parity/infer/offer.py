"""One change of a spec that a search may try."""

from dataclasses import dataclass, replace
from typing import Any

from nemo_automodel.parity.mutant import Data, Path, put

NEEDED = -1  # tier of the few changes that the stop calls for before all others
FITTED, DELETED, SAID, READ, OFFERED, REMADE = range(6)  # tiers: by a run; of the draft; by others; ...
KINDS = "kinds"  # of layers: precedes their names in a path
FITS = 1000  # counts for more than any number of specs
LIKELY = 900  # the same, of what is still to be tried one by one


@dataclass(frozen=True)
class Offer:
    """One change: values at paths. only: it concerns some layers or variants. tier: where it comes from, the likeliest
    first. count: how many specs say so. together: changes that show only so, which no other one joins."""

    puts: tuple[tuple[Path, Any], ...]
    tier: int
    only: bool = False
    count: int = 0
    mutant: Data | None = None
    said: str = ""
    together: bool = False

    def made(self, data: Data) -> Data:
        if self.mutant is not None:
            return self.mutant
        for path, value in self.puts:
            data = put(data, path, value)
        return data

    def within(self, section: str) -> "Offer":
        """The same below a section."""
        return replace(self, puts=tuple(((section, *path), value) for path, value in self.puts))

    def of_all(self) -> "Offer | None":
        """The same of all layers, where it is said of those of one kind."""
        puts = [(path[path.index(KINDS) + 2 :], value) for path, value in self.puts if KINDS in path]
        whole = self.mutant is None and len(puts) == len(self.puts) and all(path for path, _ in puts)
        return replace(self, puts=tuple(puts), only=False) if whole and puts else None

    def fits(self, other: "Offer") -> bool:
        """Whether nothing of another one would lie by its name within a list of this one."""
        pairs = (
            (value, inner[len(path) :]) for path, value in self.puts for inner, _ in other.puts if _below(inner, path)
        )
        return not any(_is_in_list(value, rest) for value, rest in pairs)

    def with_(self, other: "Offer") -> "Offer":
        """Both at once; what both put first, an overlay that they are in, once."""
        more = [one for one in other.puts if one not in self.puts]
        return Offer((*self.puts, *more), max(self.tier, other.tier), self.only or other.only)

    def __str__(self) -> str:
        return self.said or "; ".join(f"{'.'.join(map(str, path))}: {value}" for path, value in self.puts)


def _below(inner: Path, path: Path) -> bool:
    return inner[: len(path)] == path != inner


def _is_in_list(value: Any, rest: Path) -> bool:
    """Whether a list stands where a path goes on by a name."""
    for step in rest:
        if isinstance(value, list) and type(step) is not int:
            return True
        value = value.get(step) if isinstance(value, dict) else None
    return False
