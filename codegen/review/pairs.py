"""Which specs differ between two trees: new, removed, renamed or changed ones."""

from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path

from codegen.frozen import Frozen
from codegen.places import places

ALIKE = 0.7  # of a text that has to be the same for a spec to count as renamed


class Pair(Frozen):
    """A spec by its name in each tree; None where there is none."""

    before: str | None
    after: str | None

    @property
    def name(self) -> str:
        return self.after or self.before or ""

    @property
    def kind(self) -> str:
        """What happened to it, in a word or two."""
        if self.before is None or self.after is None:
            return "new" if self.before is None else "removed"
        return "changed" if self.before == self.after else f"renamed from `{self.before}`"


def pairs(before: Path, after: Path) -> list[Pair]:
    """Specs whose files differ, by name."""
    old, new = texts(before), texts(after)
    changed = [Pair(name, name) for name in old.keys() & new.keys() if old[name] != new[name]]
    gone, come = sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())
    renamed = list(_renamed({name: old[name] for name in gone}, {name: new[name] for name in come}))
    gone = [name for name in gone if name not in {pair.before for pair in renamed}]
    come = [name for name in come if name not in {pair.after for pair in renamed}]
    found = [*changed, *renamed, *(Pair(name, None) for name in gone), *(Pair(None, name) for name in come)]
    return sorted(found, key=lambda pair: pair.name)


def _renamed(gone: dict[str, str], come: dict[str, str]) -> Iterator[Pair]:
    """What left under one name and came under another, each once, the most alike first."""
    alike = [(_likeness(gone[old], come[new]), old, new) for old in gone for new in come]
    taken: set[str] = set()
    for likeness, old, new in sorted(alike, key=lambda one: (-one[0], one[1:])):
        if likeness >= ALIKE and not taken & {f"-{old}", f"+{new}"}:
            taken |= {f"-{old}", f"+{new}"}
            yield Pair(old, new)


def _likeness(one: str, other: str) -> float:
    """Of two specs, apart from their names; a name alone is alike to nothing."""
    kept = ["\n".join(line for line in text.splitlines() if _says(line)) for text in (one, other)]
    return SequenceMatcher(None, *kept, autojunk=False).ratio() if all(kept) else 0.0


def _says(line: str) -> bool:
    return bool(line.strip()) and not line.startswith(("name:", "#"))


def texts(root: Path) -> dict[str, str]:
    """The specs of a tree."""
    files = sorted((root / places(str(root)).specs).glob("*.yaml"))
    return {file.stem: file.read_text("utf-8", "replace") for file in files if file.is_file()}
