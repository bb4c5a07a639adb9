"""What a candidate says as a constant, or reads of another field, and may read of the field that was changed; and what
it reads of that field, by itself or by default, and may not."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transformers.activations import ACT2FN

from codegen.language.keys import Section, keys
from codegen.language.spec import Spec
from nemo_automodel.parity.infer.below import keys_below
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.offer import FITTED, Offer
from nemo_automodel.parity.infer.puts import of_function
from nemo_automodel.parity.infer.variants import held
from nemo_automodel.parity.mutant import Path
from nemo_automodel.parity.mutate_written import EQUATIONS

FIELD = re.compile(r"\bconfig\.(\w+)\b(?![.\[])")
FLAT = bool | int | float


def followed(
    candidate: Candidate,
    before: Mapping[str, Any],
    values: Mapping[str, Any],
    changed: Sequence[str],
    language: type[Section] = Spec,
) -> Iterator[Offer]:
    """before: the values of the config in which the candidate is right so far. values: of that in which it is not."""
    for field in changed:
        for path in _by_word(candidate, held(before, field), held(values, field), language):
            yield Offer(((path, f"config.{field}"),), FITTED)
        found = [*_in_place(candidate, field, before)]
        yield from (Offer((put,), FITTED) for put in found)
        for key in dict.fromkeys((path[-1], str(other)) for path, other in found):  # of several kinds of layers
            some = [put for put in found if (put[0][-1], str(put[1])) == key]
            yield from [Offer((*some,), FITTED)] if len(some) > 1 else []
        for path, words in _by_default(candidate, field, language):
            if isinstance(was := held(before, field), FLAT) or was in words:
                yield Offer(((path, was),), FITTED)


def _in_place(candidate: Candidate, field: str, before: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Of every key that is written."""
    for path, value in candidate.body.leaves():
        calls = _calls(value, field, before) if path[-1] in EQUATIONS else ()
        yield from ((path, other) for other in (*_others(value, field, before), *calls))


def _others(value: Any, field: str, before: Mapping[str, Any]) -> Iterator[Any]:
    """The value with the field in place of what held the same before, or the other way round."""
    was = held(before, field)
    if isinstance(value, list):
        return
    if not isinstance(value, str):
        if type(value) is type(was) and value == was:
            yield f"config.{field}"
        elif isinstance(value, bool) and isinstance(was, bool):
            yield f"not config.{field}"
        return
    if value == f"config.{field}" and (isinstance(was, FLAT) or was in [*ACT2FN]):
        yield was
    elif field in FIELD.findall(value) and isinstance(was, FLAT):
        yield re.sub(rf"\bconfig\.{re.escape(field)}\b(?![.\[])", repr(was), value)
    for other in dict.fromkeys(FIELD.findall(value)):
        if other != field and type(before.get(other)) is type(was) and before.get(other) == was:
            yield re.sub(rf"\bconfig\.{re.escape(other)}\b", f"config.{field}", value)


def _calls(value: Any, field: str, before: Mapping[str, Any]) -> Iterator[list[str]]:
    """Equations with the function that the field names in place of the one that it named before."""
    lines = [str(line) for line in value] if isinstance(value, list) else [str(value)]
    others = [of_function(line, str(held(before, field)), f"config.{field}") for line in lines]
    if others != lines:
        yield others


def _by_word(candidate: Candidate, was: Any, now: Any, language: type[Section]) -> Iterator[Path]:
    """Keys that may say both words of a field, and say the first so far."""
    if candidate.problems or not isinstance(was, str) or not isinstance(now, str) or {was, now} <= {*ACT2FN}:
        return
    for section, key in keys(language).items():
        for path, inner in keys_below((section,), key, candidate.data):
            said = candidate.body.get(*path) or next(iter((*inner.chain, *inner.words)), None)
            if {was, now} <= {*inner.words} and said == was:
                yield path


def _by_default(candidate: Candidate, field: str, language: type[Section]) -> Iterator[tuple[Path, Sequence[str]]]:
    """Keys that are not written, and mean the field by themselves, with the words that may stand there."""
    if candidate.problems:
        return
    for section, key in keys(language).items():
        for path, inner in keys_below((section,), key, candidate.data):
            if f"config.{field}" in inner.chain and candidate.body.get(*path) is None:
                yield path, inner.words
