"""What git knows: the base of a change, the specs as they were there, and which files differ from it."""

import io
import subprocess
from collections.abc import Iterator
from pathlib import Path

from codegen.errors import CodegenError
from codegen.frozen import Frozen
from codegen.layout import PROJECT
from codegen.places import places

DEFAULTS = ("origin/main", "origin/master", "main", "master")


class Base(Frozen):
    """A commit that a tree is compared with, and in words how it was found."""

    root: Path
    commit: str
    found: str


class Difference(Frozen):
    """A file that differs from the base; a binary one has no lines."""

    path: str
    added: int
    removed: int


def base(root: Path, revision: str | None) -> Base:
    """The commit that is named, or where the tree left the default branch.

    Raises:
        CodegenError: git is not there, this is no repository, or there is no such commit.
    """
    if _git(root, "rev-parse", "--is-inside-work-tree") is None:
        raise CodegenError(f"{root}: is no git repository, so there is nothing to compare with; run it inside one")
    if revision is not None:
        return Base(root, _commit(root, revision), f"`{revision}`")
    branch = _default(root)
    merge = _git(root, "merge-base", "HEAD", branch)
    if merge is None:
        cure = "name a base with --base REV, or in a shallow clone: git fetch --unshallow"
        raise CodegenError(f"HEAD and {branch} have no common commit here; {cure}")
    return Base(root, merge.strip(), f"where this left `{branch}`")


def specs(base: Base, folder: Path) -> None:
    """Write the specs as they were, below a folder, which has the places that the tree has now."""
    where = places(str(base.root)).specs
    (folder / where).mkdir(parents=True)
    if (base.root / PROJECT).is_file():
        (folder / PROJECT).write_bytes((base.root / PROJECT).read_bytes())
    for name, content in _files(base, where):
        (folder / where / name).write_bytes(content)


def _files(base: Base, folder: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files right in a folder of the base; of none where there is no such folder. They are read
    as they are stored: `git archive` would leave out what attributes keep from releases."""
    listed = _run(base.root, "ls-tree", "-z", base.commit, f"{folder}/").stdout.decode("utf-8", "replace")
    entries = [(*head.split(), path) for head, _, path in (line.partition("\t") for line in listed.split("\0")) if path]
    blobs = [(oid, Path(path).name) for mode, _, oid, path in entries if mode.startswith("100")]
    stream = io.BytesIO(_run(base.root, "cat-file", "--batch", given="".join(f"{oid}\n" for oid, _ in blobs)).stdout)
    for _, name in blobs:
        size = int(stream.readline().split()[-1])
        yield name, stream.read(size + 1)[:-1]  # a newline stands behind each


def differences(base: Base, paths: tuple[str, ...]) -> Iterator[Difference]:
    """Files below these paths that differ from the base, new ones too, by path."""
    found = [
        line.split("\t", 2) for line in _listed(base, "diff", "--numstat", "--no-renames", "-z", base.commit, paths)
    ]
    tracked = [Difference(path, _count(added), _count(removed)) for added, removed, path in found]
    others = _listed(base, "ls-files", "--others", "--exclude-standard", "-z", paths)
    new = [Difference(path, _lines(base.root / path), 0) for path in others]
    yield from sorted([*tracked, *new], key=lambda one: one.path)


def _lines(path: Path) -> int:
    """The lines of a new file, as git will count them: a link is one, and of a repository in a folder it takes the
    commit."""
    return path.read_bytes().count(b"\n") if path.is_file() and not path.is_symlink() else 1


def _listed(base: Base, command: str, *arguments: str | tuple[str, ...]) -> list[str]:
    *options, paths = arguments
    relative = ["--relative"] if command == "diff" else []
    done = _run(base.root, command, *relative, *map(str, options), "--", *paths)
    return [line for line in done.stdout.decode("utf-8", "replace").split("\0") if line]


def _count(number: str) -> int:
    return int(number) if number.isdigit() else 0


def _default(root: Path) -> str:
    """The default branch, as the remote has it or by its usual names."""
    named = _git(root, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD")
    for branch in (*([named.strip()] if named else []), *DEFAULTS):
        if _git(root, "rev-parse", "--verify", "--quiet", f"{branch}^{{commit}}") is not None:
            return branch
    raise CodegenError(f"there is no default branch ({', '.join(DEFAULTS)}); name a base with --base REV")


def _commit(root: Path, revision: str) -> str:
    found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if found is None:
        cure = "name a branch, a tag or a commit; a shallow clone has few: git fetch --unshallow"
        raise CodegenError(f"--base {revision}: there is no such commit here; {cure}")
    return found.strip()


def _git(root: Path, *arguments: str) -> str | None:
    """What git says; None where it refuses."""
    done = _done(root, *arguments)
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _run(root: Path, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[bytes]":
    done = _done(root, *arguments, given=given)
    if done.returncode != 0:
        raise CodegenError(f"git {arguments[0]}: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done


def _done(root: Path, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[bytes]":
    command = ["git", "-C", str(root), "-c", "core.quotepath=off", *arguments]
    try:
        return subprocess.run(command, input=given.encode(), capture_output=True, check=False)
    except FileNotFoundError as error:
        raise CodegenError(
            "git is not installed, or not in PATH; a review compares with a commit: install it"
        ) from error
