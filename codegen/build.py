"""From spec files to what they generate: from memory where nothing changed, else by loading and generating."""

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from codegen.artifacts import Artifact, Generated, IndexRow, RegistryEntry
from codegen.cache import Store
from codegen.discover import Found
from codegen.errors import Location, Problem, SpecError
from codegen.tree import Tree


class Generator(Protocol):
    """What turns one spec file into its artifacts."""

    def check(self, path: str, root: str) -> None:
        """Load a spec, or raise SpecError."""
        ...

    def generate(self, path: str, root: str) -> Generated:
        """Load a spec and generate from it, or raise SpecError."""
        ...


class RealGenerator:
    """The spec front-end and the renderer, imported when a spec has to be loaded at all."""

    def check(self, path: str, root: str) -> None:
        """Load a spec, or raise SpecError."""
        from codegen.spec.load import read_spec

        read_spec(Path(root, path), Path(root))

    def generate(self, path: str, root: str) -> Generated:
        """Load a spec and generate from it, or raise SpecError."""
        from codegen.generate import generate
        from codegen.spec.load import read_spec

        return generate(read_spec(Path(root, path), Path(root)), Path(root))


@dataclass(frozen=True)
class Memory:
    """Generated files by spec content; `generator` identifies everything else that they depend on."""

    store: Store
    generator: str

    def key(self, path: str, content: bytes) -> str:
        """The key of one spec."""
        from hashlib import sha256

        return sha256(b"\0".join([self.generator.encode(), path.encode(), content])).hexdigest()


Progress = Callable[[int, int, str], None]


def build(
    tree: Tree, found: Found, memory: Memory, generator: Generator, progress: Progress
) -> tuple[list[Generated], list[Problem], set[str]]:
    """Generate from every active spec and check every pending one.

    Returns:
        What the active specs generate, every problem of every spec, and the keys of the memory that are in use.
    """
    generated: list[Generated] = []
    problems = list(found.problems)
    used: set[str] = set()
    for number, path in enumerate(found.all):
        content = tree.read(path) or b""
        key = memory.key(path, content)
        used.add(key)
        known = memory.store.get(key)
        try:
            if known is None:
                progress(number, len(found.all), path)
                known = _make(path, path in found.active, tree.root, generator)
                memory.store.put(key, known)
        except SpecError as error:
            problems += error.problems
            continue
        if path in found.active:
            generated.append(_decoded(known))
    return generated, problems + _clashes(generated), used


def _make(path: str, active: bool, root: str, generator: Generator) -> bytes:
    """The remembered form of a spec: what it generates, or nothing but that it is valid."""
    if not active:
        generator.check(path, root)
        return b""
    return json.dumps(asdict(generator.generate(path, root))).encode()


def _decoded(content: bytes) -> Generated:
    data: dict[str, Any] = json.loads(content)
    entry, row = data["registry"], data["index_row"]
    return Generated(
        data["name"],
        tuple(Artifact(**artifact) for artifact in data["artifacts"]),
        None if entry is None else RegistryEntry(**_tuples(entry)),
        None if row is None else IndexRow(**_tuples(row)),
    )


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}


def _clashes(generated: Iterable[Generated]) -> list[Problem]:
    """Two specs that claim one file, one architecture or one model type."""
    owners: dict[str, str] = {}
    problems: list[Problem] = []
    for item in generated:
        spec = item.artifacts[0].spec if item.artifacts else f"specs/{item.name}.yaml"
        for claim in _claims(item):
            owner = owners.setdefault(claim.casefold(), spec)
            if owner != spec:
                cure = "give one of them another name, or remove one"
                problems.append(Problem(Location(spec, 1, 1), "", f"{claim} belongs to {owner} already", cure))
    return problems


def _claims(item: Generated) -> list[str]:
    claims = [artifact.path for artifact in item.artifacts]
    if item.registry is not None:
        claims += [f"architecture {name}" for name in item.registry.architectures]
        claims += [f"model type {item.registry.config[0]}"] if item.registry.config else []
    return claims


def show_progress(number: int, count: int, path: str) -> None:
    """One line on a terminal's stderr, rewritten for each spec."""
    if sys.stderr.isatty():
        end = "\n" if number + 1 == count else ""
        print(f"\r\x1b[K[{number + 1}/{count}] {path}", end=end, file=sys.stderr, flush=True)
