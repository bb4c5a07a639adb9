"""The draft of a causal language model, or of the text in a larger one."""

import re
from collections.abc import Mapping
from keyword import iskeyword
from pathlib import Path
from typing import Any

from codegen.configs import ConfigTable, table
from codegen.errors import CodegenError, SpecError
from codegen.frozen import Frozen
from codegen.generate import generate
from codegen.language.check import read_text
from codegen.language.frame import IDENTIFIER
from codegen.language.loaded import LoadedSpec, config_class
from codegen.language.reserved import class_prefix
from codegen.new import compose, nearest
from codegen.new.body import Body
from codegen.new.doubts import distrust, suit, unwritten
from codegen.new.expected import expect
from codegen.new.fused import lie_as_elsewhere
from codegen.new.kind import VLM, Kind, classify
from codegen.new.report import Draft
from codegen.new.source import Source
from codegen.new.text import spec_text
from codegen.new.values import Values, values
from codegen.new.weights import Weights, arrange, within
from codegen.places import places
from codegen.tiny.mentions import mentions


def spec_name(text: str) -> str:
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_")
    if not IDENTIFIER.fullmatch(name) or iskeyword(name):
        raise CodegenError(f"{text!r} is no name for a spec; give an ASCII identifier with --name")
    return name


class Composed(Frozen):
    """The body of a draft, and what it rests on.

    ranked: the specs by likeness. error: what is wrong as it stands. beyond: what was left out of the checkpoint.
    taken: what of the nearest spec does not suit. loose: what is not taken from it, because it is not near enough.
    """

    found: Values
    weights: Weights
    ranked: tuple[nearest.Candidate, ...]
    body: Body
    frame: Mapping[str, Any]
    doubts: Mapping[str, str]
    error: SpecError | None
    loaded: LoadedSpec | None
    beyond: tuple[str, ...]
    taken: tuple[str, ...]
    loose: tuple[str, ...]


