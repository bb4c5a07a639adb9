"""The text of `codegen/config_fields.json`: one config class a line, and how it differs in the oldest release."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]
RELEASES = "releases"  # the first line: {"newest": ..., "oldest": ..., "types": ...}; every other is a class
OLDEST = "oldest"  # in a row: what is otherwise there; null where the class is not there at all


@dataclass(frozen=True)
class Table:
    """The rows of the newest release, and those of the oldest for the same classes.

    types: model types whose row is that of a class with another type (the text of a larger model).
    """

    newest: str
    oldest: str
    types: Mapping[str, str]
    rows: Mapping[str, Row]
    oldest_given: Mapping[str, Row]

    @classmethod
    def read(cls, path: Path) -> "Table":
        content = json.loads(path.read_text(encoding="utf-8"))
        about = content.pop(RELEASES)
        rows = {name: {key: value for key, value in row.items() if key != OLDEST} for name, row in content.items()}
        given = {
            name: older(rows[name], row.get(OLDEST, {}))
            for name, row in content.items()
            if row.get(OLDEST, {}) is not None
        }
        return cls(about["newest"], about["oldest"], about["types"], rows, given)

    def oldest_rows(self) -> dict[str, Row]:
        """The rows of the oldest release, of the classes that are in the table."""
        return {name: row for name, row in self.oldest_given.items() if name in self.rows}

    def text(self) -> str:
        """One class a line, so that the generator parses only what it needs."""
        about = {"newest": self.newest, "oldest": self.oldest, "types": dict(self.types)}
        lines = [_line(RELEASES, about), *(_line(name, self._row(name)) for name in sorted(self.rows))]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    def _row(self, name: str) -> Row:
        row, old = self.rows[name], self.oldest_given.get(name)
        if old is None:
            return {**row, OLDEST: None}
        changed = difference(row, old)
        return {**row, OLDEST: changed} if changed else row


def difference(row: Row, old: Row) -> Row:
    """What is otherwise in the older row: {key: value there}, fields one by one; "absent" are those that it lacks."""
    parts = sorted({*row, *old} - {"fields"})
    found: Row = {part: old.get(part) for part in parts if row.get(part) != old.get(part)}
    new, there = row["fields"], old["fields"]
    changed = {name: value for name, value in sorted(there.items()) if name not in new or not same(new[name], value)}
    absent = sorted(new.keys() - there.keys())
    return found | ({"fields": changed} if changed else {}) | ({"absent": absent} if absent else {})


def older(row: Row, changed: Row) -> Row:
    """The row of the older release: the inverse of `difference`."""
    fields = {name: value for name, value in row["fields"].items() if name not in changed.get("absent", ())}
    parts = {part: value for part, value in changed.items() if part not in ("fields", "absent")}
    found = {**row, **parts, "fields": {**fields, **changed.get("fields", {})}}
    return {part: value for part, value in found.items() if value is not None}


def same(one: Any, other: Any) -> bool:
    """Whether two values are written alike: 1 and 1.0 and true are three values, and NaN is one."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _line(name: str, row: Row) -> str:
    return f"{json.dumps(name)}:{json.dumps(row, separators=(',', ':'))}"
