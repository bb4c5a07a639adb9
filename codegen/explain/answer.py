"""What `codegen explain` tells."""

from collections.abc import Iterator

from codegen.frozen import Frozen


class Field(Frozen):
    """A key of the language, and what a spec does with it.

    Attributes:
        words: what it may hold, for a choice.
        default: what is tried in turn where nothing is written; `taken` is what that comes to in this spec.
        value, where: what is written, and its place; None where nothing is.
        elsewhere: overlays in which it is written besides, with their places.
    """

    path: str
    type: str
    doc: str
    words: tuple[str, ...] = ()
    default: str | None = None
    taken: str | None = None
    value: str | None = None
    where: str | None = None
    elsewhere: tuple[str, ...] = ()


class Change(Frozen):
    """Lines of a generated file, counted from one with its header, that would differ.

    `last` is `first` - 1 where lines would be added only; `there` is what stands in the file, `instead` what would.
    """

    path: str
    first: int
    last: int
    there: tuple[str, ...]
    instead: tuple[str, ...]

    @property
    def place(self) -> str:
        if self.last < self.first:
            return f"{self.path}:{self.first} (added before)"
        return f"{self.path}:{self.first}" + (f"-{self.last}" if self.last > self.first else "")


class Explanation(Frozen):
    """One field with the lines that depend on it; or all written fields of a spec, with its files.

    Attributes:
        compared: the spec that the generated files were compared with; empty where they were not.
        refused: specs that could not be compared with, and why.
        lacking: what has no template yet, so that nothing is generated.
    """

    name: str
    spec: str
    fields: tuple[Field, ...]
    files: tuple[str, ...] = ()
    compared: str = ""
    changes: tuple[Change, ...] = ()
    refused: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    single: bool = False

    def __str__(self) -> str:
        return "\n".join(self._one() if self.single else self._all())

    def _all(self) -> Iterator[str]:
        rows = [(field.path, field.where or "", _short(field.value or ""), field.doc) for field in self.fields]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        for row in rows:
            yield "  ".join(f"{cell:{width}}" for cell, width in zip(row, (*widths, 0), strict=True)).rstrip()
        yield ""
        yield from self._files()

    def _files(self) -> Iterator[str]:
        if self.lacking:
            yield f"{self.spec} generates nothing: no template yet for {', '.join(self.lacking)}"
        else:
            yield f"{self.spec} generates"
            yield from (f"  {path}" for path in self.files)

    def _one(self) -> Iterator[str]:
        field = self.fields[0]
        yield f"{field.path} ({field.type}): {field.doc}"
        if field.words:
            yield f"  values: {', '.join(field.words)}"
        if field.default is not None:
            yield f"  default: {field.default}"
        if field.where is not None:
            yield f"  written at {field.where}: {field.value}"
        else:
            yield "  not written" + (f": {field.taken} is taken" if field.taken is not None else "")
        yield from (f"  written at {place}" for place in field.elsewhere)
        yield from (f"  refused {text}" for text in self.refused)
        if self.lacking:
            yield from self._files()
        elif not self.compared:
            yield "no other value could be compared with"
        elif not self.changes:
            yield f"no generated line differs from {self.compared}"
        else:
            yield f"generated lines that differ from {self.compared}"
            for change in self.changes:
                yield change.place
                yield from (f"  - {line}" for line in change.there)
                yield from (f"  + {line}" for line in change.instead)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