class Drafting(Frozen):
    """One draft in the making."""

    source: Source
    kind: Kind
    name: str
    target: str
    root: Path
    table: ConfigTable

    @property
    def architecture(self) -> str:
        prefix = class_prefix(self.kind.architecture)
        return f"{prefix}ForCausalLM" if self.kind.name == VLM else self.kind.architecture

    def composed(self) -> "Composed":
        """The body of the draft beside what it rests on."""
        found = values(self.source.config, f"{class_prefix(self.architecture)}Config", self.table)
        tensors, beyond = within(self.source.tensors, found.get("num_hidden_layers"))
        weights = arrange(tensors)
        experts = classify({**self.source.config, "architectures": [self.architecture]}, beside=False).name
        ranked = nearest.rank(weights, found, experts, self.root, self.table)
        if not ranked:
            folder = self.root / places(str(self.root)).specs
            raise CodegenError(f"{folder}: holds no valid spec to draft from; start with `name: llama`")
        best = ranked[0]
        body = compose.compose(best, weights, found, experts)
        lie_as_elsewhere(body, ranked, found)
        frame, doubts = self.frame(found)
        taken, error = suit(body, lambda one: self.wrong(frame, one), best.name)
        compose.follow_config(body, best, found)  # once more: what did not suit may have stood in the way
        more, error = suit(body, lambda one: self.wrong(frame, one), best.name)
        taken += more

        def strays(one: Body) -> int:
            return sum(map(len, checked(self.loaded(frame, one), found, weights)))

        distant = error is None and not best.is_near
        loose = distrust(body, lambda one: self.wrong(frame, one), strays, best.name) if distant else []
        body.tidy()
        loaded = self.loaded(frame, body) if error is None else None
        notes = tuple(beyond), tuple(taken), tuple(loose)
        return Composed(found, weights, tuple(ranked), body, frame, doubts, error, loaded, *notes)

    def draft(self) -> Draft:
        made = self.composed()
        found, weights, ranked, body, error = made.found, made.weights, made.ranked, made.body, made.error
        best, loaded, taken, beyond, loose = ranked[0], made.loaded, made.taken, made.beyond, list(made.loose)
        text = spec_text(made.frame, made.doubts, body, [*loose, *unwritten(body, loose)])
        strange, lacking = checked(loaded, found, weights)
        files, templates = self.files(loaded)
        return Draft(
            name=self.name,
            spec=self.target,
            written=False,
            text=text,
            source=self.source.shown,
            kind=self.kind.name,
            seen=(*self.kind.seen, *self.seen(found, weights)),
            nearest=best.path,
            alike=round(best.alike, 4),
            equals=tuple(one.path for one in ranked[1:] if nearest.are_alike(one, best)),
            runners_up=tuple(f"{one.path} ({one.alike:.2f})" for one in ranked[1:3]),
            differences=tuple(nearest.differences(best, weights, found)),
            uncertain=tuple(
                line.removeprefix("# uncertain: ") for line in text.splitlines() if line[:13] == "# uncertain: "
            ),
            taken_out=tuple(taken),
            unexplained=tuple(strange),
            missing=tuple(lacking),
            unread=_unread(loaded, found),
            problems=tuple(f"{one.path}: {one.message}; {one.cure}" for one in error.problems) if error else (),
            files=files,
            tests=self.tests(found),
            lacking=templates,
            notes=(*self.source.notes, *beyond),
        )

    def frame(self, found: Values) -> tuple[dict[str, Any], dict[str, str]]:
        """Name, architecture and config class, where they do not follow from the name."""
        frame: dict[str, Any] = {"name": self.name}
        doubts: dict[str, str] = {}
        if not found.known or self.architecture not in found.config.architectures[:1]:
            frame["architecture"] = self.architecture
        if found.known:
            if self.name != found.config.model_type:
                frame["config"] = f"transformers:{found.config.name}"
            return frame, doubts
        published = self.source.config["model_type"]
        frame["config"] = {
            "model_type": spec_name(published),
            "class": found.config.name,
            "fields": dict(found.declared),
        }
        if found.aliases:
            frame["config"]["attribute_map"] = dict(found.aliases)
        doubts["config"] = "config.fields: transformers has no such model type; the values here become the defaults"
        if spec_name(published) != published:
            doubts["config"] = f"config.model_type: the config.json says {published!r}, which is no identifier"
        return frame, doubts

    def loaded(self, frame: Mapping[str, Any], body: Body) -> LoadedSpec:
        return read_text(spec_text(frame, {}, body, []), self.target, self.table)

    def wrong(self, frame: Mapping[str, Any], body: Body) -> SpecError | None:
        try:
            self.loaded(frame, body)
        except SpecError as error:
            return error
        return None

    def seen(self, found: Values, weights: Weights) -> list[str]:
        model_type = self.source.config["model_type"]
        lines = [
            (
                f"model type {model_type}: transformers' {found.config.name}"
                if found.known
                else f"model type {model_type}: not in transformers, so the draft declares {found.config.name}"
            )
        ]
        if weights.inside:
            number = len(self.source.tensors)
            lines.append(f"{number} tensors, {len(weights.inside)} kinds of them in layers {weights.layers}")
        if weights.headless and weights.inside:
            lines.append("tensor names start inside the base model: saved without its head")
        if weights.sometimes:
            lines.append(f"only some layers have {', '.join(sorted(weights.sometimes))}")
        if found.left_out:
            lines.append(f"config entries that no field can have: {', '.join(found.left_out)}")
        return lines

    def files(self, loaded: LoadedSpec | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What applying writes and edits, and what it lacks."""
        if loaded is None:
            return (), ()
        at = places(str(self.root))
        try:
            made = generate(loaded, at)
        except SpecError as error:
            return (), error.lacking
        edits = (f"{path} (entries)" for path in (at.registry, *at.indexes[:1]))
        return (*(artifact.path for artifact in made.artifacts), *edits), ()

    def tests(self, found: Values) -> tuple[str, ...]:
        folder = places(str(self.root)).tests
        lines = [f"{folder}/{self.name}/test_{self.name}.py"] if folder is not None else []
        lines.append(f"codegen parity {self.name}")
        lines.append(f"codegen parity {self.name} --checkpoint {self.source.shown}")
        if not found.known:
            reference = f"tests.reference.{self.name}:{self.architecture}"
            lines.append(f'they need a reference: write it in plain torch, and `tests: {{reference: "{reference}"}}`')
        return tuple(lines)


def checked(loaded: LoadedSpec | None, found: Values, weights: Weights) -> tuple[list[str], list[str]]:
    """Tensors that the finished draft does not expect, and those that it expects in vain."""
    if loaded is None or not weights.inside:
        return [], []
    expected = expect(loaded, found)
    weights = weights.without(expected.dropped)
    strange, lacking = list[str](), list[str]()
    stack = f"{weights.model}.{weights.layers}.*."
    for prefix, here, there in (
        (stack, weights.inside, expected.inside),
        (f"{weights.model}.", weights.around, expected.around),
        ("", weights.top, expected.top),
    ):
        strange += [prefix + name for name in nearest.unexplained(here, there)]
        lacking += [prefix + name for name in sorted(nearest.missing(here, there) - expected.tied)]
    return strange, lacking


def _unread(loaded: LoadedSpec | None, found: Values) -> tuple[str, ...]:
    if loaded is None:
        return ()
    config = config_class(loaded, table())
    read_fields = {mention.field for mention in mentions(loaded, config)} | {"rope_parameters"}
    named = {config.field_name(name) for name in ("hidden_size", "num_hidden_layers", "max_position_embeddings")}
    return tuple(sorted(found.fields - read_fields - named - set(found.aliases)))
