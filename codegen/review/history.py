"""What git knows: the base of a change, the specs as they were there, and which files differ from it."""

import io
import subprocess
import tarfile
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
        raise CodegenError(f"HEAD and {branch} have no common commit; name a base with --base REV")
    return Base(root, merge.strip(), f"where this left `{branch}`")


def specs(base: Base, folder: Path) -> None:
    """Write the specs as they were, below a folder, which has the places that the tree has now."""
    where = places(str(base.root)).specs
    (folder / where).mkdir(parents=True)
    if (base.root / PROJECT).is_file():
        (folder / PROJECT).write_bytes((base.root / PROJECT).read_bytes())
    if _git(base.root, "cat-file", "-e", f"{base.commit}:./{where}") is None:
        return  # there were none
    packed = _run(base.root, "archive", "--format=tar", base.commit, where)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None and Path(member.name).parent == Path(where):
                (folder / where / Path(member.name).name).write_bytes(content.read())


def differences(base: Base, paths: tuple[str, ...]) -> Iterator[Difference]:
    """Files below these paths that differ from the base, new ones too, by path."""
    found = [line.split("\t") for line in _listed(base, "diff", "--numstat", "--no-renames", "-z", base.commit, paths)]
    tracked = [Difference(path, _count(added), _count(removed)) for added, removed, path in found]
    others = _listed(base, "ls-files", "--others", "--exclude-standard", "-z", paths)
    new = [Difference(path, (base.root / path).read_bytes().count(b"\n"), 0) for path in others]
    yield from sorted([*tracked, *new], key=lambda one: one.path)


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
    done = subprocess.run(_command(root, *arguments), capture_output=True, check=False)
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _run(root: Path, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    done = subprocess.run(_command(root, *arguments), capture_output=True, check=False)
    if done.returncode != 0:
        raise CodegenError(f"git {arguments[0]}: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done


def _command(root: Path, *arguments: str) -> list[str]:
    return ["git", "-C", str(root), "-c", "core.quotepath=off", *arguments]
