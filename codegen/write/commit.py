"""All-or-nothing commit: stage, journal, rename.

A kill at any point leaves the old tree, the new tree, or a journal from which `recover` finishes. An error of the
disk (full, read-only) undoes what was done and leaves the old tree.
"""

import os
import shutil
import time
from collections.abc import Sequence

from codegen.errors import ConflictError
from codegen.memory import last_run
from codegen.memory.last_run import Fact, Signature
from codegen.places import places
from codegen.write import journal as journals
from codegen.write.changes import Change, WriteError, signature
from codegen.write.journal import BACKWARD, FORWARD, STAGE, Journal, Operation, Step
from codegen.write.paths import check_target


def recover(root: str, state: str) -> list[str]:
    """Finish, or finish undoing, an interrupted commit; call with the lock held.

    Returns:
        Notes for the person: what was finished, and files left alone because they were edited since.
    """
    for name, step, verb in ((BACKWARD, journals.backward, "undone"), (FORWARD, journals.forward, "finished")):
        path = os.path.join(state, name)
        try:
            journal = journals.read(path)
        except (ValueError, KeyError, TypeError) as error:
            os.unlink(path)
            return [f"the journal of an interrupted run was damaged ({error}) and is dropped; this run starts afresh"]
        if journal is not None:
            skipped = _replay(root, state, journal, step)
            _finish(root, state, journal, name)
            notes = [f"{path}: was edited after an interrupted run and is left as it is" for path in skipped]
            return [f"an interrupted run was {verb}", *notes]
    for leftover in (STAGE, f"{FORWARD}.tmp"):
        _clear(os.path.join(state, leftover))
    return []


