"""Projections that a mixer holds in memory mostly as they lie on disk: each alone, several in one, or one as two."""

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from codegen.language.spec import Spec
from codegen.members import assigned, member
from codegen.plan.mixers.projections import fused_of
from codegen.plan.names import attribute, disk_name
from codegen.plan.types import Code


class Stored(NamedTuple):
    """A matrix, or two of which the second takes what the first gives, and the roles that it makes of x."""

    names: tuple[str, ...]
    roles: tuple[str, ...]


def stored(spec: Spec, part: str, roles: Collection[str]) -> list[Stored]:
    """The projections as they lie in memory, each once."""
    found: dict[str, Stored] = {}
    for role in roles:
        fused = fused_of(spec, part, role)
        one = Stored((fused[0],), fused[1].parts) if fused else Stored(in_memory(spec, role, part), (role,))
        found[one.names[0]] = one
    return list(found.values())


def paths(spec: Spec, role: str, part: str) -> tuple[str, ...]:
    """Where a role lies on disk: one matrix, or two."""
    names = spec.checkpoint.names or {}
    found = names.get(f"{part}.{role}", names.get(role))
    return (disk_name(spec, role, part),) if found is None or isinstance(found, str) else tuple(found)


def in_memory(spec: Spec, role: str, part: str) -> tuple[str, ...]:
    """Where it lies in memory: as on disk, unless transformers' class has it otherwise."""
    memory = spec.checkpoint.memory or {}
    found = memory.get(f"{part}.{role}", memory.get(role))
    return paths(spec, role, part) if found is None else (found,) if isinstance(found, str) else tuple(found)


def constructions(found: list[Stored], widths: Mapping[str, Code], inner: Code) -> Iterator[Code]:
    """Those of the matrices; the inner width of two is the same for all."""
    for one in found:
        width = " + ".join(widths[role] for role in one.roles)
        sizes = ["config.hidden_size", *[inner] * (len(one.names) - 1), width]
        for name, reads, makes in zip(one.names, sizes[:-1], sizes[1:], strict=True):
            yield assigned(name, f"nn.Linear({reads}, {makes}, bias=False)")


def projected(one: Stored) -> Code:
    """What x becomes by it."""
    made = "x"
    for name in one.names:
        made = f"{member(name)}({made})"
    return made


def taken_apart(one: Stored, made: Code, widths: Mapping[str, Code], groups: Code, by: str = "blocks") -> Code:
    """The statement that gives each of its roles a name, by one of the library's functions."""
    if len(one.roles) == 1:
        return f"{one.roles[0]} = {made}"
    sizes = ", ".join(widths[role] for role in one.roles)
    return f"{', '.join(one.roles)} = {by}({made}, ({sizes}){'' if groups == '1' else f', {groups}'})"


def renames(spec: Spec, part: str, roles: Collection[str]) -> list[tuple[str, str]]:
    """Paths of the projections within the layer, on disk and in memory."""
    before = attribute(spec, part)
    on_disk = f"{before}." if disk_name(spec, part) else ""
    pairs: dict[str, str] = {}
    for role in roles:
        fused = fused_of(spec, part, role)
        names = (fused[0],) if fused else paths(spec, role, part)
        pairs |= zip(names, names if fused else in_memory(spec, role, part), strict=True)
    return [(f"{on_disk}{name}", f"{before}.{inside}") for name, inside in pairs.items()]
