"""Other texts that say the same, of which the plainer one is kept: keys in place of variants, conditions without `not`,
fields by their own names."""

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from itertools import islice, product
from typing import Any

from codegen.language.chains import candidate as default_of
from codegen.language.frame import FRAME
from codegen.language.keys import Key, keys
from codegen.new.body import Body
from nemo_automodel.parity.infer.below import key_at
from nemo_automodel.parity.infer.candidate import PARTS, Candidate
from nemo_automodel.parity.infer.puts import renamed
from nemo_automodel.parity.mutant import Data, Path, dotted, put
from nemo_automodel.parity.mutate_written import EQUATIONS

VARIANTS, LAYERS, WHEN, NOT = "variants", "layers", "when", "not "
ROUTED = ("mlp", "router", "dtype")
MOST = 16  # ways to say one variant otherwise
NEGATED = re.compile(r"not (config\.[\w.]+)|(config\.[\w.]+) == 0")
ABSENT = re.compile(r"(config\.[\w.]+) is (not )?None")
FLIPPED = re.compile(r"(.+) if not (config\.[\w.]+) else (.+)")
Ways = Iterator[tuple[str, Data]]  # what is said otherwise, and the spec after it


def ways(candidate: Candidate) -> Ways:
    """What may be said otherwise in one place, the plainer way. Whether it is the same is for a judge to say."""
    yield from _own_names(candidate)
    yield from _pinned(candidate)
    yield from _turned(candidate.body)
    for index, entry in enumerate(candidate.body.listed(VARIANTS)):
        yield from folded(candidate, index, entry)
    yield from _of_all(candidate.body)


def _own_names(candidate: Candidate) -> Ways:
    """Fields by the names under which the class holds them."""
    data = {name: value for name, value in candidate.data.items() if name not in FRAME}
    for alias, own in candidate.config.attribute_map.items():
        other = renamed(data, f"config.{alias}", f"config.{own}")
        if other != data:
            yield f"config.{own} for config.{alias}", candidate.data | other


def _pinned(candidate: Candidate) -> Ways:
    """A router whose weight stays fp32 computes so, also where that is cast all the same."""
    held = candidate.body.get("checkpoint", "float32") or []
    routers = product(candidate.names_of("mlp"), filter(None, candidate.names_of("router")))
    names = [f"{candidate.layers()}.0.{part}.{name}.weight" for part, name in routers]
    if candidate.body.get(*ROUTED) is None and any(fnmatch(name, pattern) for name in names for pattern in held):
        yield f"{dotted(ROUTED)}: float32", put(candidate.data, ROUTED, "float32")


def _turned(body: Body) -> Ways:
    """A variant that holds where a field is nothing, and what stands for all others: the other way round."""
    for index, entry in enumerate(body.listed(VARIANTS)):
        negated = NEGATED.fullmatch(str(entry[WHEN]))
        paths = [path for path, _ in Body(entry).leaves() if path != (WHEN,)]
        if negated is None or any(body.get(*path) is None for path in paths):
            continue
        turned, what = Body.copied(body.content), f"variants where {negated[1] or negated[2]} is something"
        variants = turned.content[VARIANTS] = turned.listed(VARIANTS)
        other = Body({WHEN: negated[1] or negated[2]})
        for path in paths:
            other.put(body.get(*path), *path)
            turned.put(Body(entry).get(*path), *path)
        variants[index] = other.content
        yield what, turned.content
        if "block" in entry and "parts" in body.content:  # which only the block calls that is a variant's now
            moved = Body.copied(turned.content)
            moved.content[VARIANTS][index]["parts"] = moved.content.pop("parts")
            yield what, moved.content
    for path, value in list(body.leaves()):
        if isinstance(value, str) and path[0] not in (*FRAME, *EQUATIONS) and (found := FLIPPED.fullmatch(value)):
            turned = Body.copied(body.content)
            turned.put(f"{found[3]} if {found[2]} else {found[1]}", *path)
            yield f"{dotted(path)} without not", turned.content


def folded(candidate: Candidate, index: int, entry: Data) -> Ways:
    """A variant as keys that hold for all models, with its condition in them."""
    condition = str(entry[WHEN])
    inside = Body({name: one for name, one in entry.items() if name != WHEN})
    units = dict.fromkeys(_unit(path, candidate) for path, _ in inside.leaves())
    options = [[(path, value) for value in _said(path, inside.get(*path), condition, candidate)] for path in units]
    for puts in islice(product(*options), MOST):
        body = Body.copied(candidate.data)
        rest = [one for turn, one in enumerate(body.listed(VARIANTS)) if turn != index]
        body.content = {name: one for name, one in body.content.items() if name != VARIANTS or rest}
        body.content |= {VARIANTS: rest} if rest else {}
        for path, value in puts:
            body.put(value, *path)
        yield f"{', '.join(dotted(path) for path, _ in puts)} in place of a variant", body.content


def _unit(path: Path, candidate: Candidate) -> Path:
    """The outermost section around a key that may have a condition of its own, where all models have none; or the
    key."""
    for end in range(2, len(path) + 1):
        section = key.section if (key := _key(path[:end], candidate)) is not None else None
        if section is not None and WHEN in keys(section) and candidate.body.get(*path[:end]) is None:
            return path[:end]
    return path


def _said(path: Path, value: Any, condition: str, candidate: Candidate) -> Iterator[Any]:
    """What all models may say in place of what some say under a condition."""
    key, said = _key(path, candidate), candidate.body.get(*path)
    if said is None and path[0] not in EQUATIONS:
        yield value
    if isinstance(value, bool) and said in (None, not value):
        yield condition if value else _opposite(condition)
    elif key is not None and key.type == "expression" and not isinstance(value, bool):
        other = default_of(key.chain, candidate.config) if said is None else str(said)
        if other is not None:
            yield either(condition, str(value), other)
    if key is not None and key.section is not None and WHEN in keys(key.section):
        inner = value if isinstance(value, dict) else {}
        if WHEN not in inner:
            yield {**inner, WHEN: condition}


def _key(path: Path, candidate: Candidate) -> Key | None:
    return key_at(path, candidate.data)


def either(condition: str, value: str, other: str) -> str:
    """The one where a condition holds, else the other; without a condition where a field is what is tested."""
    absent = ABSENT.fullmatch(condition)
    some, rest = (other, value) if absent and not absent[2] else (value, other)
    if absent is not None and some == absent[1]:
        return f"{some} or {rest}"
    if condition.startswith(NOT):
        return f"{other} if {condition.removeprefix(NOT)} else {value}"
    return f"{value} if {condition} else {other}"


def _opposite(condition: str) -> str:
    return condition.removeprefix(NOT) if condition.startswith(NOT) else f"not {condition}"


def _of_all(body: Body) -> Ways:
    """What is said of some layers' parts, of all: it may be about nothing that the others have."""
    for path, value in list(body.leaves()):
        if path[0] == LAYERS and "kinds" in path:
            inside = path[path.index("kinds") + 2 :]
            if inside[:1] and inside[0] in PARTS and body.get(*inside) is None:
                less = Body.copied(body.content)
                less.drop(*path)
                less.put(value, *inside)
                yield f"{dotted(inside)} of all layers", less.content
