"""Explains by regenerating: the lines that change with a field are the lines that it generates."""

import json
import os
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from codegen.configs import ConfigClass, table
from codegen.errors import CodegenError, SpecError
from codegen.explain.answer import Change, Explanation, Field
from codegen.explain.flips import flips, get
from codegen.frozen import Frozen
from codegen.generate import generate, plan_any
from codegen.language.bare import bare_key
from codegen.language.check import is_of_images, read_text
from codegen.language.flow import flow
from codegen.language.frame import FRAME
from codegen.language.keys import Section
from codegen.language.load import Node, load
from codegen.language.loaded import LoadedSpec, config_class
from codegen.language.spec import Spec
from codegen.language.suggest import cure
from codegen.layout import STATE_DIR
from codegen.meaning import Meaning, meaning, plain
from codegen.meaning import Path as Keys
from codegen.memory import formatted, last_run
from codegen.memory.store import Store
from codegen.places import places
from codegen.render.picture import mermaid

if TYPE_CHECKING:  # at run time only where a spec is one of images and text
    from codegen.language.vision.loaded import LoadedImageText

HEADER = 2  # lines that the writer puts before every body


def explain(name: str, field: str | None, root: Path) -> Explanation:
    """Explain one field of a spec by its dotted path (`attention.window`, `layers.0.when`), or list what is written.

    Raises:
        CodegenError: there is no such spec, or the language has no such field.
        SpecError: the spec is invalid.
    """
    # What was formatted before need not be formatted again; nothing is added to that memory here.
    formatted.use(Store(os.path.join(root, STATE_DIR, "cache", "formatted")))
    about = subject(name, root)
    return about.all() if field is None else about.one(field)


def graph(name: str, root: Path) -> str:
    """The picture of a spec's model as a Mermaid flowchart.

    Raises:
        CodegenError: there is no such spec.
        SpecError: the spec is invalid, or asks for something that has no template yet.
    """
    return mermaid(plan_any(subject(name, root).spec).model.picture)


def subject(name: str, root: Path) -> "Subject":
    """A spec of a tree, to ask about. Raises as `explain` does."""
    specs = places(str(root)).specs
    shown = f"{specs}/{name}.yaml"
    if name.isidentifier() and os.path.lexists(root / shown):
        text = last_run.content(str(root / shown))
        if is_of_images(load(text, shown)):
            from codegen.explain.images import image_subject  # nothing of it is needed for text alone

            return image_subject(shown, load(text, shown), root)
        spec = read_text(text, shown)
        return Subject(shown, load(text, shown), spec, config_class(spec, table()), root)
    known = sorted(path.stem for path in (root / specs).glob("*.yaml"))
    raise CodegenError(f"there is no spec of '{name}'; {cure(name, known) or '`codegen list` shows the specs'}")


