"""Spec files of images and text in, checked specs out; every problem at once, each with its place and its cure."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from codegen.configs import ConfigClass, vision_table
from codegen.errors import Problem, SpecError, attempt, cut
from codegen.language import equations as flow
from codegen.language.check import read_spec, shown_path
from codegen.language.defaults import defaults
from codegen.language.frame import FRAME, Frame, FrameReader
from codegen.language.load import Node
from codegen.language.resolve import Resolver, typed
from codegen.language.spec import FUNCTIONS, ConfigDeclaration
from codegen.language.splits import SECTIONS
from codegen.language.suggest import cure
from codegen.language.vision import equations
from codegen.language.vision.declared import TEXT, with_parts
from codegen.language.vision.loaded import LoadedImageText
from codegen.language.vision.sections import ImageTextSpec
from codegen.language.vision.text import Whole, apart, text_of
from codegen.lent import FOLDER, is_lent, spec_called

Report = Callable[[Problem], None]
PREFIXES = ("text", "head", "vision", "projector")  # names under `checkpoint.names` that are no parts


class ImageTextFrame(FrameReader):
    """The frame of a spec of images and text; several may have one config class, over unlike texts.

    Attributes:
        folder: of the spec, in which that of its text stands; root_folder: of the tree.
    """

    folder: Path
    root_folder: Path

    def config(self, name: str) -> tuple[ConfigDeclaration, ConfigClass | None]:
        """The class that is written, else that of the name, else that of the architecture."""
        written = self.node("architecture")
        if self.node("config") is None and written is not None and self.table.for_model_type(name) is None:
            names = [item.value for item in written.items or (written,)]
            for row in map(self.table.get, self.table):
                if row is not None and any(name in row.architectures for name in names):
                    return ConfigDeclaration(row.name, row.model_type), row
        return super().config(name)

    def declared(self, node: Node) -> tuple[ConfigDeclaration, ConfigClass | None]:
        """With the fields of its text and of its tower, which stand in other classes."""
        declaration, config = super().declared(node)
        fields = declaration.fields or {}
        if TEXT in fields:
            at = Node(None, node.find(("fields", TEXT)))
            self.refuse(at, f"config.fields.{TEXT}", "is that of the text spec", "remove it")
        text = self.node("text")
        name = None if text is None else (text.value if text.mapping is None else text.mapping.get("spec", text).value)
        path = spec_called(name, self.folder, self.root_folder)
        if config is not None and name is None:
            self.refuse(self.root, "text", "is missing beside a config class of its own", "write text: <spec>")
        if config is not None and path.is_file():
            config = with_parts(config, self.root, read_spec(path, self.root_folder), self.table)
        return declaration, config


def read_image_text(node: Node, path: Path, root: Path) -> LoadedImageText:
    """One spec file that is loaded; the spec of its text half stands beside it.

    Raises:
        SpecError: with all problems of the file, or those of the text half.
        OSError: where that of the text cannot be read.
    """
    shown, found = shown_path(path, root), dict[Problem, None]()

    def report(problem: Problem) -> None:
        found.setdefault(problem)

    frame = ImageTextFrame(node, vision_table(), report, path.parent, root).read()
    resolver = Resolver(frame.config, frozenset((*FRAME, *SECTIONS, "why")), found, ImageTextSpec)
    for name in SECTIONS:
        if name in (node.mapping or {}):
            remedy = "write the condition in a value, A if config.x else B, or as `when` of a part; or below `text`"
            report(
                Problem(node.find((name,), key=True), name, "is for texts: these sections hold for all layers", remedy)
            )
    plain, laid = apart(node)
    top = resolver.overlaid(defaults(ImageTextSpec), plain, "")
    if resolver.choices:
        choice = next(iter(resolver.choices.values()))
        report(Problem(node.at, choice.path, "cannot be decided by the config yet", "write one word"))
    if found or frame.config is None:
        raise SpecError(list(found))
    spec, whole = typed(ImageTextSpec, top), Whole(node, frame, frame.config, path, root)
    for problem in _rules(spec, node, frame):
        report(problem)
    if path.stem != frame.name:
        report(
            Problem(node.at, "name", f"'{frame.name}' is not the name of the file", f"rename it to {frame.name}.yaml")
        )
    named = spec.text.spec or text_of(frame.config, path.parent, root)
    text = attempt(lambda: whole.half(named, laid, report), None, found)
    if found or text is None:
        raise SpecError(list(found))
    return LoadedImageText(
        shown,
        frame.name,
        frame.architectures,
        frame.declaration,
        frame.config,
        frame.summary or _sentence(spec, named or "", laid is not None),
        frame.docs,
        frame.tests,
        spec,
        text,
        named or "",
        node,
        is_lent(spec_called(named, path.parent, root)) and path.parent != FOLDER,
    )


def _rules(spec: ImageTextSpec, node: Node, frame: Frame) -> Iterator[Problem]:
    """What is wrong across keys."""

    def problem(path: tuple[Any, ...], message: str, remedy: str) -> Problem:
        return Problem(node.find(path, key=True), ".".join(map(str, path)), message, remedy)

    for equation, name, bound in equations.unbound(spec.equations, spec.parameters):
        yield Problem(equation.at, "projector", f"'{cut(name)}' is not bound here", cure(name, bound, "bound"))
    if spec.equations and "x" not in spec.equations[-1].targets:
        yield problem(("projector",), "the last equation does not bind x", "end with x = ...")
    if spec.vision.grid is not None and not set(equations.REGROUPS) & set(equations.calls(spec.equations)):
        cures = f"remove it, or call {' or '.join(equations.REGROUPS)} in the projector"
        yield problem(("vision", "grid"), "is read by no equation of a projector", cures)
    if spec.vision.width is not None and not spec.equations:
        yield problem(("vision", "width"), "is read by no equation", "remove it, or write projector: x = ...")
    yield from _output(spec)
    for equation, call in equations.packing(spec.equations):
        newline = ast.unparse(call.args[1])
        if newline not in spec.parameters:
            yield Problem(
                equation.at, "projector", f"'{newline}' is no parameter", f"write parts: {{{newline}: parameter}}"
            )
        if equation is not spec.equations[-1]:
            yield Problem(equation.at, "projector", "rows of tiles are no pictures any more", "put pack_tiles last")
    read = equations.names_read(spec.equations)
    called = [*equations.parts_called(spec.equations), *(name for name in spec.parameters if name in read)]
    for name in spec.parts:
        if name not in called:
            yield problem(("parts", name), "is called by no equation of the projector", cure(name, called, "called"))
    for name in equations.parts_called(spec.equations):
        if name in spec.parameters:
            message = f"'{cut(name)}' is a vector, and is called"
            yield problem(("parts", name), message, "write linear, rmsnorm or layernorm")
    for name in called:
        if name not in spec.parts and "norm" in name:
            message = f"'{cut(name)}' is called and is no linear map by its name"
            yield problem(("projector",), message, f"write parts: {{{name}: rmsnorm}}, layernorm or linear")
    for name in spec.checkpoint.names or {}:
        if name not in (*PREFIXES, *called):
            yield problem(("checkpoint", "names", name), "names no part", cure(name, (*PREFIXES, *called)))
    for name in spec.checkpoint.memory or {}:
        if name not in called:
            yield problem(("checkpoint", "memory", name), "names no part", cure(name, called))
    yield from _tower_names(spec, problem)
    if frame.overrides:
        yield problem(("overrides",), "is not for models of images and text yet", "remove it")


def _output(spec: ImageTextSpec) -> Iterator[Problem]:
    """What is wrong with the equation of the logits."""
    head = "lm_head"
    found = [
        (one.equation, one.message, one.cure) for one in flow.problems(flow.GROUPS["output"], spec.output, (), head)
    ]
    for equation in spec.output if not found else ():
        for name in dict.fromkeys(
            flow.called(call) or "" for call in ast.walk(equation.value) if isinstance(call, ast.Call)
        ):
            if name in FUNCTIONS and name != "softcap":
                found.append((equation, f"'{name}' is not for logits", "numbers and softcap are"))
        for name in flow.called_names([equation]):
            if name != head:
                found.append(
                    (equation, f"'{cut(name)}' is called, and there are no parts beside the head", "leave it out")
                )
    for equation, message, remedy in found:
        yield Problem(equation.at, "output", message, remedy)


def _tower_names(spec: ImageTextSpec, problem: Callable[..., Problem]) -> Iterator[Problem]:
    """What is wrong with names of the tower's tensors."""
    tower, path = spec.checkpoint.vision, ("checkpoint", "vision")
    if tower is None:
        return
    pieces = {**(tower.names or {}), **{name: name for name in tower.fused or {}}}
    for own, disk in pieces.items():
        if twice := [name for name in pieces if pieces[name] == disk and name != own]:
            message = f"'{cut(twice[0])}' is called '{cut(disk)}' on disk too"
            yield problem((*path, "names", own), message, "names need a way back: write one of them longer")
            break
    parts = [part for fused in (tower.fused or {}).values() for part in fused.parts]
    for disk, fused in (tower.fused or {}).items():
        if fused.groups is not None:
            remedy = "write the tensors, in their order: {wqkv: [q, k, v]}"
            yield problem((*path, "fused", disk), "has groups, which a tower's has not", remedy)
        for part in fused.parts:
            if parts.count(part) > 1 or part in (tower.names or {}):
                other = "stands twice" if parts.count(part) > 1 else "is among the names too"
                yield problem((*path, "fused", disk), f"'{cut(part)}' {other}", "write it once")


def _sentence(spec: ImageTextSpec, text: str, is_overlaid: bool) -> str:
    tower = spec.vision.tower or "auto"
    seen = {"causal": "", "image_blocks": ", tokens of one image see each other", "prefix": ", the prompt sees itself"}
    own = "its own projector" if not spec.projector else "a projector"
    named = "a tower of transformers" if tower == "auto" else f"the tower {tower}"
    half = f"a text model after that of {text}" if is_overlaid else f"the text model of {text}"
    return f"Images and text: {named}, {own}, and {half}{seen[spec.mask]}."
