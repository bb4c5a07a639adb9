"""The draft of a spec of images and text: text half, tower, projector, where rows go, positions, mask, processor."""

from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from codegen.errors import SpecError
from codegen.frozen import Frozen
from codegen.generate import generate, plan_any
from codegen.language.flow import flow
from codegen.language.load import load
from codegen.language.reserved import class_prefix
from codegen.language.vision.check import read_image_text
from codegen.language.vision.loaded import LoadedImageText
from codegen.new.body import Body
from codegen.new.causal import spec_name
from codegen.new.doubts import suit
from codegen.new.kind import Kind
from codegen.new.language import language
from codegen.new.report import Draft
from codegen.new.source import Source
from codegen.new.text import spec_text
from codegen.new.values import declared_fields
from codegen.new.vision import half as halves
from codegen.new.vision.between import DEFAULT, draft_projector
from codegen.new.vision.merging import draft_merge, placeholders
from codegen.new.vision.nearest import Candidate, rank, signs
from codegen.new.vision.placed import Placed, place, written
from codegen.new.vision.published import TEXT, TOWER, Published
from codegen.new.vision.stored import draft_stored, stored_as
from codegen.new.vision.tower import draft_tower
from codegen.new.vision.trying import tests
from codegen.places import Places, places


class ImageTextDrafting(Frozen):
    """One draft in the making; `source` is that of the whole."""

    source: Source
    kind: Kind
    name: str
    target: str
    root: Path

    @property
    def places(self) -> Places:
        return places(str(self.root))

    @cached_property
    def published(self) -> Published:
        return Published(self.kind)

    @cached_property
    def placed(self) -> Placed:
        tower = self.published.tower_width or None
        return place(self.source.tensors, self.kind.text, tower, self.published.beside)

    @cached_property
    def ranked(self) -> list[Candidate]:
        inside = self.published.module(self.placed.prefixes.get("projector")).get("inside", {})
        parts = {name.rpartition(".")[0].rpartition(".")[2] or name for name in (*self.placed.projector, *inside)}
        return rank(signs(self.published.fields, self.published.model, sorted(parts)), self.root)

    @property
    def near(self) -> Candidate | None:
        return next((one for one in self.ranked[:1] if one.is_near), None)

    @cached_property
    def half(self) -> halves.Half:
        return halves.half(language(self.source, self.kind), self.kind, self.root)

    @cached_property
    def stored(self) -> Candidate | None:
        """The spec whose tower lies on disk as this one's, where its class calls tensors otherwise."""
        return stored_as(self.placed.tower, self.ranked)

    def draft(self) -> Draft:
        body, (frame, doubts) = self.body(), self.frame()
        nearest = self.ranked[0].loaded.name if self.ranked else "the defaults"
        taken, error = suit(body, partial(self.wrong, frame), nearest)
        if error is None and (said := tests(self.published, self.loaded(frame, body), self.stored)):
            frame, doubts = self.tried(body, frame, doubts, said)
        return self.report(body, frame, doubts, taken, error)

    def body(self) -> Body:
        """The sections, every key marked that is not seen."""
        body = Body({})
        section, about = halves.put(self.half, self.published.default(TEXT))
        if section is not None:
            body.put(section, "text")
        body.marks |= about
        draft_tower(body, self.published, self.ranked)
        if self.stored is not None:
            draft_stored(body, self.published.model, self.stored)
        draft_projector(body, self.placed, self.published, [one for one in (self.stored, self.near) if one is not None])
        draft_merge(body, self.published, self.near)
        self.prefixes(body)
        if "processor" in self.published.model:
            body.put(self.published.model["processor"], "processor")
        return body

    def tried(
        self, body: Body, frame: dict[str, Any], doubts: dict[str, str], said: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """The frame with what is said of tests, if that checks."""
        tried = {**frame, "tests": dict(said)}
        if self.wrong(tried, body) is not None:
            return frame, doubts
        return tried, {**doubts, "tests": "tests: sizes that are equal to a width here go with it"}

    def frame(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Name, architecture, and the config class where transformers has none."""
        frame: dict[str, Any] = {"name": self.name}
        known, architecture = self.published.known, self.kind.architecture
        if known is not None:
            if self.name != known.model_type or architecture not in known.architectures:
                frame["architecture"] = architecture
            if architecture not in known.architectures:
                frame["config"] = f"transformers:{known.name}"
            return frame, {}
        fields = declared_fields(self.kind.whole)
        tower = {**declared_fields(self.published.tower), "model_type": self.published.tower.get("model_type", "")}
        declared = {
            "model_type": spec_name(self.published.model_type),
            "class": f"{class_prefix(architecture)}Config",
            "fields": {**fields, TOWER: tower},
        }
        doubt = "config.fields: transformers has no such model type; the values here become the defaults"
        return {**frame, "architecture": architecture, "config": declared}, {"config": doubt}

    def prefixes(self, body: Body) -> None:
        """Where the parts begin, and what is no part."""
        for part, path in written(self.placed.prefixes).items():
            if part != "projector" or body.get("projector") != "none":
                body.put(path, "checkpoint", "names", part)
        if self.placed.rest:
            drops = [{"match": f"{path}.*", "why": "no part of it reads it"} for path in self.placed.rest]
            body.put(drops, "checkpoint", "drop", doubt="modules beside tower, projector and text; they are left out")

    def loaded(self, frame: Mapping[str, Any], body: Body) -> LoadedImageText:
        path = self.root / self.target
        return read_image_text(load(spec_text(frame, {}, body, []), self.target), path, self.root)

    def wrong(self, frame: Mapping[str, Any], body: Body) -> SpecError | None:
        """What is wrong with the spec, or with what it asks of the templates."""
        try:
            plan_any(self.loaded(frame, body))
        except SpecError as error:
            return error
        return None

    def report(
        self,
        body: Body,
        frame: Mapping[str, Any],
        doubts: Mapping[str, str],
        taken: list[str],
        error: SpecError | None,
    ) -> Draft:
        loaded = self.loaded(frame, body) if error is None else None
        text = spec_text(frame, doubts, body, list(_unwritten(body, self.published.fields)))
        best = self.ranked[0] if self.ranked else None
        return Draft(
            name=self.name,
            spec=self.target,
            written=False,
            text=text,
            source=self.source.shown,
            kind=self.kind.name,
            seen=(*self.kind.seen, *self.seen()),
            nearest=best.path if best is not None else "none",
            alike=round(best.alike, 4) if best is not None else 0.0,
            equals=tuple(one.path for one in self.ranked[1:] if best is not None and one.alike == best.alike),
            runners_up=tuple(f"{one.path} ({one.alike:.2f})" for one in self.ranked[1:3]),
            differences=(),
            uncertain=tuple(line[13:] for line in text.splitlines() if line[:13] == "# uncertain: "),
            taken_out=tuple(taken),
            unexplained=(*self.half.strange, *(f"{path}.*" for path in self.placed.rest)),
            missing=self.half.lacking,
            unread=(),
            problems=tuple(f"{one.path}: {one.message}; {one.cure}" for one in error.problems) if error else (),
            files=self.files(loaded),
            tests=tuple(self.tests()),
            lacking=error.lacking if error is not None else (),
            notes=self.source.notes,
            parts=tuple(self.parts(body)),
        )

    def seen(self) -> Iterator[str]:
        known = self.published.known
        told = f"transformers' {known.name}" if known else "not in transformers, so the draft declares its config class"
        yield f"model type {self.published.model_type}: {told}"
        if self.source.tensors:
            placed = (("text", self.placed.text), ("tower", self.placed.tower), ("projector", self.placed.projector))
            of = ", ".join(f"{len(held)} of the {part}" for part, held in placed)
            yield f"{len(self.source.tensors)} tensors: {of}"

    def parts(self, body: Body) -> Iterator[str]:
        """What the model is made of, a line for each part."""
        half = self.half
        own = "of its own model type" if half.own else f"the nearest to {half.model_type}, undecided"
        laid = f", with {len(half.laid)} keys laid on it" if half.laid else ""
        yield f"text: specs/{half.spec}.yaml, {own}{laid}{self.at('text')}"
        told = f"{self.published.model['tower']}, by AutoModel" if self.published.model else "AutoModel's, undecided"
        yield f"tower: {body.get('vision', 'tower') or told}{self.at('vision')}"
        projector = body.get("projector") or f"{DEFAULT}, the default"
        yield (
            "projector: none beside the tower"
            if projector == "none"
            else (f"projector: {flow(projector)}{self.at('projector')}")
        )
        tokens = placeholders(self.published)
        yield "merge: placeholder " + (", ".join(f"{name} = {value}" for name, value in tokens.items()) or "unknown")
        positions, mask = body.get("positions") or "tokens are counted", body.get("mask") or "causal"
        yield f"positions: {flow(positions)}; mask: {mask}"
        yield f"processor: {body.get('processor') or 'unknown'}"

    def at(self, part: str) -> str:
        """Where a part begins on disk, if tensors show it."""
        return f"; at {self.placed.prefixes[part]}" if part in self.placed.prefixes else ""

    def files(self, loaded: LoadedImageText | None) -> tuple[str, ...]:
        if loaded is None:
            return ()
        made, at = generate(loaded, self.places), self.places
        return (
            *(one.path for one in made.artifacts),
            *(f"{path} (entries)" for path in (at.registry, *at.indexes[1:])),
        )

    def tests(self) -> Iterator[str]:
        if self.places.tests is not None:
            yield f"{self.places.tests}/{self.name}/test_{self.name}.py"
        yield f"codegen parity {self.name}"
        yield f"codegen parity {self.name} --checkpoint {self.source.shown}"
        if self.published.known is None:
            reference = f"tests.reference.{self.name}:{self.kind.architecture}"
            yield f'they need a reference: write it in plain torch, and `tests: {{reference: "{reference}"}}`'


def _unwritten(body: Body, fields: Mapping[str, Any]) -> Iterator[str]:
    """Defaults that the draft relies on: those that are marked, and those that leave no trace."""
    yield from (f"{path[0]}: {why}" for path, why in body.marks.items() if path[0] not in body.content)
    if body.get("mask") is None:
        yield "mask is causal: that tokens of an image, or of the prompt, see each other leaves no trace"
    if body.get("merge", "lookup") is None:
        yield "merge.lookup is token: 0 would look the same where the placeholder lies in the vocabulary"
    if body.get("vision", "skip") is None and fields.get("vision_feature_select_strategy") is None:
        yield "vision.skip is 0: leading tokens that are no patches leave no trace"
