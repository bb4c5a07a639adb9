"""Changes of what tensors are called and how they lie, read off those that are missing, unexpected or misshapen."""

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from itertools import permutations
from typing import Any

from codegen.language.spec import ROLE_NAMES
from codegen.plan.names import disk_name
from nemo_automodel.parity.infer.candidate import PARTS, Candidate
from nemo_automodel.parity.infer.judge import Stop
from nemo_automodel.parity.infer.offer import FITS, FITTED, SAID, Offer
from nemo_automodel.parity.mutant import Path
from nemo_automodel.parity.mutate_text import lines_of
from nemo_automodel.parity.mutate_written import EQUATIONS

HOLDERS = ("experts", "shared")  # parts whose projections have names of their own
ROLES_THERE = ("gate", "up", "down")
CALL = re.compile(r"([\w.]+)\(")
GROUPS = ("", "config.num_attention_heads", "config.num_key_value_heads", 2, 4, 8)  # of fused rows
BELOW = ".weight"  # ends the example of what lies below a path
WHY = "transformers' class leaves it out"


def stored(candidate: Candidate, stop: Stop) -> Iterator[Offer]:
    """What would take the tensors that are there."""
    if candidate.problems:
        return
    if stop.what == "what is left out":
        yield from _dropped(candidate, stop)
    if stop.what == "dtypes in bf16":
        yield from _float32(candidate, stop)
    if stop.missing:
        yield from _renamed(candidate, stop)
    elif stop.unexpected:
        for role, name in _usual(candidate).items():
            yield Offer(((("checkpoint", "memory", role), name),), SAID, False, FITS)
    if stop.what == "tensors":
        yield from _turned(candidate, stop)
    if stop.what.startswith("outputs"):
        yield from (Offer((one,), SAID) for _, one in fused_rows(candidate))


def _dropped(candidate: Candidate, stop: Stop) -> Iterator[Offer]:
    """All that is left out, by what the names have behind the number of a layer: a word of it, which may stand
    anywhere, or the path of what is outside of layers, with all below."""
    listed = candidate.body.get("checkpoint", "drop") or []
    names = [one.removesuffix(BELOW) + ".*" if one.endswith(BELOW) else one for one in _patterns(candidate, stop)]
    words = [one.replace("*.", "*") + "*" if one.count(".") == 1 and one.startswith("*.") else one for one in names]
    drops = [*listed, *({"match": match, "why": WHY} for match in words)]
    yield Offer(((("checkpoint", "drop"), sorted(drops, key=lambda one: one["match"])),), FITTED)


def _float32(candidate: Candidate, stop: Stop) -> Iterator[Offer]:
    """Tensors that stay fp32, or do not."""
    listed = candidate.body.get("checkpoint", "float32") or []
    patterns = _patterns(candidate, stop)
    routers = candidate.names_of("router")
    router = ("mlp", "router")
    for some in (patterns, *([one] for one in patterns)):
        put = ("checkpoint", "float32"), [*listed, *some]
        if any(name in pattern for name in filter(None, routers) for pattern in some):  # which then computes so
            dtypes = [((*router, key), "float32") for key in ("dtype", "weights_dtype")]
            yield from (Offer((put, *dtypes[:end]), FITTED) for end in (1, 2))
        yield Offer((put,), FITTED)
    kept = [one for one in listed if not any(fnmatch(wrong.where, one) for wrong in stop.found)]
    if len(kept) < len(listed):  # the other way round
        rest = {name: one for name, one in candidate.data["checkpoint"].items() if name != "float32"}
        put = ("checkpoint",), {**rest, **({"float32": kept} if kept else {})}
        yield Offer((put,), FITTED)
        yield Offer((put, ((*router, "dtype"), "model"), ((*router, "weights_dtype"), "model")), FITTED)


def _patterns(candidate: Candidate, stop: Stop) -> list[str]:
    """What differs, by what the names have behind the number of a layer."""
    stack = candidate.layers() + "."
    ends = [one.where.removeprefix(stack).partition(".") for one in stop.found]
    return list(dict.fromkeys(f"*.{end}" if number.isdecimal() else number + dot + end for number, dot, end in ends))


