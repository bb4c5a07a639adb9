"""What to try where a candidate that takes images differs: of itself, and of its text half."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import product
from typing import Any

from codegen.language.keys import keys
from codegen.language.vision.equations import parts_called
from codegen.language.vision.sections import ImageTextSpec, LinearPart
from codegen.language.vision.tensors import FIELDS
from codegen.new.vision.tower import PATCH
from nemo_automodel.parity.infer.of_images import HalfCandidate, ImageCandidate
from nemo_automodel.parity.infer.offer import DELETED, OFFERED, READ, REMADE, SAID, Offer
from nemo_automodel.parity.infer.offers import FIELD, Offers
from nemo_automodel.parity.infer.variants import TOKENS
from nemo_automodel.parity.mutant import Path, Reader
from nemo_automodel.parity.mutate_images import Offers as Mutants
from nemo_automodel.parity.mutate_written import deletions, flips

TOWER = ("vision", "merge")
BETWEEN = ("projector", "parts", "vision")
WITHIN = ("positions", "mask", "merge")  # what acts in the layers of the text
WHOLE = (*TOWER, "projector", "parts", "positions", "mask", "output", "head", "checkpoint")
FORMS = ("{}", "real_images({}, {pixels})")  # of a field that says something of each image
MASKS = ("{}", f"patch_mask({{}}, {PATCH})", f"patch_mask({{}}, {PATCH}, all)", "with_time({})", "{}[:, 1:]")
TURNED = ("{}", "flatten({})", "not_(flatten({}))")
SMALL = 0.01  # more than any epsilon
OUTPUT = ("vision", "output")


class ImageOffers(Offers):
    """The same of images and text."""

    candidate: ImageCandidate
    language = ImageTextSpec
    sections = WHOLE
    overlays = ()

    def groups(self) -> Iterator[list[Offer]]:
        own, inner = super().groups(), self._of_text()
        yield next(own)
        if self._lies_in_text:
            yield [*next(own, []), *next(inner, [])]
        yield from own
        if self._lies_in_text or not self.stop.what.startswith("outputs"):
            yield from inner

    def _of_text(self) -> Iterator[list[Offer]]:
        """What may be laid on the text spec."""
        if self.candidate.problems:
            return
        half = HalfCandidate.of(self.candidate)
        values, before, changed = self._inner(self.values), self._inner(self.before), self._changed_there
        offers = Offers(half, self.stop, self.donors.of_text, self.unread, self.words, (), values, changed, before)
        yield [Offer((((path), value),), DELETED).within("text") for path, value in half.defaults()]
        for group in offers.groups():
            yield [one.within("text") for one in group if one.mutant is None]

    @staticmethod
    def _inner(values: Any) -> dict[str, Any]:
        found = values.get("text_config")
        return dict(found) if isinstance(found, dict) else {}

    @property
    def _changed_there(self) -> list[str]:
        prefix = "text_config."
        return [name.removeprefix(prefix) for name in self.changed if name.startswith(prefix)]

    @cached_property
    def _lies_in_text(self) -> bool:
        return any(set(self._sections(one.where)) & {"text"} for one in self.stop.inmost[:3])

    def _named(self) -> list[str]:
        if self.stop.what == "spec":
            named = [one.where.split(".")[0] for one in self.stop.found]
        else:
            named = [section for one in self.stop.inmost[:3] for section in self._sections(one.where)]
        return [one for one in dict.fromkeys(named) if one in self.sections]

    def _sections(self, path: str) -> Sequence[str]:
        """Where what differs may be mended, by the part in which it lies: in memory, or on disk."""
        if self.candidate.problems:
            return WHOLE
        parts = {"vision": TOWER, "projector": BETWEEN, "text": ("text", *WITHIN)}
        if not self.memory:
            parts = {name: (*some, "checkpoint") for name, some in parts.items()}
        places = {self.candidate.place(name, self.memory): some for name, some in parts.items()}
        return next((some for place, some in places.items() if f"{path}.".startswith(f"{place}.")), WHOLE)

    def _of_section(self, section: str) -> Iterator[Offer]:
        for count, path, said in self.donors.below(section):
            for value in self._of_this_config(said):
                yield from self._at(path, value, SAID, count)
        for tier, what, mutant in self._mutants:
            if what.removeprefix("delete ").replace(":", ".").partition(".")[0] == section:
                yield Offer((), tier, False, 1, mutant, what)
        if section == "parts" and not self.candidate.problems:
            for path, value in (*self._epsilons(), *self._widths()):
                yield from self._at(path, value, READ)
        if section == "vision" and not self.candidate.problems:
            for path, value in (*self._outputs(), *self._inputs()):
                yield from self._at(path, value, READ)

    @cached_property
    def _mutants(self) -> list[tuple[int, str, Any]]:
        found = [(DELETED, *one) for one in deletions(self.data)]
        if self.candidate.problems:
            return found
        reader = Reader(self.candidate.config, self.values)
        found += [(OFFERED, *one) for one in Mutants(self.data, self.candidate.spec, reader).mutants()]
        flipped = flips(
            {name: self.data[name] for name in ("projector",) if name in self.data}, reader, (ImageTextSpec,)
        )
        return found + [(REMADE, what, {**self.data, **mutant}) for what, mutant in flipped]

    def _at(self, path: Path, value: Any, tier: int, count: int = 0) -> Iterator[Offer]:
        """A value at a path; by itself, and where the changed field says so."""
        if self._is_in_list(path):
            return
        yield Offer(((path, value),), tier, False, count)
        before = self.candidate.body.get(*path)
        if isinstance(before, str) and isinstance(value, str):
            for condition in self._about(f"{before} {value}"):
                yield Offer(((path, f"{before} if {condition} else {value}"),), READ, False, count)

    def _about(self, text: str) -> list[str]:
        """Conditions on a field that an expression reads, if there are such."""
        found = self._conditions(here=False)
        return [one for one in found if set(FIELD.findall(one)) & set(FIELD.findall(text))] or found

    def _conditions(self, here: bool = True) -> list[str]:
        counted = []
        if not here and not self.candidate.problems:
            held = ((name, self.candidate.config.fields.get(name)) for name in self.changed)
            counted = [f"config.{name} == {default}" for name, default in held if type(default) is int]
        return [*super()._conditions(here), *counted]

    def _epsilons(self) -> Iterator[tuple[Path, Any]]:
        """Small numbers of the config that norms of the projector may add."""
        fields = self.candidate.config.fields
        small = [name for name, value in fields.items() if isinstance(value, float) and 0 < value < SMALL]
        for name, part in self.candidate.spec.spec.parts.items():
            if hasattr(part, "eps"):
                yield from ((("parts", name, "eps"), f"config.{field}") for field in small)

    def _widths(self) -> Iterator[tuple[Path, Any]]:
        """Of maps of the projector, where configs carry a field that their class does not declare."""
        usual = keys(LinearPart)["out"].chain[0]
        for name in parts_called(self.candidate.spec.spec.equations):
            yield from (
                (("parts", name, "out"), f"given(config.{one}, {usual})") for one in self.candidate.config.published
            )

    def _outputs(self) -> Iterator[tuple[Path, Any]]:
        """Layers of the tower that a field of the whole counts."""
        for name, value in self.candidate.config.fields.items():
            numbers = value if isinstance(value, list) else [value]
            if numbers and all(type(one) is int for one in numbers) and not name.endswith(TOKENS):
                yield OUTPUT, f"hidden_states[config.{name}]"

    def _inputs(self) -> Iterator[tuple[Path, Any]]:
        """What the tower may be given of a batch: fields as they are, or as masks over patches."""
        model = self.candidate.config.model
        fields = [name for name in FIELDS if name in model.get("batch", ())]
        pixels = next((name for name in fields if name.startswith("pixel_values")), "pixel_values")
        yield from ((("vision", "pixels"), f"{form}({pixels})") for form in ("real_images", "real_tiles"))
        made = [
            mask.format(form.format(field, pixels=pixels))
            for field, form, mask in product(fields, FORMS, MASKS)
            if field != pixels
        ]
        yield from ((("vision", "inputs", name), one) for name in model.get("takes", ()) for one in made)
        if isinstance(self.candidate.body.get("projector"), dict):
            written = self.candidate.body.section("projector", "inputs")
            yield from (
                (("projector", "inputs", name), form.format(one)) for name in written for form in TURNED for one in made
            )
