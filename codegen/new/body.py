"""A spec in the making: sections as plain data, and why single keys are uncertain."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, cast

from codegen.language.bare import bare_key

Path = tuple[Any, ...]


@dataclass
class Body:
    """The sections of a draft. `marks` say why a key is uncertain; `certain` keys were seen and bear no mark."""

    content: dict[str, Any]
    marks: dict[Path, str] = field(default_factory=dict[Path, str])
    certain: set[Path] = field(default_factory=set[Path])

    @classmethod
    def copied(cls, content: Mapping[str, Any]) -> "Body":
        return cls(deepcopy(dict(content)))

    def get(self, *path: Any) -> Any:
        """What stands at a path; None where nothing does."""
        found: Any = self.content
        for part in path:
            if isinstance(found, dict):
                found = cast("dict[Any, Any]", found).get(part)
            elif isinstance(found, list) and isinstance(part, int) and part < len(cast("list[Any]", found)):
                found = cast("list[Any]", found)[part]
            else:
                return None
        return found

    def section(self, *path: Any) -> dict[str, Any]:
        """A copy of a section, a bare word written out; empty where there is none."""
        found = self.get(*path)
        if isinstance(found, dict):
            return dict(cast("dict[str, Any]", found))
        return {} if found is None or isinstance(found, bool) else {bare_key(path[-1]): found}

    def listed(self, *path: Any) -> list[Any]:
        """A copy of what may be one thing or a list of them; empty where there is nothing."""
        found = self.get(*path)
        if isinstance(found, list):
            return list(cast("list[Any]", found))
        return [] if found is None else [found]

    def put(self, value: Any, *path: Any, doubt: str | None = None) -> None:
        """Write a key: seen, or uncertain for a reason. A bare word on the way becomes its `kind`."""
        found = self.content
        for part in path[:-1]:
            inner = found.get(part)
            if not isinstance(inner, dict):
                inner = {} if inner is None or isinstance(inner, bool) else {bare_key(part): inner}
                found[part] = inner
            found = cast("dict[Any, Any]", inner)
        found[path[-1]] = value
        self.forget(path)
        if doubt is None:
            self.certain.add(path)
        else:
            self.marks[path] = doubt

    def drop(self, *path: Any) -> None:
        """Remove a key, and mappings that it leaves empty."""
        self.forget(path)
        *above, last = path
        parent = self.get(*above) if above else self.content
        if isinstance(parent, dict):
            cast("dict[Any, Any]", parent).pop(last, None)
        elif isinstance(parent, list) and isinstance(last, int) and last < len(cast("list[Any]", parent)):
            cast("list[Any]", parent).pop(last)
        if above and not parent:
            self.drop(*above)

    def tidy(self) -> None:
        """Sections with nothing but a kind as that word, lists of one overlay as the overlay."""
        for name, value in self.content.items():
            if isinstance(value, dict) and name in ("norm", "attention", "mlp"):
                section = cast("dict[str, Any]", value)
                self.content[name] = section["kind"] if section.keys() == {"kind"} else section
            elif isinstance(value, list) and name in ("layers", "variants"):
                entries = cast("list[Any]", value)
                if len(entries) == 1:
                    self.content[name] = entries[0]
                    self.marks = {_unlisted(name, path): why for path, why in self.marks.items()}

    def forget(self, path: Path) -> None:
        """Take back what was said about a key and those below it."""
        self.marks = {known: why for known, why in self.marks.items() if known[: len(path)] != path}
        self.certain = {known for known in self.certain if known[: len(path)] != path}

    def leaves(self) -> Iterator[tuple[Path, Any]]:
        """Every written key with its value; lists of words are values."""
        yield from _leaves((), self.content)

    def is_settled(self, path: Path) -> bool:
        """Whether the key, or one around it, was seen or is marked."""
        return any(path[:end] in self.certain or path[:end] in self.marks for end in range(1, len(path) + 1))


def _unlisted(name: str, path: Path) -> Path:
    return (name, *path[2:]) if path[:2] == (name, 0) else path


def _leaves(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for name, child in cast("dict[Any, Any]", value).items():
            yield from _leaves((*path, name), child)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in cast("list[Any]", value)):
        for index, child in enumerate(cast("list[Any]", value)):
            yield from _leaves((*path, index), child)
    elif path:
        yield path, value
