"""Factors of attention's scores: on the queries in place of the scores, and by the number of the layer."""

import re
from collections.abc import Iterator, Sequence

from codegen.language.attention import HEAD_DIM
from codegen.language.keys import keys
from codegen.language.spec import Spec
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.offer import NEEDED, READ, Offer
from nemo_automodel.parity.mutant import put

SCALE, QUERIES = ("attention", "scale"), ("attention", "multipliers", "q")
WIDTH = re.compile(r"(?<![.\w])head_dim\b")


def moved(candidate: Candidate) -> Iterator[Offer]:
    """The scale of the scores, as a factor on the queries, which are rounded with it."""
    scale, written = _scale(candidate), candidate.body.get("attention", "head_dim")
    if scale is None or candidate.body.get(*QUERIES) is not None:
        return
    for width in dict.fromkeys([str(written)] if written is not None else filter(is_plain, HEAD_DIM)):
        other = candidate.with_(put(put(candidate.data, SCALE, 1), QUERIES, WIDTH.sub(_closed(width), scale)))
        if not other.problems:
            yield Offer(tuple((path, other.body.get(*path)) for path in (SCALE, QUERIES)), NEEDED)
            return


def layered(candidate: Candidate, conditions: Sequence[str]) -> Iterator[Offer]:
    """The scale of the scores, divided or multiplied by how many layers there are up to here; under conditions."""
    scale = _scale(candidate)
    for condition in (None, *conditions) if scale is not None else ():
        number = "(layer + 1)" if condition is None else f"(layer + 1 if {condition} else 1)"
        yield from (Offer(((SCALE, f"{_closed(scale)} {sign} {number}"),), READ) for sign in "/*")


def is_plain(text: str) -> bool:
    """Whether a default calls nothing: factors may not."""
    return not text.endswith(")")


def _scale(candidate: Candidate) -> str | None:
    """What stands there, or the default; None where the attention has no scores."""
    attention = keys(Spec)["attention"]
    kind = str(candidate.body.section("attention").get("kind") or attention.default)
    key = keys((attention.kinds or {})[kind]).get("scale")
    return None if key is None else str(candidate.body.get(*SCALE) or key.chain[0])


def _closed(text: str) -> str:
    """As an operand."""
    return text if text.replace(".", "").replace("_", "").isalnum() else f"({text})"
