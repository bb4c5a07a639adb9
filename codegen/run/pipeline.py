"""The one path behind `apply`, `check` and `diff`:

discover -> load -> check -> plan -> render -> format -> verify -> diff -> commit -> report

What differs is only whether the changes found are committed.
"""

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import field

from codegen.artifacts import IndexRow
from codegen.edits import docs_index, registry
from codegen.errors import ConflictError, Location, Problem, SpecError
from codegen.frozen import Frozen
from codegen.layout import PROJECT, STATE_DIR
from codegen.memory import formatted, last_run
from codegen.memory.last_run import Fact
from codegen.memory.store import Store
from codegen.places import places
from codegen.run import sources
from codegen.run.build import Generator, Made, Memory, RealGenerator, build, show_progress
from codegen.run.discover import discover
from codegen.run.report import Report
from codegen.run.tree import Tree
from codegen.write.changes import Change, Conflict
from codegen.write.commit import commit, recover
from codegen.write.journal import BACKWARD, FORWARD
from codegen.write.lock import locked, state_dir
from codegen.write.ownership import settle, settle_orphan
from codegen.write.paths import check_output, check_target


class Options(Frozen):
    """How to run. `cache`: whether results of earlier runs may be used; never so in continuous integration."""

    root: str
    cache: bool = True
    generator: Generator = field(default_factory=RealGenerator)


def apply(options: Options) -> Report:
    """Bring the tree to what the specs say, entirely or not at all.

    Raises:
        WriteError: the disk refuses; the tree is as it was.
        ConflictError: a file was changed while this ran, or a path is unsafe; the tree is as it was.
    """
    with locked(os.path.realpath(options.root)) as state:
        notes = recover(os.path.realpath(options.root), state)
        run = _Run(options, "apply")
        report = run.evaluate()
        committed: dict[str, Fact] = {}
        if report.changes and not (report.problems or report.conflicts):
            committed = commit(run.tree.root, state, report.changes)
            report.written = True
        if (report.written or report.clean) and not report.notes:
            run.remember(committed)
        report.notes[:0] = notes
        return report


def check(options: Options, command: str = "check") -> Report:
    """Find what `apply` would do, and do nothing; `diff` is the same with another report."""
    run = _Run(options, command)
    report = run.evaluate()
    for name in (FORWARD, BACKWARD):
        if os.path.exists(run.tree.absolute(f"{STATE_DIR}/{name}")):
            report.notes.append("an interrupted `codegen apply` left a journal: run `codegen apply` to finish it")
    if report.clean and not report.notes:
        run.remember({})
    return report


