"""Rules of `checkpoint`: roles, paths and fused tensors."""

import re
from collections.abc import Iterator, Mapping
from keyword import iskeyword
from typing import Any

from codegen.configs import ConfigClass
from codegen.errors import cut, shown
from codegen.language import equations
from codegen.language.keys import Mixer
from codegen.language.mlp import Moe, Plain
from codegen.language.spec import PLAIN_ROLES, ROLE_NAMES, Fused, Spec
from codegen.language.suggest import cure

Found = Iterator[tuple[tuple[Any, ...], str, str]]
ROLES = (*ROLE_NAMES, *PLAIN_ROLES)
WITHIN_MLP = ("experts", "shared")
MIXTURE = ("router", "correction_bias", "shared_gate", "latent_in", "latent_out")
LEAVING = (  # roles that may lie beside their part
    *("q", "k", "v", "out", "q_norm", "k_norm", "sinks", "out_gate", "out_gate_bias"),
    *("q_a", "q_a_norm", "q_b", "kv_a", "kv_a_norm", "kv_b", *MIXTURE),
)
VECTORS = ("correction_bias", "sinks")  # tensors of their own that are no matrix and no norm's weight
PATH = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
PATTERN = re.compile(r"[A-Za-z0-9_.*?\[\]-]+")
WHERE = ("checkpoint",)
NORMED = ("dt", "B", "C")  # what inner norms are of
BESIDE = ".."  # begins a name that leaves its part


def name(spec: Spec, role: str, part: str = "") -> str:
    """What a role is called on disk; the last of a chain of maps. Experts lie in the mlp, so its names reach them."""
    names = spec.checkpoint.names or {}
    wider = (f"mlp.{role}",) if part in WITHIN_MLP else ()
    asked = next((key for key in (f"{part}.{role}", *wider, role) if key in names), None)
    found = ROLE_NAMES.get(role, role) if asked is None else names[asked]
    return found if isinstance(found, str) else found[-1]


def within(part: str, path: str) -> str:
    """A path of a part in its layer; one that begins with `..` leaves the part, and lies beside it."""
    if path.startswith(BESIDE):
        part, path = part.rpartition(".")[0], path.removeprefix(BESIDE)
    return ".".join(filter(None, (part, path)))


def lies_in_layer(spec: Spec, part: str) -> bool:
    """Whether a part is no module of its own: the projections of a plain MLP are the layer's then (OPT)."""
    section = spec.mlp if part == "mlp" else spec.parts.get(part)
    return isinstance(section, Plain) and not name(spec, part)


def called(spec: Spec) -> list[str]:
    """What the equations call under names of its own: norms, tables, further parts."""
    own = ("attention", "mlp", name(spec, "head"))
    found = equations.called_names((*spec.input, *spec.block, *spec.output))
    return [one for one in found if one not in own and one not in ROLES]


def stored_name(spec: Spec, one: str) -> str:
    """Where something that equations call lies on disk: under its name there, unless `names` has another."""
    return str((spec.checkpoint.names or {}).get(one, one)) if one in called(spec) else one


def fused_roles(spec: Spec) -> set[str]:
    """Roles that lie in one stored tensor with others."""
    fused: Mapping[str, Fused] = spec.checkpoint.fused or {}
    return {role for name, tensor in fused.items() if "." not in str(name) for role in tensor.parts}


def in_layer(spec: Spec, path: str) -> str:
    """A path of the first layer, as on disk."""
    return ".".join(filter(None, (name(spec, "model"), name(spec, "layers"), "0", path)))


def parts(spec: Spec) -> tuple[str, ...]:
    """What may stand before the dot of a role."""
    return ("attention", "mlp", *WITHIN_MLP, *map(str, spec.parts))


def names(spec: Spec, _: ConfigClass) -> Found:
    """Known roles, and paths that can be attributes."""
    known, own = parts(spec), called(spec)
    for key in ("names", "memory"):
        entries: dict[str, Any] = getattr(spec.checkpoint, key) or {}
        for role, stored in entries.items():
            path = (*WHERE, key, role)
            part, _dot, plain = ("", "", str(role)) if role in own else str(role).rpartition(".")
            if part and part not in known:
                yield path, f"'{cut(part)}' is no part", cure(part, known, "parts")
            is_role = plain in ROLES or plain.removesuffix("_bias") in ROLES
            if not is_role and (role not in own or key == "memory"):
                yield path, f"'{cut(plain)}' is no role", cure(plain, ROLES)
            if role in own and (not isinstance(stored, str) or stored in own):
                yield path, "needs one name on disk, which equations call nothing by", "write it, or leave it out"
            for item in (stored,) if isinstance(stored, str) else stored:
                leaves = key == "names" and item.startswith(BESIDE) and role not in own
                if item and not PATH.fullmatch(item.removeprefix(BESIDE) if leaves else item):
                    yield path, f"{shown(item)} is no path on disk", "write names joined by dots"
                elif leaves and (plain not in LEAVING or not isinstance(stored, str)):
                    yield path, "lies in its part, in every layout that has a template", "write a path without .."
                elif leaves and not name(spec, "mlp" if plain in MIXTURE else "attention"):
                    yield path, "its part has no module on disk that it could leave", "write a path without .."
            if key == "memory":
                yield from ((path, *found) for found in _in_memory(spec, str(role), stored))


