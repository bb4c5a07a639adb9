"""The text half of a spec of images and text: another spec of the repository, as it is or with an overlay."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from codegen.configs import ConfigClass, table
from codegen.errors import Location, Problem, SpecError, cut
from codegen.frozen import Frozen
from codegen.language.check import checked, read_spec, shown_path
from codegen.language.frame import FRAME, Frame, FrameReader
from codegen.language.load import Node, load
from codegen.language.loaded import LoadedSpec
from codegen.language.reserved import class_prefix
from codegen.language.resolve import Resolver
from codegen.language.spec import ConfigDeclaration
from codegen.language.splits import SECTIONS
from codegen.language.suggest import cure
from codegen.lent import spec_called
from codegen.memory import last_run

Report = Callable[[Problem], None]
SPEC = "spec"  # the key that names the spec below an overlay
HALF = "text"  # the section; the package of a text half with an overlay, and what is appended to its classes' prefix


def apart(root: Node) -> tuple[Node, Node | None]:
    """The file with no more under `text` than which spec it is; and what is laid on that one, if anything."""
    node = (root.mapping or {}).get(HALF)
    if node is None or not node.mapping:
        return root, None
    named, laid = _only(node, lambda name: name == SPEC), _only(node, lambda name: name != SPEC)
    rest = Node({**(root.mapping or {}), HALF: named}, root.at, root.flow, root.key_at)
    return rest, laid if laid.mapping else None


def _only(node: Node, wanted: Callable[[Any], bool]) -> Node:
    entries = {name: child for name, child in (node.mapping or {}).items() if wanted(name)}
    return Node(entries, node.at, node.flow, node.key_at)


def text_of(config: ConfigClass, folder: Path, root: Path) -> str | None:
    """The spec of the text that the config class has by itself: that of its name, or of its model type."""
    default = config.parts.get("text_config", ("", ""))[0]
    return default if default and spec_called(default, folder, root).is_file() else None


class Whole(Frozen):
    """What of a spec of images and text its text half depends on; `path` is of its file, below `root`."""

    node: Node
    frame: Frame
    config: ConfigClass
    path: Path
    root: Path

    def half(self, name: str | None, laid: Node | None, report: Report) -> LoadedSpec | None:
        """The spec of that name, with what is laid on it."""
        folder = self.path.parent
        path = spec_called(name, folder, self.root)
        if name is None or not path.is_file():
            default = self.config.parts.get("text_config", ("", ""))[0]
            what = f"there is no spec {name!r} beside this one" if name else f"no spec is that of '{cut(default)}'"
            known = sorted(one.stem for one in folder.glob("*.yaml"))
            remedy = f"write text: <spec>; {cure(name or default, known, 'specs')}"
            report(Problem(self.node.find((HALF,)), HALF, what, remedy))
            return None
        return read_spec(path, self.root) if laid is None else self.overlaid(path, laid)

    def overlaid(self, path: Path, laid: Node) -> LoadedSpec:
        """The spec of a file with an overlay. Raises SpecError with all that is wrong, at its place in the overlay."""
        shown, at = shown_path(path, self.root), self.node.find((HALF,))
        try:
            return self._overlaid(load(last_run.content(str(path)), shown), laid)
        except SpecError as error:
            raise SpecError([*retold(error.problems, shown, at)]) from error

    def _overlaid(self, below: Node, laid: Node) -> LoadedSpec:
        found: dict[Problem, None] = {}
        frame = FrameReader(below, table(), lambda problem: found.setdefault(problem)).read()
        config, declaration = self._config(frame)
        resolver = Resolver(config, frozenset((*FRAME, *SECTIONS, "why")), found)
        resolved = resolver.resolve(below, laid, HALF)
        own = replace(
            frame,
            name=f"{self.frame.name}.{HALF}",
            architectures=(f"{self._prefix()}ForCausalLM",),
            declaration=declaration,
            config=config,
            summary=None,
            docs={},
            tests=_tests(frame.tests, config),
        )
        root = Node({**(below.mapping or {}), **(laid.mapping or {})}, laid.at, key_at={**below.key_at, **laid.key_at})
        return checked(root, shown_path(self.path, self.root), own, resolved, found)

    def _config(self, frame: Frame) -> tuple[ConfigClass | None, ConfigDeclaration]:
        """The class of the text: that of the whole, or where it may be any, that of the spec below the overlay."""
        model_type, class_name, is_open = self.config.parts["text_config"]
        if is_open or class_name == frame.declaration.class_name:
            return frame.config, frame.declaration
        return table().get(class_name), ConfigDeclaration(class_name, model_type)

    def _prefix(self) -> str:
        """Of the classes: that of the whole, or where several specs have its architecture, the name of this one."""
        is_own = self.frame.name == self.config.model_type or self.node.find(("config",)) != self.node.at
        whole = class_prefix(self.frame.architectures[0]) if is_own else _camel(self.frame.name)
        return f"{whole}{HALF.capitalize()}"


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _tests(tests: Mapping[str, Any], config: ConfigClass | None) -> Mapping[str, Any]:
    """The config that the tests of the spec below start from, as far as the class here has its fields."""
    tiny: dict[str, Any] = tests.get("tiny", {})
    known = {name: value for name, value in tiny.items() if config is not None and config.has(name)}
    return {"tiny": known} if known else {}


def retold(problems: list[Problem], below: str, at: Location) -> Iterator[Problem]:
    """What is wrong with a text half that has an overlay, as the file says it that has the overlay.

    below: the file of the spec that the overlay lies on; at: where `text` stands.
    """
    for one in problems:
        if one.location.file == below:
            first = one.path.partition(".")[0]
            message = f"{one.path} of {one.location}: {one.message}"
            remedy = f"write another `{first}` in the overlay" if first not in FRAME else one.cure
            yield Problem(at, HALF, message, remedy)
        elif one.path == HALF or one.path.startswith(f"{HALF}."):
            yield one
        else:
            yield replace(one, path=HALF if one.path == "file" else f"{HALF}.{one.path}")
