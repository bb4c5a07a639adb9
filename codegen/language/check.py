"""Spec files in, checked specs out: every problem of every file at once, each with its place and its cure."""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from codegen.configs import ConfigTable, vision_table
from codegen.configs import table as committed_table
from codegen.errors import Location, Problem, SpecError
from codegen.language import rules
from codegen.language.frame import FRAME, IMAGES, Frame, FrameReader
from codegen.language.load import Node, load
from codegen.language.loaded import LoadedSpec
from codegen.language.ready import unready
from codegen.language.resolve import Resolved, Resolver
from codegen.language.splits import SECTIONS
from codegen.language.summary import sentence
from codegen.language.values import NOWHERE
from codegen.lent import is_lent
from codegen.memory import last_run


def read_spec(path: Path, root: Path, table: ConfigTable | None = None) -> LoadedSpec:
    """One spec file, loaded and checked. `root` is what its messages and headers name the path relative to.

    Raises:
        SpecError: with all problems of the file.
        OSError: where the file cannot be read.
    """
    shown = shown_path(path, root)
    return named_like(path, read_loaded(load(last_run.content(str(path)), shown), shown, table))


def shown_path(path: Path, root: Path) -> str:
    """The path as messages and headers name it."""
    if is_lent(path) and path.parent.parent != root:
        return f"the library's {path.name}"
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def named_like(path: Path, spec: LoadedSpec) -> LoadedSpec:
    """The spec, whose name must be that of its file. Raises SpecError where it is not."""
    if path.stem != spec.name:
        at = Location(spec.path, 1, 1)
        cure = f"rename the file to {spec.name}.yaml, or write name: {path.stem}"
        raise SpecError([Problem(at, "name", f"'{spec.name}' is not the name of the file", cure)])
    return spec


def read_text(text: str | bytes, shown: str, table: ConfigTable | None = None) -> LoadedSpec:
    """The same for the text of a spec; `shown` stands in messages.

    Raises:
        SpecError: with all problems of the text.
    """
    return read_loaded(load(text, shown), shown, table)


def read_loaded(root: Node, shown: str, table: ConfigTable | None = None) -> LoadedSpec:
    """The same for the root of a file that is loaded."""
    found: dict[Problem, None] = {}

    def report(problem: Problem) -> None:
        found.setdefault(problem)

    frame = FrameReader(root, table or committed_table(), report).read()
    resolver = Resolver(frame.config, frozenset((*FRAME, *SECTIONS, "why")), found)
    return checked(root, shown, frame, resolver.resolve(root), found)


def checked(root: Node, shown: str, frame: Frame, resolved: Resolved | None, found: dict[Problem, None]) -> LoadedSpec:
    """The spec of a root that is resolved. Raises SpecError with `found`, and with what is wrong across keys."""
    if resolved is not None and frame.config is not None:
        for problem in rules.problems(resolved, frame.config):
            found.setdefault(problem)
    if found or resolved is None:
        raise SpecError([_placed(problem, root.at) for problem in found])
    return _loaded(root, shown, frame, resolved)


def of_images(path: Path) -> bool:
    """Whether a spec file is one of images and text: it has a section of those, or names such a config class.

    Raises:
        OSError: where the file cannot be read.
    """
    return _tells_of_images(last_run.content(str(path)))


@lru_cache(maxsize=1024)
def _tells_of_images(text: bytes) -> bool:
    """The same of its text; once for all that a program asks of the same files."""
    try:
        return is_of_images(load(text, ""))
    except SpecError:
        return False


def specs_of_text(folder: Path) -> list[Path]:
    """The specs of a folder that are of texts alone, by name."""
    return _specs(folder, images=False)


def specs_of_images(folder: Path) -> list[Path]:
    """The others, by name."""
    return _specs(folder, images=True)


def _specs(folder: Path, *, images: bool) -> list[Path]:
    return [path for path in sorted(folder.glob("*.yaml")) if path.is_file() and of_images(path) == images]


def is_of_images(root: Node) -> bool:
    """The same of a file that is loaded."""
    entries = root.mapping or {}
    if any(name in entries for name in IMAGES):
        return True
    config, name = entries.get("config"), entries.get("name")
    if config is not None:
        return isinstance(config.value, str) and vision_table().get(config.value.partition(":")[2]) is not None
    if name is None or not isinstance(name.value, str) or committed_table().for_model_type(name.value) is not None:
        return False
    return vision_table().for_model_type(name.value) is not None


def _placed(problem: Problem, otherwise: Location) -> Problem:
    """What is wrong with a default of the language is shown at the start of the file that does not suit it."""
    return replace(problem, location=otherwise) if problem.location.file == NOWHERE.file else problem


def _loaded(root: Node, shown: str, frame: Frame, resolved: Resolved) -> LoadedSpec:
    flat = resolved.flat
    return LoadedSpec(
        path=shown,
        name=frame.name,
        architectures=frame.architectures,
        config=frame.declaration,
        summary=frame.summary or sentence(flat),
        docs=frame.docs,
        tests=frame.tests,
        overrides=frame.overrides,
        splits=resolved.splits,
        flat=flat,
        outer=resolved.outer,
        unready=unready(flat.values()),
        nodes=resolved.nodes,
        root=root,
    )


def read_all(paths: Iterable[Path], root: Path, table: ConfigTable | None = None) -> list[LoadedSpec]:
    """All spec files, in the order given.

    Raises:
        SpecError: with the problems of all files; names must also be unique without regard to case.
        OSError: where a file cannot be read.
    """
    problems: list[Problem] = []
    specs: list[LoadedSpec] = []
    for path in paths:
        try:
            specs.append(read_spec(path, root, table))
        except SpecError as error:
            problems += error.problems
    problems += _clashes(specs)
    if problems:
        raise SpecError(problems)
    return specs


def _clashes(specs: list[LoadedSpec]) -> list[Problem]:
    found: list[Problem] = []
    taken: dict[str, LoadedSpec] = {}
    for spec in specs:
        other = taken.setdefault(spec.name.casefold(), spec)
        if other is not spec:
            message = f"'{spec.name}' is also the name in {other.path}"
            found.append(Problem(Location(spec.path, 1, 1), "name", message, "names differ in more than case"))
    return found + _double_registrations(specs)


def _double_registrations(specs: list[LoadedSpec]) -> list[Problem]:
    found: list[Problem] = []
    taken: dict[str, LoadedSpec] = {}
    for spec in specs:
        for architecture in spec.architectures:
            other = taken.setdefault(architecture, spec)
            if other is not spec:
                message = f"'{architecture}' is also registered by {other.path}"
                found.append(Problem(Location(spec.path, 1, 1), "architecture", message, "one spec per architecture"))
    return found
