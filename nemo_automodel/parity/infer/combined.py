"""Changes that show only together: the choices of a mixture's routing, the keys of its gated units, and a key that the
language takes only beside another one."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from codegen.language.keys import keys
from codegen.language.mlp import Experts, Glu, Moe
from codegen.language.spec import Spec
from nemo_automodel.parity.infer.below import key_at, keys_below
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.differences import ROUTING, SUMS
from nemo_automodel.parity.infer.judge import Stop
from nemo_automodel.parity.infer.offer import FITTED, Offer
from nemo_automodel.parity.mutant import Path
from nemo_automodel.parity.sensitivity import is_dtype_key

MLP, GLU, FUSED = ("mlp",), ("mlp", "glu"), ("checkpoint", "fused")
RENORMALIZE, SUM = ("mlp", "router", "renormalize"), "sum"
ALONE = "outputs, one"
Axis = list[tuple[Path, Any] | None]  # what may be put; None: as it is


def combined(candidate: Candidate, stop: Stop, wrong: set[str] | None) -> Iterator[Offer]:
    """Several keys of a mixture at once, the fewest first. wrong: the roles that differ by themselves, if any part
    does."""
    if candidate.problems or stop.what != ALONE or wrong is None:
        return
    if not any(isinstance(flat.mlp, Moe) for flat in candidate.flats()):
        return
    yield from _joined(candidate) if not wrong else ()
    routing = _routing(candidate, sums=any(one.where.endswith(f"{ROUTING}{SUMS}") for one in stop.found))
    axes = [] if wrong == {"experts"} else [routing if wrong else [*routing, *_rows(candidate)]]
    axes += [[*_units(candidate), *_rows(candidate)]] if "experts" in wrong or not wrong else []
    made = [tuple(filter(None, some)) for each in axes for some in product(*each)]
    yield from (Offer(puts, FITTED, together=True) for puts in sorted(made, key=len) if len(puts) > 1)


def _joined(candidate: Candidate) -> Iterator[Offer]:
    """How what experts share and what they make come together, which shows in neither."""
    for path, key in keys_below(MLP, keys(Spec).get("mlp"), candidate.data):
        about = path[1:2] == ("shared",) and candidate.body.get(*path[:2]) is not None
        if about and key.type == "choice" and key.ready and not is_dtype_key(str(path[-1])):
            said = candidate.body.get(*path) or key.words[0]
            yield from (Offer(((path, word),), FITTED) for word in key.words if word != said)


def _routing(candidate: Candidate, sums: bool) -> list[Axis]:
    """Every choice of how experts are found and weighed, but those that only round otherwise. sums: whether those of
    weights differ, so that a renormalization may be taken back."""
    axes: list[Axis] = []
    for path, key in keys_below(MLP, keys(Spec).get("mlp"), candidate.data):
        about = path[1:2] in (("router",), ("experts",)) and len(path) == 3
        if about and key.type == "choice" and key.ready and not is_dtype_key(str(path[-1])) and path[-1] != SUM:
            said = candidate.body.get(*path) or key.words[0]
            words = [word for word in key.words if word != said and word not in key.unready_words]
            axes.append([None, *((path, word) for word in words)])
    absent = candidate.body.get(*RENORMALIZE) in (None, False)
    return [*axes, [None, (RENORMALIZE, absent)]] if absent or sums else axes


def _units(candidate: Candidate) -> list[Axis]:
    """The keys of gated units, with fields that are called like them."""
    config = candidate.config
    declared = {f"config.{name}": value for name, value in config.fields.items()}
    newer = {f"newer(config.{name}, {value!r})": value for name, value in config.newer.items()}
    numbers = {text: value for text, value in (declared | newer).items() if type(value) is float}
    axes: list[Axis] = []
    for name, key in keys(Glu).items():
        if key.type == "expression":
            fields = [text for text in numbers if name in text.rstrip(")").partition(",")[0].split("_")]
            axes.append([None, *(((*GLU, name), value) for value in fields or ([1] if key.chain == ("0",) else []))])
    return axes


def _rows(candidate: Candidate) -> list[Axis]:
    """Both orders of gate and up in one tensor, one behind the other and by turns."""
    axes: list[Axis] = []
    for stored, parts in (candidate.body.get(*FUSED) or {}).items():
        said = parts.get("parts") if isinstance(parts, dict) else parts
        if sorted(said) == ["gate", "up"]:
            ways = [
                way for order in (said, said[::-1]) for way in (order, *_by_turns(candidate, order)) if way != parts
            ]
            axes.append([None, *(((*FUSED, stored), way) for way in ways)])
    return axes


def _by_turns(candidate: Candidate, order: list[str]) -> Iterator[dict[str, Any]]:
    """Rows of gate and up by turns: as many groups as the experts are wide."""
    key = keys(Experts)["width"]
    fields = (one for one in key.chain if candidate.config.has(one.removeprefix("config.")))
    width = candidate.body.get("mlp", "experts", "width") or next(fields, None)
    if width is not None:
        yield {"parts": order, "groups": width}


def completed(offer: Offer, made: Candidate, fields: Sequence[str]) -> Iterator[Offer]:
    """A change that the language takes only with another key, with each field in that one."""
    if len(made.problems) != 1 or offer.mutant is not None:
        return
    path = tuple(made.problems[0].split("."))
    key = key_at(path, made.data)
    if key is not None and key.type == "expression" and made.body.get(*path) is None:
        for field in fields:
            yield Offer((*offer.puts, (path, f"config.{field}")), offer.tier, offer.only, offer.count)