def _renamed(candidate: Candidate, stop: Stop) -> Iterator[Offer]:
    """Roles and fused tensors under the names that nobody expects, in place of those that are missing."""
    memory = stop.what == "memory"
    if memory:
        yield Offer(((("checkpoint", "memory"), _usual(candidate)),), FITTED)
    for role in ROLE_NAMES:
        for name in filter(None, candidate.names_of(role, memory)):
            for other in _in_place_of(name, stop.missing, stop.unexpected):
                # on disk too, where a role has no tensor of its own there: a tied head
                yield Offer(
                    ((("checkpoint", "names", role), other), *_called(candidate, name, other)), SAID, False, FITS
                )
                if memory:
                    yield Offer(((("checkpoint", "memory", role), other),), SAID, False, FITS)
    if memory:
        yield from _in_a_row(candidate, stop)
        yield from _called_otherwise(candidate, stop)
        return
    yield from _fused_there(candidate, stop)
    for part in HOLDERS:
        for role in ROLES_THERE:
            for name in {disk_name(flat, role, part) for flat in candidate.flats()}:
                for holder in filter(None, candidate.names_of(part)):
                    for other in _in_place_of(f"{holder}.{name}", stop.missing, stop.unexpected):
                        if other.startswith(f"{holder}."):
                            put = ("checkpoint", "names", f"{part}.{role}"), other.removeprefix(f"{holder}.")
                            turned = _listed(candidate, f"{holder}.{name}", other)
                            yield Offer((put, *turned), SAID, False, FITS)
    written = candidate.body.get("checkpoint", "fused") or {}
    for name, parts in written.items():
        for other in _in_place_of(name, stop.missing, stop.unexpected):
            kept = {key: value for key, value in written.items() if key != name}
            put = ("checkpoint", "fused"), {**kept, other: parts}
            yield Offer((put, *_listed(candidate, name, other)), SAID, False, FITS)


def _usual(candidate: Candidate) -> dict[str, str]:
    """The usual names of roles that have others on disk: transformers' classes convert a family's own names to them."""
    own = candidate.body.get("checkpoint", "names") or {}
    return {role: ROLE_NAMES[role] for role in own if role in ROLE_NAMES}


def _in_a_row(candidate: Candidate, stop: Stop) -> Iterator[Offer]:
    """Roles that are several maps in a row, under other names in memory."""
    for path, names in candidate.body.leaves():
        if path[-3:-1] == ("checkpoint", "names") and isinstance(names, list):
            found = [_in_place_of(name, stop.missing, stop.unexpected) for name in names]
            alike = zip(names, found, strict=True)
            others = [next((one for one in some if one.endswith(name)), None) for name, some in alike]
            if None not in others:
                yield Offer((((*path[:-2], "memory", path[-1]), others),), SAID, False, FITS)


def _listed(candidate: Candidate, name: str, other: str) -> Iterator[tuple[Path, Any]]:
    """What lies transposed, under another name."""
    listed = candidate.body.get("checkpoint", "transposed") or []
    if name in listed:
        yield ("checkpoint", "transposed"), [other if one == name else one for one in listed]


def _fused_there(candidate: Candidate, stop: Stop) -> Iterator[Offer]:
    """What nobody expects in a part, as several of its roles at once, as it lies or turned."""
    stack = candidate.layers() + "."
    written = candidate.body.get("checkpoint", "fused") or {}
    for part, roles in (("attention", (["q", "k", "v"], ["k", "v"])), ("mlp", (["gate", "up"],))):
        for name in candidate.names_of(part):
            begin = f"{name}." if name else ""
            inside = dict.fromkeys(one.removeprefix(stack).partition(".")[2] for one in stop.unexpected)
            for other in (one.removeprefix(begin) for one in inside if one.startswith(begin) and one != begin):
                if any(map(str.isdecimal, other.split("."))):
                    continue
                for key in dict.fromkeys((other, other.removesuffix(".weight"))):
                    for some in roles:
                        put = ("checkpoint", "fused"), {**written, key: some}
                        yield Offer((put,), SAID, False, FITS)
                        listed = candidate.body.get("checkpoint", "transposed") or []
                        yield Offer((put, (("checkpoint", "transposed"), [*listed, key])), SAID, False, FITS)