class _Run:
    """One evaluation of the tree, with what it saw."""

    def __init__(self, options: Options, command: str) -> None:
        self.options, self.command = options, command
        root = os.path.realpath(options.root)
        since = _clock(root) if options.cache and not last_run.in_ci() else None
        self.cache = since is not None
        self.tree = Tree(root, since, last_run.known(root)) if since is not None else Tree(root, sys.maxsize)
        self.tree.read(PROJECT)  # so that the next run sees whether its table has changed
        self.places = places(root)
        self.sources = sources.generator_files() if self.cache else {}

    def evaluate(self) -> Report:
        """Everything up to the commit."""
        report = Report(self.command)
        found = discover(self.tree)
        folder = os.path.join(self.tree.root, STATE_DIR, "cache") if self.cache else None
        key = f"{sources.generator_digest(self.sources)} {self.places}" if self.cache else ""
        memory = Memory(Store(folder and os.path.join(folder, "specs")), key)
        formats = formatted.use(Store(folder and os.path.join(folder, "formatted")))
        built = build(self.tree, found, memory, self.options.generator, show_progress)
        formats.flush()
        memory.store.prune(built.used, spare=4 * len(found.specs) + 64)
        report.made, report.problems = built.made, built.problems
        if not report.problems:
            self._compare(built.made, report)
        return report

    def _compare(self, made: list[Made], report: Report) -> None:
        """Fill in changes and conflicts."""
        outcomes = [self._settle(item, path, digest) for item in made for path, digest in item.files.items()]
        planned = {path for item in made for path in item.files}
        for path in self.tree.outputs():
            if path not in planned:
                outcomes.append(settle_orphan(path, self.tree.read(path) or b"", self.tree.files[path]))
        deleted = {item.path for item in outcomes if isinstance(item, Change) and item.action == "delete"}
        outcomes += self._edits(made, planned, deleted, report)
        report.changes = [item for item in outcomes if isinstance(item, Change)]
        report.conflicts = [item for item in outcomes if isinstance(item, Conflict)]

    def _settle(self, made: Made, path: str, digest: str) -> Change | Conflict | None:
        """What has to happen to one planned file."""
        if self.tree.digest(path) == digest:
            return None
        present = self.tree.read(path)
        try:
            check_output(path, self.places.outputs)
            check_target(self.tree.root, path)
        except ConflictError as error:
            return Conflict(path, str(error).removeprefix(f"{path}: "), "nothing was written")
        return settle(made.artifact(path), present, self.tree.files[path])

    def _edits(
        self, made: list[Made], planned: set[str], deleted: set[str], report: Report
    ) -> list[Change | Conflict | None]:
        def is_gone(path: str) -> bool:
            missing = path not in planned and not self.tree.exists(path)
            return path in deleted or (missing and not self.places.shared)

        entries = [entry for item in made for entry in item.registry]
        rows = [item.index_row for item in made if item.index_row is not None]
        edits: list[tuple[str, bool, Callable[[bytes], bytes]]] = [
            (self.places.registry, bool(entries), lambda data: registry.updated(data, entries, is_gone, self.places))
        ]
        for path in self.places.indexes:
            here = [row for row in rows if row.index == path]
            edits.append((path, bool(here), _row_edit(path, here, is_gone)))
        return [self._edit(path, needed, edit, report) for path, needed, edit in edits]

    def _edit(
        self, path: str, needed: bool, edit: Callable[[bytes], bytes], report: Report
    ) -> Change | Conflict | None:
        """One edit of a file that people own. Without the registry nobody finds the models; another page that is not
        there is worth a note."""
        old = self.tree.read(path)
        if old is None:
            if needed and path == self.places.registry:
                message, cure = "is missing, and the models need entries in it", f"restore it: git checkout -- {path}"
                report.problems.append(Problem(Location(path, 1, 1), "file", message, cure))
            elif needed:
                report.notes.append(f"there is no {path}, so no entries were made in it")
            return None
        try:
            check_target(self.tree.root, path)
            new = edit(old)
        except ConflictError as error:
            return Conflict(path, str(error).removeprefix(f"{path}: "), "nothing was written")
        except SpecError as error:
            report.problems += error.problems
            return None
        return None if new == old else Change(path, "edit", old, new, self.tree.files[path])

    def remember(self, committed: dict[str, Fact]) -> None:
        """Let the next run see that nothing has changed since this one."""
        if self.cache:
            with suppress(OSError):  # a full disk costs the next run some time, no more
                self._remember(committed)

    def _remember(self, committed: dict[str, Fact]) -> None:
        root, files, listed = self.tree.root, self.tree.facts | committed, self.tree
        if committed:
            listed = _settled_listing(self.tree)
            known = {path for path, fact in files.items() if fact is not None}
            if not known.issuperset(listed.outputs(listed)):
                return
        folders = {self.places.specs: self.tree.folders.get(self.places.specs)} | listed.folders
        sources_settled = all(max(seen[0], seen[3]) < self.tree.since for seen in self.sources.values())
        if self.tree.settled and listed.settled and sources_settled:
            ours: dict[str, Fact] = {path: (*signature, "-") for path, signature in self.sources.items()}
            last_run.save(root, ours | files, folders)


def _settled_listing(before: Tree) -> Tree:
    """The output folders after a commit, listed in a later tick of the file system's clock than they changed in."""
    for attempt in range(20):
        time.sleep(0.001 * (attempt > 0))
        listed = Tree(before.root, last_run.now(before.root))
        list(listed.outputs(before))
        if listed.settled:
            return listed
    return Tree(before.root, 0)


def _row_edit(path: str, rows: list[IndexRow], is_gone: Callable[[str], bool]) -> Callable[[bytes], bytes]:
    return lambda data: docs_index.updated(data, path, rows, is_gone)


def _clock(root: str) -> int | None:
    """The time before which nothing was changed unseen; None where no state can be kept, as in a read-only tree."""
    try:
        state_dir(root)
        return last_run.now(root)
    except OSError:
        return None
