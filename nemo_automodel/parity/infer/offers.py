"""What to try where a candidate differs: what other specs say there, what the catalog offers, what the config holds."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import NoneType
from typing import Any

from transformers.activations import ACT2FN

from codegen.language.chains import candidate
from codegen.language.disk import NORMED
from codegen.language.keys import Key, Section, keys
from codegen.language.mlp import Moe
from codegen.language.spec import USUAL_KINDS, WIRINGS, Spec
from codegen.tiny.configs import SWITCHES
from nemo_automodel.parity.asked import NOWHERE
from nemo_automodel.parity.infer.added import added, other_blocks, uncalled
from nemo_automodel.parity.infer.below import keys_below, rounds
from nemo_automodel.parity.infer.candidate import PARTS, Candidate
from nemo_automodel.parity.infer.combined import combined
from nemo_automodel.parity.infer.differences import ROUTING
from nemo_automodel.parity.infer.donors import Donors
from nemo_automodel.parity.infer.dropped import SECTION, dropped
from nemo_automodel.parity.infer.followed import followed
from nemo_automodel.parity.infer.guarded import entry_under, guarded, joined, lessened, narrowed, unless
from nemo_automodel.parity.infer.judge import Stop
from nemo_automodel.parity.infer.nearest import roundings
from nemo_automodel.parity.infer.offer import DELETED, FITTED, LIKELY, NEEDED, OFFERED, READ, REMADE, SAID, Offer
from nemo_automodel.parity.infer.order import Order
from nemo_automodel.parity.infer.puts import chosen, in_words_of, of_field, recast, renamed, scaled, tests_of, with_keys
from nemo_automodel.parity.infer.questions import TRAINING
from nemo_automodel.parity.infer.scaled import layered, moved
from nemo_automodel.parity.infer.stored import fused_rows, stored
from nemo_automodel.parity.infer.variants import AT_ONCE, held
from nemo_automodel.parity.infer.words import meant
from nemo_automodel.parity.mutant import Path
from nemo_automodel.parity.mutate_text import equation_mutants, lines_of
from nemo_automodel.parity.mutate_written import EQUATIONS, deletions
from nemo_automodel.parity.mutations import OVERLAYS

FIELD = re.compile(r"\bconfig\.(\w+)")
ALONE = "outputs, one"
AMONG_TOKENS = ("outputs, short", "outputs, plain", "outputs, left")  # where single tokens are right
COMPUTED = ("outputs, one", "outputs, short", "outputs, plain", "outputs, left", "given embeddings")  # names are right
EPSILONS = (1e-20, 1e-12, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5)
LAYERS = "num_hidden_layers"
ODD = "odd tokens of experts"  # whose scores are as small as what is added to their sum
KINDED = ("attention", "mlp")
ONCE = ("input", "output", "embedding", "head")  # of a model, whatever its layers
AROUND = ("input", "output", "positions", "embedding", "head", "rope", "norm", "parts", "checkpoint")
ORDERED = ("attention", "mlp", "rope", "block", "norm", "input", "output")  # what is tried before all else
ALL = (*ORDERED, *(name for name in keys(Spec) if name not in ORDERED))


class Offers:
    """All that may be tried for one candidate at one stop. unread: fields that show and that the candidate does not
    read. words: the kinds of layers that there are. fitted: what the reference's run, or its
    tensors, show at paths of the language. values: of the config at which it stops. changed: the fields by which that
    config differs from the first; before: the values of that one. apart: what the drafts of both say otherwise.
    withdrawn: what the draft said before."""

    language: type[Section] = Spec
    sections: tuple[str, ...] = ALL
    overlays: tuple[str, ...] = OVERLAYS

    def __init__(
        self,
        candidate: Candidate,
        stop: Stop,
        donors: Donors,
        unread: Sequence[str],
        words: Sequence[str],
        fitted: Sequence[tuple[Path, Any]] = (),
        values: Mapping[str, Any] | None = None,
        changed: Sequence[str] = (),
        before: Mapping[str, Any] | None = None,
        apart: Sequence[tuple[Path, Any]] = (),
        withdrawn: Sequence[tuple[Path, Any]] = (),
    ) -> None:
        self.candidate, self.stop, self.donors, self.unread, self.words = candidate, stop, donors, unread, words
        self.fitted, self.apart, self.withdrawn = fitted, apart, withdrawn
        self.values, self.changed, self.before = values or {}, changed, before or {}
        self.data = candidate.data
        self.bits = stop.what.endswith("in bf16")
        self.stored = stop.what not in COMPUTED and not self.bits
        self.memory = stop.what != "tensors"  # whose names the stop tells
        self.order = Order(candidate, stop, unread, changed)

    def groups(self) -> Iterator[list[Offer]]:
        """What a run shows; then the likeliest together, then the others."""
        fitted = [one for path, value in self.fitted for one in self._shown(path, value)]
        read = followed(self.candidate, self.before, self.values, self.changed, self.language)
        others = [one for put in other_blocks(self.candidate, self.stop) for one in self._conditioned([put])]
        yield [*read, *fitted, *self._redrafted(), *others, *self._again(), *self._held(), *self._rounded()]
        if "variants" in self.overlays:
            if self.stop.case.startswith(AT_ONCE):  # each was right alone
                yield list(guarded(self.candidate.body, self._conditions(here=False)))
            yield list(narrowed(self.candidate.body, self._conditions(here=False)))
            yield list(combined(self.candidate, self.stop, self.order.wrong)) if not self.changed else []
        near = self._named()
        if near[:1] == [SECTION]:  # all else is right, where only training tells
            found = [*dropped(self.candidate, self.changed)]
            puts = [one.puts for one in found if {path[0] for path, _ in one.puts} == {SECTION}]
            found += [one for some in puts for one in self._conditioned(some)]
            yield sorted([*found, *self._of_section(SECTION)], key=self.order.rank)
            return
        rest = [one for one in (*self.overlays, *self.sections) if one not in near]
        for sections in (near, rest):
            found = [one for section in sections for one in self._of_section(section)]
            if sections is near:
                found += stored(self.candidate, self.stop)
                found += self._of_rows(near)
                found += self._of_scores(near)
                found += added(self.candidate, self.stop, [(), *self._overlays()])
                found += uncalled(self.candidate, self.stop, self._layers())
                found += guarded(self.candidate.body, self._conditions(here=False))
                both = unless({name: self.values.get(name) for name in self.changed}, self._conditions())
                found += [replace(one, tier=NEEDED) for one in guarded(self.candidate.body, [*both])]
                found += lessened(self.candidate, self._conditions()) if "variants" in self.overlays else []
            yield sorted(found, key=self.order.rank)

    def _shown(self, path: Path, value: Any) -> Iterator[Offer]:
        """What a run shows; at no path: several values at once, by their paths."""
        yield from self._at(path, value, FITTED) if path else [Offer((*value.items(),), FITTED)]

    def _of_rows(self, near: Sequence[str]) -> Iterator[Offer]:
        """Where single tokens differ, nothing acts in attention but its projections: how their rows lie comes first."""
        if self.stop.what == ALONE and not self.candidate.problems:
            found = [one for part, one in fused_rows(self.candidate) if part in near]
            yield from (Offer((one,), NEEDED) for one in found)
            yield from (replace(offer, tier=NEEDED) for one in found for offer in self._conditioned([one]))

    def _of_scores(self, near: Sequence[str]) -> Iterator[Offer]:
        """Where their factor is multiplied in, and in which layers it is another."""
        if self.candidate.problems or "attention" not in near:
            return
        if self.bits:
            yield from moved(self.candidate)
        elif self.order.partial and self.stop.what in AMONG_TOKENS:
            yield from layered(self.candidate, [*self._conditions(), *self._conditions(here=False)])

    def _redrafted(self) -> list[Offer]:
        """All that the tensors of a changed config show, at once: of every model, or under a condition; of outputs what
        the drafts of both say otherwise."""
        if self.stop.what != "tensors":
            others = (
                [*self.apart[:turn], (path, other), *self.apart[turn + 1 :]]
                for turn, (path, value) in enumerate(self.apart)
                for other in with_keys(path, value, self.data)
            )
            return [one for puts in (self.apart, *others) for one in self._conditioned(puts)]
        return [Offer(tuple(self.fitted), FITTED), *self._conditioned(self.fitted)] if self.fitted else []

    def _again(self) -> Iterator[Offer]:
        """What was withdrawn, which may be true under a condition; with other words within it too."""
        for path, value in self.withdrawn if "variants" in self.overlays else ():
            for one in (value, *chosen(path, value, self.data)):
                yield from self._conditioned([(path, one)])

    def _conditioned(self, puts: Sequence[tuple[Path, Any]]) -> list[Offer]:
        """All of them at once, under each condition."""
        found: list[Offer] = []
        for condition in self._conditions() if puts else ():
            made, place = entry_under(self.candidate.body, "variants", condition)
            found.append(Offer((*made, *(((*place, *path), value) for path, value in puts)), FITTED, True))
        return found

    def _held(self) -> Iterator[Offer]:
        """How parts are held in memory, where their names there are right."""
        if self.stop.what != "memory" or self.stop.missing or self.stop.unexpected:
            return
        for path, key in keys_below(("checkpoint",), keys(self.language).get("checkpoint"), self.data):
            for word in key.words if key.type == "choice" else ():
                yield from self._at(path, word, OFFERED)

    def _rounded(self) -> Iterator[Offer]:
        """What rounds otherwise, where all components are right and the whole is not: another expert may be chosen; and
        where weights of experts do."""
        if self.candidate.problems or not any(isinstance(flat.mlp, Moe) for flat in self.candidate.flats()):
            return
        where = {one.where for one in self.stop.found}
        whole = self.stop.what.startswith("outputs") and where <= {"", NOWHERE, self.candidate.model(memory=True)}
        if whole or self.bits and any(ROUTING in one for one in where):
            yield from (Offer((), FITTED, False, 1, other.data, said) for said, other in roundings(self.candidate))

    def _named(self) -> list[str]:
        """Sections in which what differs lies, likeliest first."""
        if self.stop.what == "spec":
            named = [one.where.split(".")[0] for one in self.stop.found]
        elif self.stop.what == TRAINING:
            named = [SECTION]
        elif "experts" in self.stop.what:
            named = ["mlp"]
        elif self.stop.what in AMONG_TOKENS:
            named = ["attention", "rope", "input"]
        else:
            named = [section for one in self.stop.inmost[:3] for section in self._sections(one.where)]
        return list(dict.fromkeys([one for one in named if one in self.sections] + [*self.overlays]))

    def _sections(self, path: str) -> list[str]:
        if self.candidate.problems:
            return []
        stack = self.candidate.layers(self.memory) + "."
        if not path.startswith(stack):
            return list(AROUND)
        _, _, inside = path[len(stack) :].partition(".")
        for part in PARTS:
            names = filter(None, self.candidate.names_of(part, self.memory))
            if any(inside == name or inside.startswith(name + ".") for name in names):
                return [part, "checkpoint", *(("rope",) if part == "attention" else ()), "norm"]
        return ["norm", "block", "parts", "checkpoint"] if inside else ["block", *OVERLAYS, "norm", "mlp", "attention"]

    def _of_section(self, section: str) -> Iterator[Offer]:
        if section == "checkpoint" and not self.stored:
            return
        for count, path, said in self.donors.below(section):
            if not self.bits or rounds(path) or path[0] == "block":
                for value in self._of_this_config(said):
                    yield from self._at(path, value, SAID, count)
                    for other in chosen(path, value, self.data) if self.changed else ():
                        yield from self._at(path, other, SAID, count)
                    if isinstance(value, dict) and isinstance(before := self.candidate.body.get(*path), dict):
                        yield from self._at(path, before | value, SAID, count)  # beside what stands there
        for path, key in keys_below((section,), keys(self.language).get(section), self.data):
            if not self.bits or rounds(path):
                for tier, value in self._values(path, key):
                    yield from self._at(path, value, tier)
        yield from self._of_other_kinds(section)
        if section in EQUATIONS:
            yield from self._wired(section)
        for what, mutant in deletions(self.data):
            path = what.removeprefix("delete ").split(".")
            if path[0] == section and (not self.bits or rounds((*path,)) or path[0] == "block"):
                yield Offer((), DELETED, False, 1, mutant, what)

    def _of_other_kinds(self, section: str) -> Iterator[Offer]:
        """The keys of what some layers have in place of what the others have, by the language if not as it is
        written."""
        for prefix in self._overlays() if section in KINDED else ():
            written = self.candidate.body.section(*prefix, section)
            usual = USUAL_KINDS.get(str(prefix[-1]), {}).get(section)
            if (kind := written.get("kind") or usual) is None or not isinstance(kind, str):
                continue
            begun = () if written else (((*prefix, section, "kind"), kind),)
            for path, key in keys_below((section,), keys(Spec).get(section), {section: kind}):
                if path[1:] and (not self.bits or rounds(path)):
                    for _, value in self._values((*prefix, *path), key):
                        yield Offer((*begun, ((*prefix, *path), value)), SAID, True, LIKELY)

    def _of_this_config(self, value: Any) -> Iterator[Any]:
        """What another spec says, in this config's words for sizes; where it reads one field alone that this config
        lacks, of what was changed."""
        if self.candidate.problems:
            yield value
            return
        config = self.candidate.config
        here = in_words_of(config, value)
        if all(config.field_name(name) in config.fields for name in FIELD.findall(repr(here))):
            yield here
        if len(read := FIELD.findall(repr(value))) == 1 and config.field_name(read[0]) not in config.fields:
            lacking = f"config.{read[0]}"
            yield from (renamed(value, lacking, f"config.{field}") for field in self.changed if self._is_number(field))

    def _is_number(self, field: str) -> bool:
        """Whether a field may be more than a condition: a word is no size, and no factor."""
        value = held(self.values, field)
        return not isinstance(value, str) or value in ACT2FN

    def _at(self, path: Path, value: Any, tier: int, count: int = 0) -> Iterator[Offer]:
        """A value at a path of the spec, and at the same path of each overlay that it has or may have."""
        if self._is_in_list(path):
            return
        if path[0] in OVERLAYS:
            entries = self.candidate.body.listed(path[0])
            for listed in (*([[*entries, value], [value, *entries]] if entries else []), value):
                yield Offer(((path, listed),), tier, True, count)
            return
        yield Offer(((path, value),), tier, False, count)
        once = path[0] in ONCE
        written = [path[:end] for end in range(1, len(path) + 1)]
        written = [one for one in written if not isinstance(self.candidate.body.get(*one), dict | NoneType)]
        for prefix in self._overlays():
            if once and prefix[0] == "layers":
                continue
            yield Offer((((*prefix, *path), value),), tier, True, count)
            for one in written[:1]:  # the other way round: what stands there is true of that kind alone
                yield Offer(((path, value), ((*prefix, *one), self.candidate.body.get(*one))), tier, True, count)
        for overlay, conditions in (("variants", self._conditions()), ("layers", [] if once else self._schedules())):
            for condition in conditions:
                made, place = entry_under(self.candidate.body, overlay, condition)
                if made:  # others were offered above
                    yield Offer((*made, ((*place, *path), value)), tier, True, count)

    def _is_in_list(self, path: Path) -> bool:
        """Whether a list stands on the way to a path."""
        return any(isinstance(self.candidate.body.get(*path[:end]), list) for end in range(1, len(path)))

    def _conditions(self, here: bool = True) -> list[str]:
        """Under which the changed field makes another model, where the candidate fails on its change. here: those that
        hold of the config at which it stops; else those that do not."""
        if self.candidate.problems:
            return []
        config, values = self.candidate.config, self.values
        found = [one for name in self.changed for one in tests_of(name, config, held(values, name))]
        return [text for text, holds in found if holds == here]

    def _layers(self) -> int:
        """How many the config has at which it stops; 0 where nothing says it."""
        name = "" if self.candidate.problems else self.candidate.config.field_name(LAYERS)
        return self.values.get(name) or 0

    def _schedules(self) -> list[str]:
        """Which layers may be others, where some are right: lists of the config that nothing reads say it."""
        if not self.order.partial:
            return []
        lists = [name for name in self.unread if isinstance(self.values.get(name), list)]
        numbers = [name for name in lists if all(isinstance(one, int | float | None) for one in self.values[name])]
        return [text for name in numbers for text in (f"config.{name}[layer]", f"not config.{name}[layer]")]

    def _overlays(self) -> Iterator[Path]:
        """Paths under which the sections of some layers or variants stand, or may."""
        for name in OVERLAYS:
            written = self.data.get(name)
            entries = enumerate(written) if isinstance(written, list) else [(None, written)] if written else []
            for index, entry in entries:
                here = (name,) if index is None else (name, index)
                if isinstance(entry, dict) and "by" in entry:
                    kinds = entry.get("kinds") if isinstance(entry.get("kinds"), dict) else {}
                    yield from ((*here, "kinds", kind) for kind in dict.fromkeys([*kinds, *self.words]))
                elif isinstance(entry, dict) and "when" in entry:
                    yield here

    def _values(self, path: Path, key: Key) -> Iterator[tuple[int, Any]]:
        name = path[-1]
        if key.type == "expression":
            yield from ((FITTED, text) for text in meant(self.candidate.body.get(*path), key.words, self.before))
        for word in (*(key.kinds or ()), *(key.words if key.type in ("choice", "expression") else ())):
            yield OFFERED, word
        if key.type == "section" and key.bare:
            yield from ((OFFERED, True), (OFFERED, "none"))
        if key.section is not None and "names" in keys(key.section):  # norms that hold nothing are called anything
            names = [f"{one.lower()}_layernorm" for one in NORMED]
            yield from ((SAID, {"names": names, "weight": weight}) for weight in (False, True))
        if name == "eps":
            yield from ((FITTED if self.stop.what == ODD else OFFERED, eps) for eps in EPSILONS)
        is_open = key.type == "expression" and not key.words or key.bare == "*"
        if is_open and not self.candidate.problems:
            yield from ((OFFERED, value) for value in ((True, False) if name in SWITCHES else ("none",)))
            yield from () if name in SWITCHES else ((REMADE, 1),)
            yield from ((READ, f"newer(config.{one}, {value!r})") for one, value in self.candidate.config.newer.items())
            for field in self.changed if self.stop.case.startswith("list_") else ():
                yield READ, f"per_layer(config.{field}, layer)"
            for field in filter(self._is_number, dict.fromkeys((*self.changed, *self.unread))):
                default = held(self.candidate.config.fields, field)
                default = self.values.get(field) if default is None else default  # which the class makes of others
                yield from of_field(field, default, name in SWITCHES)
                yield from self._instead(path, key, field)

    def _instead(self, path: Path, key: Key, field: str) -> Iterator[tuple[int, str]]:
        """A field that may be none, in place of what is said there or of the default."""
        written = self.candidate.body.get(*path)
        text = candidate(key.chain, self.candidate.config) if written is None else str(written)
        may_be_none = held(self.candidate.config.fields, field) is None
        if may_be_none and text is not None and f"config.{field}" not in text:
            yield READ, f"config.{field} or {text}"

    def _wired(self, section: str) -> Iterator[Offer]:
        """Other equations near those of a section: factors that read fields, one term or call changed."""
        if section == "block":
            yield from (Offer(((("block",), name),), OFFERED) for name in WIRINGS)
        if self.candidate.problems:
            return
        lines = lines_of(next(self.candidate.flats()), section)
        for index, line in enumerate(lines):
            for other in self._conditional(section, index, line):
                yield Offer((((section,), [*lines[:index], other, *lines[index + 1 :]]),), FITTED)
            for other in recast(line) if section == "input" else ():
                yield Offer((((section,), [*lines[:index], other, *lines[index + 1 :]]),), FITTED)
            for tier, other in (*scaled(line, self._factors()), *((REMADE, one) for _, one in equation_mutants(line))):
                yield Offer((((section,), [*lines[:index], other, *lines[index + 1 :]]),), tier)

    def _conditional(self, section: str, index: int, line: str) -> Iterator[str]:
        """The equation with a factor that others have there, or that the run shows, where the changed field says so."""
        shown = [lines[index] for path, lines in self.fitted if path == (section,) and index < len(lines)]
        for condition in self._conditions():
            for _, path, value in self.donors.below(section):
                for said in value if isinstance(value, list) else [value]:
                    if path == (section,) and str(said).startswith(f"{line} * "):
                        yield f"{line} * ({str(said)[len(line) + 3 :]} if {condition} else 1.0)"
            for other in shown:
                yield from joined(line, other, condition)

    def _factors(self) -> list[str]:
        """Fields that may be factors: numbers of which nobody counts anything."""
        fields = self.candidate.config.fields
        return [name for name in self.unread if isinstance(fields.get(name), float)]
