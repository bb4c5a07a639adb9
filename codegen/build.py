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

    def key(self, path: str, content: bytes) -> str:
        """The key of one spec."""
        return sha256(b"\0".join([self.generator.encode(), path.encode(), content])).hexdigest()


@dataclass
class Built:
    """What all specs amount to. `pending` is by path; `used` are the keys of the memory that are in use."""

    generated: list[Generated] = field(default_factory=list[Generated])
    pending: dict[str, Checked] = field(default_factory=dict[str, Checked])
    problems: list[Problem] = field(default_factory=list[Problem])
    used: set[str] = field(default_factory=set[str])


Progress = Callable[[int, int, str], None]


def build(tree: Tree, found: Found, memory: Memory, generator: Generator, progress: Progress) -> Built:
    """Generate from every active spec, check every pending one, and collect every problem of each."""
    built = Built(problems=list(found.problems))
    for number, path in enumerate(found.all):
        key = memory.key(path, tree.read(path) or b"")
        built.used.add(key)
        known = memory.store.get(key)
        make = generator.generate if path in found.active else generator.check
        if known is None:
            progress(number, len(found.all), path)
            try:
                known = json.dumps(asdict(make(path, tree.root))).encode()
            except SpecError as error:
                built.problems += error.problems
                continue
            memory.store.put(key, known)
        if path in found.active:
            built.generated.append(_generated(json.loads(known)))
        else:
            built.pending[path] = Checked(**_tuples(json.loads(known)))
    built.problems += _clashes(built.generated)
    return built


def _generated(data: dict[str, Any]) -> Generated:
    entry, row = data["registry"], data["index_row"]
    return Generated(
        data["name"],
        tuple(Artifact(**artifact) for artifact in data["artifacts"]),
        None if entry is None else RegistryEntry(**_tuples(entry)),
        None if row is None else IndexRow(**_tuples(row)),
    )


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(cast(list[Any], value)) if isinstance(value, list) else value for key, value in fields.items()}


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