def _in_memory(spec: Spec, role: str, stored: Any) -> Iterator[tuple[str, str]]:
    part, _, plain = role.rpartition(".")
    if stored in ("", name(spec, plain, part)):
        yield "is what it is called on disk already", "leave it out"
    written: dict[str, Any] = dict(spec.checkpoint.names or {})
    there = _count(written.get(role, written.get(plain, "")))
    if _count(stored) != there:
        yield f"needs as many paths as on disk, {there}", "write one for each"


def _count(stored: Any) -> int:
    return 1 if isinstance(stored, str) else len(stored)


def apart(spec: Spec, _: ConfigClass) -> Found:
    """Weights are found by the end of a path: no mixer's path may be the end of another's."""
    called = equations.called_names(spec.block)
    mixers = [str(one) for one in ("attention", "mlp", *spec.parts) if one in called and _is_mixer(spec, one)]
    for one in mixers:
        path = name(spec, one)
        ends = [other for other in mixers if other != one and path.endswith(f".{name(spec, other) or other}")]
        for other in ends:
            yield (
                *WHERE,
                "names",
            ), f"{shown(path)} ends like {other}, {name(spec, other)}", "write another part's path"


def _is_mixer(spec: Spec, part: str) -> bool:
    return part in ("attention", "mlp") or isinstance(spec.parts[part], Mixer)


def fused(spec: Spec, _: ConfigClass) -> Found:
    """Fused tensors: known roles, none stored twice, sensible groups."""
    taken: dict[tuple[str, str], str] = {}
    for stored, tensor in (spec.checkpoint.fused or {}).items():
        path = (*WHERE, "fused", stored)
        if not PATH.fullmatch(str(stored)):
            yield path, f"{shown(stored)} is no path on disk", "write names joined by dots"
        if not tensor.parts:
            yield path, "needs parts", "write {parts: [q, k, v], groups: ...}"
        prefix = str(stored).partition(".")[0] if "." in str(stored) else ""
        for role in tensor.parts:
            if role not in ROLES:
                yield (*path, "parts"), f"'{cut(role)}' is no role", cure(role, ROLES)
            if tensor.parts.count(role) > 1:
                yield (*path, "parts"), f"'{cut(role)}' stands here twice", "name each part once"
            other = taken.setdefault((prefix, role), str(stored))
            if other != stored and not _elsewhere(spec, other, str(stored)):
                yield (*path, "parts"), f"'{cut(role)}' is also in {cut(other)}", "a role is stored once"
        constant = tensor.groups.constant if tensor.groups is not None else 1
        if constant is not ... and (not isinstance(constant, int) or isinstance(constant, bool) or constant < 1):
            remedy = "write a positive integer or an expression"
            yield (*path, "groups"), f"{shown(constant)} is no number of blocks", remedy


def _elsewhere(spec: Spec, first: str, second: str) -> bool:
    """Whether two tensors with the same role lie in different parts: experts without a module of their own."""
    return isinstance(spec.mlp, Moe) and (first.endswith(".weight") != second.endswith(".weight"))


def stored(spec: Spec, _: ConfigClass) -> Found:
    """Vectors with a further dimension, and patterns."""
    vectors = sorted(name(spec, role) for role in VECTORS)
    for index, path in enumerate(spec.checkpoint.unsqueezed or ()):
        if path not in vectors:
            yield (*WHERE, "unsqueezed", index), f"'{cut(path)}' is no stored vector", cure(path, vectors)
    for index, pattern in enumerate(spec.checkpoint.float32 or ()):
        if not PATTERN.fullmatch(pattern):
            yield (*WHERE, "float32", index), f"{shown(pattern)} is no pattern", "write a name with * for any text"
    for index, drop in enumerate(spec.checkpoint.drop or ()):
        if not PATTERN.fullmatch(drop.match):
            yield (*WHERE, "drop", index), f"{shown(drop.match)} is no pattern", "write a name with * for any text"
    named = ((("parts", name), section) for name, section in spec.parts.items())
    for path, section in ((("attention",), spec.attention), (("mlp",), spec.mlp), *named):
        norm = getattr(section, "inner_norm", None)
        if norm is not None and (not norm.isidentifier() or not norm.isascii() or iskeyword(norm)):
            yield (*path, "inner_norm"), f"{shown(norm)} is no name", "write the norm's name on disk, one word"
        if getattr(section, "inner_norms", None) is not None:
            yield from _inner_norms((*path, "inner_norms", "names"), inner_norms(section))


def inner_norms(section: Any) -> tuple[str, ...]:
    """Where the norms of dt, B and C lie in a mixer that has them."""
    norms = getattr(section, "inner_norms", None)
    return () if norms is None else norms.names or ()


def _inner_norms(path: tuple[Any, ...], names: tuple[str, ...]) -> Found:
    if len(names) != len(NORMED):
        yield path, "needs three names", f"write those of the norms of {', '.join(NORMED)}"
    for number, one in enumerate(names):
        if not PATH.fullmatch(one):
            yield (*path, number), f"{shown(one)} is no path on disk", "write names joined by dots"
