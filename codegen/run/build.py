"""From spec files to what they generate: from memory where nothing changed, else by loading and generating."""

import gc
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any, Protocol, cast

from codegen.artifacts import Artifact, Generated, IndexRow, RegistryEntry
from codegen.errors import Location, Problem, SpecError
from codegen.frozen import Frozen
from codegen.memory import child, formatted
from codegen.memory.store import Store
from codegen.run.discover import Found
from codegen.run.planner import Planner
from codegen.run.tree import Tree
from codegen.write.journal import content_digest
from codegen.write.ownership import text


class Generator(Protocol):
    """What turns one spec file into its artifacts."""

    def generate(self, path: str, root: str) -> Generated:
        """Load a spec and generate from it. Raises SpecError."""
        ...

    def prepare(self, paths: Sequence[str], root: str) -> None:
        """Called once, before these few specs, and no others, are generated; without any, if there are none or many."""
        ...


class RealGenerator:
    """The spec front-end and the renderer, imported when a spec has to be loaded at all."""

    def __init__(self, planner: Planner | None = None) -> None:
        self._planner = planner or Planner()

    def generate(self, path: str, root: str) -> Generated:
        """Load a spec and generate from it."""
        from codegen.render.any import rendered

        return rendered(self._planner.plan(path, root))

    def prepare(self, paths: Sequence[str], root: str) -> None:
        """Plan the specs in a second process and import black in a third, while this one imports what renders."""
        self._planner.expect(paths, root)
        if paths and child.processors() > 1:
            formatted.active().start()


class Memory(Frozen):
    """Results by spec content; `generator` identifies everything else that they depend on."""

    store: Store
    generator: str

    def key(self, path: str, digest: str | None) -> str:
        """The key of one spec, by the digest of its content."""
        return sha256(f"{self.generator}\n{path}\n{digest}".encode()).hexdigest()


class Made(Frozen):
    """What one spec generates, as far as a run needs it that finds everything in place.

    Attributes:
        kind: what kind of model it is, in a few words.
        model_type: of its config.
        files: path -> digest of the whole file.
        artifacts: the files themselves, still as JSON: reading it is most of a warm run.
    """

    name: str
    kind: str
    model_type: str
    spec: str
    files: dict[str, str]
    registry: tuple[RegistryEntry, ...]
    index_row: IndexRow | None
    artifacts: bytes

    def artifact(self, path: str) -> Artifact:
        """The file at `path`."""
        return Artifact(**json.loads(self.artifacts)[path])


@dataclass
class Built:
    """What all specs amount to. `used` are the keys of the memory that are in use."""

    made: list[Made] = field(default_factory=list[Made])
    problems: list[Problem] = field(default_factory=list[Problem])
    used: set[str] = field(default_factory=set[str])


_COLLECTED = 128  # the garbage of so many specs is some 100 MB, and collecting it costs a tenth of making them
_MANY = 4  # with fewer specs, two processes that each import everything are slower than one

_READS = b'{"reads": '  # how the remembered form of what a spec generates begins

Progress = Callable[[int, int, str], None]
Digest = Callable[[str], str | None]


def build(tree: Tree, found: Found, memory: Memory, generator: Generator, progress: Progress) -> Built:
    """Generate from every spec, and collect every problem of each."""
    making = _Making(tree, found, memory, generator, progress)
    making.make_all([path for path in found.specs if not making.recall(path)])
    known = making.known
    built = Built(problems=[*found.problems, *making.problems], used=set(making.keys.values()))
    built.made = [_remembered(path, known[path]) for path in found.specs if path in known]
    built.problems += _clashes(built.made)
    return built


