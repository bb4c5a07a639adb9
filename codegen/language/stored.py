"""Names, fused tensors and transposed matrices of `checkpoint` that no part of any layer has would change nothing."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from typing import Any

from codegen.errors import cut
from codegen.language import disk, equations
from codegen.language.keys import Mixer, Section
from codegen.language.mlp import Experts, Gated, Moe, Shared
from codegen.language.spec import Fused, Linear, NormPart, Sinusoid, Spec
from codegen.language.suggest import cure

Found = Iterator[tuple[tuple[Any, ...], str, str]]
WHERE = ("checkpoint",)


def unused(flat: Mapping[tuple[Any, ...], Spec]) -> Iterator[tuple[tuple[Any, ...], Found]]:
    """For each key of the flat specs, what its checkpoint says of storage that no layer of the file has."""
    distinct = {tuple(map(id, (one.attention, one.mlp, one.checkpoint, one.block))): one for one in flat.values()}
    specs = list(distinct.values())
    seen: set[int] = set()
    for key, spec in flat.items():
        if id(spec.checkpoint) not in seen:
            seen.add(id(spec.checkpoint))
            yield key, _unused(spec, specs)


def _unused(spec: Spec, specs: list[Spec]) -> Found:
    roles = {role for one in specs for role in _roles(one)}
    called = {name for one in specs for name in disk.called(one)}
    for role in spec.checkpoint.names or {}:
        if str(role) not in roles | called and str(role).removesuffix("_bias") not in roles:
            part, _, plain = str(role).rpartition(".")
            if (not part or part in disk.parts(spec)) and {plain, plain.removesuffix("_bias")} & set(disk.ROLES):
                remedy = cure(str(role), sorted(roles)) or "leave it out"
                yield (*WHERE, "names", role), f"nothing here has the role '{role}'", remedy
    for name, tensor in (spec.checkpoint.fused or {}).items():
        if not any(_holds(one, str(name), tensor) for one in specs):
            message = f"no part stores {cut(', '.join(map(str, tensor.parts)))} in one tensor of this name"
            remedy = "what may be fused is [q, k, v], [q, out_gate], [gate, up], and [gate, up] of experts"
            yield (*WHERE, "fused", name), message, remedy
    matrices = {path for one in specs for path in _matrices(one)}
    for index, path in enumerate(spec.checkpoint.transposed or ()):
        if path not in matrices:
            yield (*WHERE, "transposed", index), f"'{cut(path)}' is no stored matrix", cure(path, sorted(matrices))
    pinned = {path for one in specs for path in _pinned(one)}
    for index, pattern in enumerate(spec.checkpoint.float32 or ()):
        if not any(fnmatch(path, pattern) for path in pinned):
            message = f"'{cut(pattern)}' names no tensor that can stay fp32"
            remedy = "a router's weight, its correction bias, sinks, and rates and steps of a gated delta net can"
            yield (*WHERE, "float32", index), message, remedy
    if spec.checkpoint.experts is not None and not any(isinstance(one.mlp, Moe) for one in specs):
        yield (*WHERE, "experts"), "there are no experts", "leave it out"


def calls(spec: Spec, part: str) -> bool:
    """Whether the block calls a part."""
    return part in equations.called_names(spec.block)


def _roles(spec: Spec) -> Iterator[str]:
    """Roles with a path of their own, bare and with their part."""
    yield from ("model", "layers", "head")
    for part, roles in (("attention", _of(spec, "attention")), ("mlp", _of(spec, "mlp"))):
        if calls(spec, part):
            yield part
            for role in roles:
                yield from (role, f"{part}.{role}")
    for part, section in spec.parts.items():
        if not isinstance(section, Linear | NormPart | Sinusoid):
            yield from (f"{part}.{role}" for role in disk.ROLES)
    if isinstance(spec.mlp, Moe) and calls(spec, "mlp"):
        for part, section in (("experts", spec.mlp.experts or Experts()), ("shared", spec.mlp.shared)):
            for role in _of_expert(spec, part, section) if section is not None else ():
                yield from (role, f"mlp.{role}", f"{part}.{role}")


def _of_expert(spec: Spec, part: str, section: Experts | Shared) -> tuple[str, ...]:
    """Roles of routed or shared experts that are stored under names of their own."""
    fused = any(_of_experts(spec, str(name)) for name in spec.checkpoint.fused or {})
    if part == "experts" and fused:
        return ("down",)
    return ("up", "down") if section.kind == "plain" else ("gate", "up", "down")


def _of(spec: Spec, part: str) -> tuple[str, ...]:
    """Roles of attention or mlp; all that there are, where the kind has no template yet, which is said elsewhere."""
    section = getattr(spec, part)
    found = section.roles(disk.fused_roles(spec)) if isinstance(section, Mixer) else ()
    return found or disk.ROLES


def _holds(spec: Spec, name: str, tensor: Fused) -> bool:
    """Whether this spec has a part that stores the tensor."""
    parts = set(tensor.parts)
    attention = spec.attention
    if isinstance(attention, Mixer) and calls(spec, "attention") and "." not in name and attention.fuses(tensor.parts):
        return True
    if parts == {"gate", "up"} and "." not in name and any(map(_is_gated, spec.parts.values())):
        return True
    if parts != {"gate", "up"} or not calls(spec, "mlp"):
        return False
    if isinstance(spec.mlp, Moe):
        return _of_experts(spec, name) or name.startswith(f"{disk.name(spec, 'shared', 'mlp')}.")
    return _is_gated(spec.mlp) and "." not in name


def _is_gated(section: Section) -> bool:
    return isinstance(section, Gated) and section.fuses(("gate", "up"))


def _of_experts(spec: Spec, name: str) -> bool:
    """Whether a name is that of a tensor which holds parts of all experts."""
    assert isinstance(spec.mlp, Moe)
    inner = disk.name(spec, "experts", "mlp")
    gated = spec.mlp.experts is None or spec.mlp.experts.kind != "plain"
    together = spec.checkpoint.experts in ("stacked", "flat")
    return together and gated and (name.startswith(f"{inner}.") if inner else "." in name)


def _matrices(spec: Spec) -> Iterator[str]:
    """Paths, relative to their part, of the matrices that may lie [in, out]."""
    if calls(spec, "attention"):
        roles = [role for role in _of(spec, "attention") if not role.endswith(("norm", "_bias")) and role != "sinks"]
        yield from (disk.name(spec, role, "attention") for role in roles)
    for part, section in (("mlp", spec.mlp), *spec.parts.items()):
        if calls(spec, part) and isinstance(section, Gated):
            roles = section.roles(disk.fused_roles(spec))
            yield from (disk.name(spec, role, part) for role in roles if role != "activation")
    for name, tensor in (spec.checkpoint.fused or {}).items():
        if _holds(spec, str(name), tensor):
            yield str(name)
    if calls(spec, "mlp") and isinstance(spec.mlp, Moe) and spec.checkpoint.experts in ("stacked", "flat"):
        inner = disk.name(spec, "experts", "mlp")
        for role in ("gate", "up", "down"):
            yield ".".join(filter(None, (inner, disk.name(spec, role, "experts"))))


def _pinned(spec: Spec) -> Iterator[str]:
    """Names on disk of what may stay fp32."""
    if isinstance(spec.mlp, Moe) and calls(spec, "mlp"):
        for leaf in (f"{disk.name(spec, 'router', 'mlp')}.weight", disk.name(spec, "correction_bias", "mlp")):
            yield disk.in_layer(spec, disk.within(disk.name(spec, "mlp"), leaf))
    if isinstance(spec.attention, Mixer) and calls(spec, "attention"):
        for role in spec.attention.pinnable():
            yield disk.in_layer(spec, disk.within(disk.name(spec, "attention"), disk.name(spec, role, "attention")))