def _clear(path: str) -> None:
    """Remove what an interrupted run left, or whatever else stands there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        os.unlink(path)


def commit(root: str, state: str, changes: Sequence[Change]) -> dict[str, Fact]:
    """Bring all changes to the disk, or none; call with the lock held and after `recover`.

    Returns:
        What the next run may rely on of each file, taken before it was in place.

    Raises:
        ConflictError: a target is unsafe, or was changed since it was read.
        WriteError: the disk refuses; the tree is as it was, or a later run makes it so.
    """
    for change in changes:
        check_target(root, change.path)
    try:
        journal, signatures = _stage(root, state, changes)
        for change in changes:
            _check_unchanged(root, change)
        journals.write(state, journal)
    except BaseException as error:
        _abandon(state)
        if isinstance(error, OSError):
            raise WriteError(f"{error}; the tree is as it was") from error
        raise
    try:
        for operation in journal.operations:
            journals.forward(root, state, operation, operation.old)
    except OSError as error:
        _undo(root, state, journal, error)
        raise WriteError(f"{error}; the tree is as it was") from error
    try:
        _finish(root, state, journal, FORWARD)
    except OSError as error:
        raise WriteError(f"{error}; the tree is as it should be, but run again to finish the commit") from error
    return _facts(root, journal, signatures)


def _facts(root: str, journal: Journal, staged: dict[str, Signature]) -> dict[str, Fact]:
    """What is known of every file: a rename keeps all of a signature but the change time."""
    placed: dict[str, Signature] = {}
    for path, seen in staged.items():
        try:
            now = signature(os.lstat(os.path.join(root, path)))
        except OSError:
            continue  # moved away since: the digest stays as the fact
        if now[:3] == seen[:3]:
            placed[path] = now
    since = _later(root, placed)
    return {operation.path: _fact(operation, placed, since) for operation in journal.operations}


def _later(root: str, signatures: dict[str, Signature]) -> int:
    """A time after the files were put in place, so that a change of them from now on has another time."""
    newest = max((max(mtime, ctime) for mtime, _, _, ctime in signatures.values()), default=0)
    for _ in range(20):
        stamp = last_run.now(root)
        if stamp > newest:
            return stamp
        time.sleep(0.001)
    return newest


def _abandon(state: str) -> None:
    """Forget what was staged; nothing of it is in place."""
    if os.path.exists(os.path.join(state, FORWARD)):
        os.unlink(os.path.join(state, FORWARD))
    shutil.rmtree(os.path.join(state, STAGE), ignore_errors=True)


def _fact(operation: Operation, signatures: dict[str, Signature], since: int) -> Fact:
    written = signatures.get(operation.path)
    if written is None or operation.new is None or max(written[0], written[3]) >= since:
        return operation.new
    return (*written, operation.new)


def _check_unchanged(root: str, change: Change) -> None:
    """By all but the change time, which a backup by a hard link moves."""
    try:
        present = signature(os.lstat(os.path.join(root, change.path)))[:3]
    except FileNotFoundError:
        present = None
    if present != (change.signature and change.signature[:3]):
        raise ConflictError(f"{change.path}: was changed while codegen ran; run it again")


def _stage(root: str, state: str, changes: Sequence[Change]) -> tuple[Journal, dict[str, Signature]]:
    stage = os.path.join(state, STAGE)
    os.mkdir(stage)
    operations: list[Operation] = []
    signatures: dict[str, Signature] = {}
    for number, change in enumerate(changes):
        target = os.path.join(root, change.path)
        staged = backup = None
        if change.new is not None:
            staged = str(number)
            signatures[change.path] = _stage_file(os.path.join(stage, staged), change.new, target)
        if change.old is not None:
            backup = f"{number}.old"
            _back_up(target, os.path.join(stage, backup))
        old, new = journals.content_digest(change.old), journals.content_digest(change.new)
        operations.append(Operation(change.path, old, new, staged, backup))
    journals.sync_all([os.path.join(stage, operation.staged) for operation in operations if operation.staged])
    journals.sync(stage)
    return Journal(tuple(operations), _missing_folders(root, changes)), signatures


def _stage_file(staged: str, data: bytes, target: str) -> Signature:
    with open(staged, "wb") as file:
        file.write(data)
    if os.path.exists(target):
        shutil.copymode(target, staged)
    return signature(os.stat(staged))


def _back_up(target: str, backup: str) -> None:
    try:
        os.link(target, backup)
    except OSError:  # a file system without hard links
        shutil.copy2(target, backup)


def _missing_folders(root: str, changes: Sequence[Change]) -> tuple[str, ...]:
    missing: set[str] = set()
    for change in changes:
        folder = os.path.dirname(change.path)
        while change.new is not None and folder and not os.path.isdir(os.path.join(root, folder)):
            missing.add(folder)
            folder = os.path.dirname(folder)
    return tuple(sorted(missing))


def _replay(root: str, state: str, journal: Journal, step: Step) -> list[str]:
    """Run every operation against what is on disk; returns the paths that were edited since and so skipped."""
    skipped: list[str] = []
    for operation in journal.operations:
        check_target(root, operation.path)
        present = journals.digest_on_disk(root, operation.path)
        if not step(root, state, operation, present):
            skipped.append(operation.path)
    return skipped


def _undo(root: str, state: str, journal: Journal, cause: OSError) -> None:
    try:
        os.replace(os.path.join(state, FORWARD), os.path.join(state, BACKWARD))  # a rename needs no space on the disk
        _replay(root, state, journal, journals.backward)
        _finish(root, state, journal, BACKWARD)
    except OSError as error:
        raise WriteError(f"{cause}; and then {error}: run again, when the disk lets you, to finish") from error


def _finish(root: str, state: str, journal: Journal, name: str) -> None:
    """Drop emptied folders, wait for the disk, then drop the journal: the commit is over."""
    if name == FORWARD:
        _drop_emptied(root, journal)
    else:
        for folder in reversed(journal.folders):
            _drop_folder(os.path.join(root, folder))
    touched = {os.path.dirname(os.path.join(root, operation.path)) for operation in journal.operations}
    journals.sync_all([folder for folder in sorted(touched) if os.path.isdir(folder)])
    os.unlink(os.path.join(state, name))
    journals.sync(state)
    shutil.rmtree(os.path.join(state, STAGE), ignore_errors=True)


def _drop_emptied(root: str, journal: Journal) -> None:
    tops = places(root).outputs
    deleted = [operation.path for operation in journal.operations if operation.new is None]
    for path in deleted:
        folder = os.path.dirname(path)
        while folder not in tops and any(folder.startswith(f"{top}/") for top in tops):
            if not _drop_folder(os.path.join(root, folder)):
                break
            folder = os.path.dirname(folder)


def _drop_folder(folder: str) -> bool:
    """Remove a folder that holds nothing, or nothing but compiled Python; False if it stays."""
    if not os.path.isdir(folder):
        return True
    names = os.listdir(folder)
    if set(names) - {"__pycache__"}:
        return False
    cache = os.path.join(folder, "__pycache__")
    if names and (os.path.islink(cache) or any(not name.endswith(".pyc") for name in os.listdir(cache))):
        return False
    shutil.rmtree(folder)
    return True