class _Making:
    """The remembered form of every spec, recalled or made; `problems` are those of specs that cannot be made."""

    def __init__(self, tree: Tree, found: Found, memory: Memory, generator: Generator, progress: Progress) -> None:
        self.root, self.store, self.generator, self.progress = tree.root, memory.store, generator, progress
        self.is_unchanged, self.digest = tree.is_unchanged, tree.digest
        self.keys = {path: memory.key(path, tree.digest(path)) for path in found.specs}
        self.known: dict[str, bytes] = {}
        self.problems: list[Problem] = []

    def recall(self, path: str) -> bool:
        """Whether an earlier run, or another process, has made this one."""
        content = self.store.get(self.keys[path])
        if content is None or not self._is_current(content):
            return False
        self.known[path] = content
        return True

    def _is_current(self, content: bytes) -> bool:
        """Whether the further specs that it was made of are as they were."""
        if not content.startswith(_READS) or content.startswith(_READS + b"{}"):
            return True
        read: dict[str, str] = json.loads(content.partition(b"\n")[0])["reads"]
        return all(self.digest(path) == digest for path, digest in read.items())

    def make(self, paths: Sequence[str]) -> None:
        """Make these."""
        for number, path in enumerate(paths):
            self.progress(number, len(paths), path)
            if number % _COLLECTED == _COLLECTED - 1:
                gc.collect()
            try:
                self.known[path] = _made(path, self.root, self.generator, self.digest)
                if self.is_unchanged(path):  # else it is the result of another content than the key says
                    self.store.put(self.keys[path], self.known[path])
            except SpecError as error:
                self.problems += error.problems

    def make_all(self, paths: Sequence[str]) -> None:
        """Make few with a second process that formats; make many in two processes, each its half."""
        shared = len(paths) >= _MANY and self.store.remembers and child.processors() > 1
        theirs: Sequence[str] = paths[1::2] if shared else []
        self.generator.prepare([] if theirs else paths[:_MANY], self.root)
        with child.meanwhile((lambda: self.make_silently(theirs)) if theirs else None):
            self.make(paths[::2] if theirs else paths)
        self.make([path for path in theirs if not self.recall(path)])

    def make_silently(self, paths: Sequence[str]) -> None:
        """Make these for another process, which will recall them."""
        self.progress = _no_progress
        self.make(paths)
        formatted.active().flush()


def _made(path: str, root: str, generator: Generator, digest: Digest) -> bytes:
    """The remembered form of what a spec generates: what every run needs on the first line, the files on the second."""
    generated = generator.generate(path, root)
    data: dict[str, Any] = {"reads": {}, **asdict(generated)}
    data["reads"] = {other: digest(other) for other in generated.reads}
    artifacts = {artifact["path"]: artifact for artifact in data.pop("artifacts")}
    data["files"] = {artifact.path: content_digest(text(artifact)) for artifact in generated.artifacts}
    return json.dumps(data).encode() + b"\n" + json.dumps(artifacts).encode()


def _remembered(path: str, known: bytes) -> Made:
    first, _, artifacts = known.partition(b"\n")
    data = json.loads(first)
    row = data["index_row"]
    return Made(
        data["name"],
        data["kind"],
        data["model_type"],
        path,
        data["files"],
        tuple(RegistryEntry(**_tuples(entry)) for entry in data["registry"]),
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
                problems.append(Problem(Location(item.spec, 1, 1), "name", f"{claim} belongs to {owner} already", cure))
    return problems


def _claims(item: Made) -> list[str]:
    claims = list(item.files)
    for entry in item.registry:
        claims += [f"architecture {name}" for name in entry.architectures]
        types = {entry.model_type, entry.config[0] if entry.config else None} - {None}
        claims += [f"model type {name}" for name in types]
        claims += [f"architecture {name}" for name in entry.texts]
    return claims


def _no_progress(number: int, count: int, path: str) -> None:
    return None


def show_progress(number: int, count: int, path: str) -> None:
    """One line on a terminal's stderr, rewritten for each spec."""
    if sys.stderr.isatty():
        end = "\n" if number + 1 == count else ""
        print(f"\r\x1b[K[{number + 1}/{count}] {path}", end=end, file=sys.stderr, flush=True)
