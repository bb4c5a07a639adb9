"""What a run found and did, for people and for programs.

The JSON form has these keys, always all of them:

- `command`, `exit_code`, `clean` (nothing to change, no conflict, no problem)
- `changes`: `path` and `action` (create, update, delete, edit)
- `conflicts`: `path`, `reason`, `cure`, `diff`
- `problems`: `file`, `line`, `column`, `key`, `message`, `cure`
- `notes`: sentences
"""

import json
from dataclasses import dataclass, field
from typing import Any

from codegen.errors import Problem
from codegen.run.build import Made
from codegen.write.changes import Change, Conflict
from codegen.write.ownership import unified

_PAST = {"create": "created", "update": "updated", "delete": "deleted", "edit": "edited"}


@dataclass
class Report:
    """The outcome of `apply`, `check` or `diff`."""

    command: str
    changes: list[Change] = field(default_factory=list[Change])
    conflicts: list[Conflict] = field(default_factory=list[Conflict])
    problems: list[Problem] = field(default_factory=list[Problem])
    notes: list[str] = field(default_factory=list[str])
    made: list[Made] = field(default_factory=list[Made])
    made: list[Made] = field(default_factory=list[Made])
    written: bool = False

    @property
    def clean(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.changes or self.conflicts or self.problems)

    def exit_code(self, *, fail_on_change: bool) -> int:
        """2 for problems, 3 for conflicts, 1 for changes if they count as failure, else 0."""
        if self.problems:
            return 2
        if self.conflicts:
            return 3
        return 1 if self.changes and fail_on_change else 0

    def as_json(self, exit_code: int) -> str:
        """The JSON form, on one line."""
        return json.dumps(
            {
                "command": self.command,
                "exit_code": exit_code,
                "clean": self.clean,
                "changes": [{"path": change.path, "action": change.action} for change in self.changes],
                "conflicts": [vars(conflict) for conflict in self.conflicts],
                "problems": list(map(problem_as_dict, self.problems)),
                "notes": self.notes,
            }
        )

    def lines(self) -> list[str]:
        """What stdout shows: the changes, and a summary."""
        if self.problems or self.conflicts:
            return []
        if not self.changes:
            return ["clean"]
        verbs = _PAST if self.written else {action: f"would be {past}" for action, past in _PAST.items()}
        listed = [f"{change.path}: {verbs[change.action]}" for change in self.changes]
        return [*listed, _summary(len(listed), self.written)]

    def error_lines(self) -> list[str]:
        """What stderr shows: notes, problems, conflicts with their diffs."""
        lines = [f"note: {note}" for note in self.notes]
        lines += map(str, self.problems)
        for conflict in self.conflicts:
            lines.append(f"{conflict.path}: {conflict.reason}; {conflict.cure}")
            lines += conflict.diff.splitlines()
        if self.problems or self.conflicts:
            count = len(self.problems) or len(self.conflicts)
            kind = "problem" if self.problems else "conflict"
            lines.append(f"{count} {kind}{'s' if count > 1 else ''}; nothing was written")
        return lines

    def diff(self) -> str:
        """Unified diffs of all changes, as `git apply` takes them."""
        return "".join(
            unified(
                change.old,
                change.new,
                "/dev/null" if change.old is None else f"a/{change.path}",
                "/dev/null" if change.new is None else f"b/{change.path}",
            )
            for change in self.changes
        )


def problem_as_dict(problem: Problem) -> dict[str, Any]:
    """The JSON form of one problem."""
    where = problem.location
    return {
        "file": where.file,
        "line": where.line,
        "column": where.column,
        "key": problem.path,
        "message": problem.message,
        "cure": problem.cure,
    }


def _summary(count: int, written: bool) -> str:
    files = f"{count} file{'s' if count > 1 else ''}"
    return f"{files} changed" if written else f"{files} out of date: run `codegen apply`"
