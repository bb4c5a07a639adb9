"""What the language of images and text offers beside what a spec says: every key that it leaves at its default."""

import ast
from collections.abc import Iterator
from typing import Any

from codegen.language.keys import Key, Section, keys
from codegen.language.vision.equations import parts_called
from codegen.language.vision.loaded import LoadedImageText
from codegen.language.vision.sections import ImageTextSpec, LinearPart
from nemo_automodel.parity.mutant import Data, Named, Path, Reader, dotted, flipped, other_words, put
from nemo_automodel.parity.mutate_projector import projection_mutants

PREFIXES = ("text", "head", "vision", "projector")
# What keys without words, and without a default that can be read, are set to.
OFFERED: dict[Path, tuple[Any, ...]] = {
    ("vision", "pixels"): ("pixel_values * 2",),
    ("vision", "output"): ("last_hidden_state", "hidden_states[-1]", "hidden_states[-2]", "pooler_output"),
    ("vision", "skip"): ("0", "1"),
    ("vision", "grid"): ("image_sizes",),
    ("merge", "lookup"): (
        *("token", "0", "0 if token >= config.text_config.vocab_size else token"),
        "config.text_config.pad_token_id",
    ),
    ("merge", "deepstack"): ("hidden_states",),
    ("positions", "start"): ("1",),
    ("positions", "grid"): ("with_time(image_sizes)",),
    ("head", "tie"): ("config.text_config.tie_word_embeddings",),
}
# What names a class of transformers, its arguments, or a file: it may be left out where it is written.
FIXED: tuple[Path, ...] = (("text", "spec"), ("vision", "tower"), ("vision", "inputs"))
UNREAD = ("processor",)  # by the model


class Offers:
    """Mutants of one spec, of which `spec` says what holds where it leaves keys to their defaults."""

    def __init__(self, data: Data, spec: LoadedImageText, reader: Reader) -> None:
        self.data, self.spec, self.reader = data, spec.spec, reader

    def mutants(self) -> Named:
        yield from self._projector()
        for name, key in keys(ImageTextSpec).items():
            value = getattr(self.spec, name)
            if key.type == "named":
                yield from self._parts(key)
            elif key.type == "kinds":
                yield from self._kinds((name,), key, value)
            elif key.type == "choice":
                yield from self._set((name,), (word for word in key.words if word != value))
            elif name == "checkpoint":
                yield from self._names()
            elif key.type == "section" and name not in UNREAD:
                yield from self._section((name,), value)

    def _projector(self) -> Named:
        """The equations, where they are not written; and none."""
        lines = [f"{', '.join(e.targets)} = {ast.unparse(e.value)}" for e in self.spec.equations]
        for index, line in enumerate(lines if "projector" not in self.data else ()):
            for done, other in projection_mutants(line):
                yield f"projector: {done}", put(self.data, ("projector",), [*lines[:index], other, *lines[index + 1 :]])
        if self.spec.projector:
            yield "projector: none", put(self.data, ("projector",), "none")

    def _parts(self, key: Key) -> Named:
        """What the equations call, declared or not."""
        for name in parts_called(self.spec.equations):
            yield from self._kinds(("parts", name), key, self.spec.parts.get(name) or LinearPart())

    def _kinds(self, path: Path, key: Key, section: Section) -> Named:
        kinds = key.kinds or {}
        mine = next(kind for kind, cls in kinds.items() if cls is type(section))
        yield from self._set(path, (kind for kind in kinds if kind != mine))
        here = path if mine == (key.default or mine) else (*path, mine)
        yield from self._section(path, section, kind=mine if here != path else None)

    def _section(self, path: Path, section: Section, kind: str | None = None) -> Named:
        """Every key of a section; `kind`: what an unwritten one has to say besides."""
        for name, key in keys(type(section)).items():
            here, value = (*path, name), getattr(section, name if hasattr(section, name) else f"{name}_")
            if here in FIXED:
                continue
            for other in self._alternatives(here, key, value):
                made = put(self.data, here, other)
                if kind is not None:
                    made = put(made, (*path, "kind"), kind)
                yield f"{dotted(here)}: {other}", made

    def _alternatives(self, path: Path, key: Key, value: Any) -> Iterator[Any]:
        if key.type == "choice":
            yield from other_words(key, value)
        if key.type == "expression" and (now := value or self.reader.default(key)) is not None:
            yield from flipped(now.text, self.reader.read(now))
        yield from OFFERED.get(path, ())

    def _set(self, path: Path, values: Iterator[Any]) -> Named:
        for value in values:
            yield f"{dotted(path)}: {value}", put(self.data, path, value)

    def _names(self) -> Named:
        """Every prefix and every part that lies elsewhere, and every matrix the other way round."""
        parts = parts_called(self.spec.equations)
        written = self.data.get("checkpoint", {}).get("names", {})
        for name in (*PREFIXES[: 4 if parts else 3], *parts):
            if name not in written:
                yield from self._set(("checkpoint", "names", name), iter(["elsewhere"]))
        turned = self.spec.checkpoint.transposed or ()
        for name in parts:
            if isinstance(self.spec.parts.get(name) or LinearPart(), LinearPart) and name not in turned:
                yield from self._set(("checkpoint", "transposed"), iter([[*turned, name]]))