def _called(candidate: Candidate, name: str, other: str) -> Iterator[tuple[Path, Any]]:
    """The equations that call something by a name, with another."""
    flat = next(candidate.flats())
    for section in EQUATIONS:
        lines = lines_of(flat, section)
        if any(f"{name}(" in line for line in lines):
            yield (section,), [line.replace(f"{name}(", f"{other}(") for line in lines]


def _called_otherwise(candidate: Candidate, stop: Stop) -> Iterator[Offer]:
    """What equations call by the name on disk, by that in memory."""
    flat = next(candidate.flats())
    lines = [line for section in EQUATIONS for line in lines_of(flat, section)]
    roles = {*ROLE_NAMES, *(name for role in ROLE_NAMES for name in candidate.names_of(role, memory=True))}
    calls = dict.fromkeys(name for line in lines for name in CALL.findall(line) if name not in roles)
    pairs = [(name, other) for name in calls for other in _in_place_of(name, stop.missing, stop.unexpected)]
    for name, other in sorted(pairs, key=lambda pair: -_shared(*pair)):
        put = ("checkpoint", "names", other), name
        yield Offer((put, *_called(candidate, name, other)), SAID, False, FITS)


def _shared(one: str, other: str) -> int:
    """How many words two names have in common: of several that fit, the most alike one is meant."""
    return len({*one.split("_")} & {*other.split("_")})


def _in_place_of(name: str, missing: Sequence[str], unexpected: Sequence[str]) -> list[str]:
    """What stands in the place of a name in the tensors that nobody expects."""
    found: dict[str, None] = {}
    for path in missing:
        before, among, after = f".{path}.".partition(f".{name}.")
        for other in (f".{one}." for one in unexpected if among):
            if other.startswith(f"{before}.") and other.endswith(f".{after}"):
                found[other[len(before) + 1 : len(other) - len(after) - 1]] = None
    return [one for one in found if one and not any(map(str.isdecimal, one.split(".")))]


def _turned(candidate: Candidate, stop: Stop) -> Iterator[Offer]:
    """What has another shape, as the transpose of what is held."""
    stack = candidate.layers() + "."
    parts = [f"{name}." for part in PARTS for name in candidate.names_of(part)]
    ends: dict[str, None] = {}
    for name in stop.misshapen:
        inside = name.removeprefix(stack).partition(".")[2] if name.startswith(stack) else ""
        ends.update(dict.fromkeys(inside.removeprefix(part) for part in parts if inside.startswith(part)))
    listed = candidate.body.get("checkpoint", "transposed") or []
    for some in ([*ends], *([one] for one in ends)) if ends else ():
        yield Offer(((("checkpoint", "transposed"), [*listed, *some]),), SAID, False, FITS)


def fused_rows(candidate: Candidate) -> Iterator[tuple[str, tuple[Path, Any]]]:
    """(part, change) of fused rows in every order, together and by groups: also as many as a candidate says that there
    are of keys' heads."""
    said = (value for path, value in candidate.body.leaves() if path[-1] == "kv_heads" and isinstance(value, str))
    counts = list(dict.fromkeys([GROUPS[0], *said, *GROUPS]))
    for name, parts in (candidate.body.get("checkpoint", "fused") or {}).items():
        roles = parts.get("parts") if isinstance(parts, dict) else parts
        if not isinstance(roles, list) or not 1 < len(roles) < 4:
            continue
        for order in permutations(roles):
            for groups in counts if "k" in roles else GROUPS[:1]:
                value = {"parts": [*order], "groups": groups} if groups else [*order]
                yield "attention" if "k" in roles else "mlp", (("checkpoint", "fused", name), value)
