"""From spec files to what they generate: from memory where nothing changed, else by loading and generating."""

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, cast

from codegen.artifacts import Artifact, Checked, Generated, IndexRow, RegistryEntry
from codegen.cache import Store
from codegen.discover import Found
from codegen.errors import Location, Problem, SpecError
from codegen.tree import Tree
from codegen.write.journal import content_digest
from codegen.write.ownership import text


class Generator(Protocol):
    """What turns one spec file into its artifacts; both methods raise SpecError."""

    def check(self, path: str, root: str) -> Checked:
        """Load a spec."""
        ...

    def generate(self, path: str, root: str) -> Generated:
        """Load a spec and generate from it."""
        ...


class RealGenerator:
    """The spec front-end and the renderer, imported when a spec has to be loaded at all."""

    def check(self, path: str, root: str) -> Checked:
        """Load a spec."""
        from codegen.spec.check import read_spec

        spec = read_spec(Path(root, path), Path(root))
        return Checked(spec.architectures, spec.unready)

    def generate(self, path: str, root: str) -> Generated:
        """Load a spec and generate from it."""
        from codegen.generate import generate
        from codegen.spec.check import read_spec

        return generate(read_spec(Path(root, path), Path(root)), Path(root))


@dataclass(frozen=True)
class Memory:
    """Results by spec content; `generator` identifies everything else that they depend on."""

    store: Store
    generator: str

    def key(self, path: str, digest: str | None) -> str:
        """The key of one spec, by the digest of its content."""
        return sha256(f"{self.generator}\n{path}\n{digest}".encode()).hexdigest()


@dataclass(frozen=True)
class Made:
    """What one spec generates, as far as a run needs it that finds everything in place.

    Attributes:
        files: path -> digest of the whole file.
        artifacts: the files themselves, still as JSON: reading it is most of a warm run.
    """

    name: str
    spec: str
    files: dict[str, str]
    registry: RegistryEntry | None
    index_row: IndexRow | None
    artifacts: bytes

    def artifact(self, path: str) -> Artifact:
        """The file at `path`."""
        return Artifact(**json.loads(self.artifacts)[path])


@dataclass
class Built:
    """What all specs amount to. `pending` is by path; `used` are the keys of the memory that are in use."""

    made: list[Made] = field(default_factory=list[Made])
    pending: dict[str, Checked] = field(default_factory=dict[str, Checked])
    problems: list[Problem] = field(default_factory=list[Problem])
    used: set[str] = field(default_factory=set[str])


Progress = Callable[[int, int, str], None]


def build(tree: Tree, found: Found, memory: Memory, generator: Generator, progress: Progress) -> Built:
    """Generate from every active spec, check every pending one, and collect every problem of each."""
    built = Built(problems=list(found.problems))
    for number, path in enumerate(found.all):
        key = memory.key(path, tree.digest(path))
        built.used.add(key)
        known = memory.store.get(key)
        active = path in found.active
        if known is None:
            progress(number, len(found.all), path)
            try:
                known = _made(path, tree.root, generator) if active else _checked(path, tree.root, generator)
            except SpecError as error:
                built.problems += error.problems
                continue
            memory.store.put(key, known)
        if active:
            built.made.append(_remembered(path, known))
        else:
            built.pending[path] = Checked(**_tuples(json.loads(known)))
    built.problems += _clashes(built.made)
    return built


def _checked(path: str, root: str, generator: Generator) -> bytes:
    return json.dumps(asdict(generator.check(path, root))).encode()


def _made(path: str, root: str, generator: Generator) -> bytes:
    """The remembered form of what a spec generates: what every run needs on the first line, the files on the second."""
    generated = generator.generate(path, root)
    data = asdict(generated)
    artifacts = {artifact["path"]: artifact for artifact in data.pop("artifacts")}
    data["files"] = {artifact.path: content_digest(text(artifact)) for artifact in generated.artifacts}
    return json.dumps(data).encode() + b"\n" + json.dumps(artifacts).encode()


def _remembered(path: str, known: bytes) -> Made:
    first, _, artifacts = known.partition(b"\n")
    data = json.loads(first)
    entry, row = data["registry"], data["index_row"]
    return Made(
        data["name"],
        path,
        data["files"],
        None if entry is None else RegistryEntry(**_tuples(entry)),
        None if row is None else IndexRow(**_tuples(row)),
        artifacts,
    )


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(cast(list[Any], value)) if isinstance(value, list) else value for key, value in fields.items()}


def _clashes(made: Iterable[Made]) -> list[Problem]:
    """Two specs that claim one file, one architecture or one model type."""
    owners: dict[str, str] = {}
    problems: list[Problem] = []
    for item in made:
        for claim in _claims(item):
            owner = owners.setdefault(claim.casefold(), item.spec)
            if owner != item.spec:
                cure = "give one of them another name, or remove one"
                problems.append(Problem(Location(item.spec, 1, 1), "", f"{claim} belongs to {owner} already", cure))
    return problems


def _claims(item: Made) -> list[str]:
    claims = list(item.files)
    if item.registry is not None:
        claims += [f"architecture {name}" for name in item.registry.architectures]
        claims += [f"model type {item.registry.config[0]}"] if item.registry.config else []
    return claims


def show_progress(number: int, count: int, path: str) -> None:
    """One line on a terminal's stderr, rewritten for each spec."""
    if sys.stderr.isatty():
        end = "\n" if number + 1 == count else ""
        print(f"\r\x1b[K[{number + 1}/{count}] {path}", end=end, file=sys.stderr, flush=True)