class Subject(Frozen):
    """A spec: as text with places, and as loaded; `declared` is the whole language of its kind."""

    shown: str
    node: Node
    spec: "LoadedSpec | LoadedImageText"
    config: ConfigClass
    root: Path
    declared: type[Section] = Spec

    def read(self, text: str) -> "LoadedSpec | LoadedImageText":
        """Another spec in the place of this one. Raises SpecError."""
        return read_text(text, self.shown)

    def others(self, written: dict[str, Any], path: Keys) -> Iterator[tuple[str, dict[str, Any]]]:
        """Specs with one field otherwise, each with what it is."""
        yield from flips(written, path, self.meaning(path), self.declared)

    def texts(self) -> "list[Spec]":
        """The flat specs of a text."""
        return list(self.spec.flat.values()) if isinstance(self.spec, LoadedSpec) else []

    def all(self) -> Explanation:
        fields = tuple(self.field(path) for path, _ in leaves((), self.node.plain()))
        bodies, lacking = self.bodies(self.spec)
        return Explanation(self.spec.name, self.shown, fields, tuple(bodies), lacking=lacking)

    def one(self, dotted: str) -> Explanation:
        path = self.path(dotted)
        written: dict[str, Any] = self.node.plain()
        bodies, lacking = self.bodies(self.spec)
        compared, changes, refused = "", (), list[str]()
        for label, other in self.others(written, path) if not lacking else ():
            try:
                changed, gone = self.bodies(self.read(json.dumps(other)))
            except SpecError as error:
                refused.append(f"{label}: {error.problems[0].message}")
                continue
            if gone:
                refused.append(f"{label}: no template yet for {', '.join(gone)}")
                continue
            compared, changes = compared or label, tuple(_changes(bodies, changed))
            if changes:
                compared = label
                break
        return Explanation(
            self.spec.name,
            self.shown,
            (self.field(path),),
            tuple(bodies),
            compared,
            changes,
            () if changes else tuple(refused),
            lacking,
            single=True,
        )

    def path(self, dotted: str) -> Keys:
        """The keys of a dotted path; what is written may have dots in a key (`checkpoint.fused.experts.fc1`)."""
        path: Keys = ()
        parts = dotted.split(".")
        here: Any = self.node.plain()
        while parts:
            if path and isinstance(here, str) and parts == [bare_key(path[-1], self.declared)]:
                return path  # the bare word stands for this key
            if isinstance(here, list) and len(cast("list[Any]", here)) == 1 and not parts[0].isdigit():
                path, here = (*path, 0), get(here, (0,))  # the only one
            whole = next((end for end in range(len(parts), 0, -1) if _has(here, ".".join(parts[:end]))), 1)
            step: Any = ".".join(parts[:whole])
            step = int(step) if isinstance(here, list) and step.isdigit() else step
            if isinstance(here, dict) and step not in here and str(step).isdigit() and int(step) in here:
                step = int(step)
            path, here, parts = (*path, step), get(here, (step,)), parts[whole:]
        return path

    def meaning(self, path: Keys) -> Meaning:
        """What the language says; where an overlay changes a section's kind, that of the overlay."""
        flat = self.texts()
        for spec in flat:
            try:
                return meaning(path, spec)
            except CodegenError:
                if spec is flat[-1]:
                    raise
        raise AssertionError

    def field(self, path: Keys) -> Field:
        found, value = self.meaning(path), get(self.node.plain(), path)
        where = str(self.node.find(path, key=True)) if value is not None else None
        return Field(
            ".".join(map(str, path)),
            found.type,
            found.doc,
            found.words,
            found.default,
            None if value is not None else found.taken(self.config),
            None if value is None else flow(value),
            where,
            tuple(self.elsewhere(path)),
        )

    def elsewhere(self, path: Keys) -> Iterator[str]:
        """Overlays that write the same key."""
        for other, value in leaves((), self.node.plain()):
            if other != path and other[0] != path[0] and path and plain(other)[: len(path)] == path:
                yield f"{self.node.find(other, key=True)} ({'.'.join(map(str, other))}: {flow(value)})"

    def bodies(self, spec: "LoadedSpec | LoadedImageText") -> tuple[Mapping[str, str], tuple[str, ...]]:
        """The generated files without their headers; or what has no template yet."""
        try:
            made = generate(spec, places(str(self.root)))
        except SpecError as error:
            return {}, error.lacking
        return {artifact.path: artifact.body for artifact in made.artifacts}, ()


def _has(tree: Any, name: str) -> bool:
    if isinstance(tree, list):
        return name.isdigit() and int(name) < len(cast("list[Any]", tree))
    return isinstance(tree, dict) and name in tree


def leaves(path: Keys, value: Any) -> Iterator[tuple[Keys, Any]]:
    """Every written key that holds no mapping of keys; the frame by its first level."""
    if isinstance(value, dict) and value and (not path or path[0] not in FRAME):
        for name, child in cast("dict[Any, Any]", value).items():
            yield from leaves((*path, name), child)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in cast("list[Any]", value)):
        for index, child in enumerate(cast("list[Any]", value)):
            yield from leaves((*path, index), child)
    else:
        yield path, value


def _changes(bodies: Mapping[str, str], others: Mapping[str, str]) -> Iterator[Change]:
    """The lines in which two sets of files differ, file by file."""
    for path in dict.fromkeys((*bodies, *others)):
        there, instead = bodies.get(path, "").splitlines(), others.get(path, "").splitlines()
        for tag, i1, i2, j1, j2 in SequenceMatcher(None, there, instead, autojunk=False).get_opcodes():
            if tag != "equal":
                yield Change(path, i1 + 1 + HEADER, i2 + HEADER, tuple(there[i1:i2]), tuple(instead[j1:j2]))
