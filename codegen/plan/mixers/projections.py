"""Projections that are stored apart or fused, with or without biases: shared by attention and MLPs."""

from collections.abc import Collection, Mapping

from codegen.language.disk import BESIDE
from codegen.language.keys import Section, keys
from codegen.language.spec import KIND_FUSED, Fused, Spec
from codegen.language.values import Expression
from codegen.plan.context import FALSE, Context
from codegen.plan.names import GROUPS, attribute, disk_name, path_in_layer
from codegen.plan.scope import Scope
from codegen.plan.types import Code

OWN = ("attention", "mlp")  # parts that are sections of their own


def part_of(spec: Spec, part: str) -> Section | None:
    """The section behind a part: `attention`, `mlp`, or one of `parts`; None for a norm that only its name declares."""
    return getattr(spec, part) if part in OWN else spec.parts.get(part)


def section_of(spec: Spec, part: str) -> Section:
    """The section of a part that is declared."""
    found = part_of(spec, part)
    assert found is not None
    return found


def path_of(part: str) -> str:
    """Where the part's section stands in a spec."""
    return part if part in OWN else f"parts.{part}"


def flag(context: Context, spec: Spec, part: str, role: str) -> Expression:
    """Whether the projection of a role has a bias; a role that is not named follows the config's flag."""
    section = section_of(spec, part)
    written: Mapping[str, Expression] = getattr(section, "bias", None) or {}
    groups = (name for name, roles in GROUPS.items() if role in roles)
    for name in (role, *groups, "*"):
        if name in written:
            return written[name]
    key = keys(type(section)).get("bias")
    return context.chain(key.chain, f"{part}.bias") if key is not None and key.chain else FALSE


def uniform_flags(context: Context, part: str, roles: tuple[str, ...], scope: Scope) -> tuple[Code | None, Code | None]:
    """One flag for all roles, or, where they differ, a tuple of them."""
    codes = [context.code(lambda s, role=role: flag(context, s, part, role), scope) for role in roles]
    if len(set(codes)) == 1:
        return codes[0], None
    return None, f"({', '.join(codes)})"


def fused_of(spec: Spec, part: str, role: str, within: str = "") -> tuple[str, Fused] | None:
    """The stored tensor that holds a role among others: its name, relative to `within` the part."""
    for name, fused in (spec.checkpoint.fused or {}).items():
        before, _, leaf = name.rpartition(".")
        if role in fused.parts and before == within:
            return leaf, fused
    return None


def inputs_of(spec: Spec, part: str, kind: str, role: str = "x") -> tuple[str, Fused]:
    """The stored tensor of all that a kind makes by one projection: the spec's, or that of every family so far."""
    name, parts = next(one for one in KIND_FUSED[kind].items() if role in one[1])
    return fused_of(spec, part, role) or (name, Fused(parts=parts))


def fused_structure(spec: Spec, part: str, role: str) -> tuple[str, tuple[str, ...]] | None:
    """A fused tensor's name and parts: what makes a class; its number of groups is a value."""
    found = fused_of(spec, part, role)
    return (found[0], found[1].parts) if found else None


def groups_code(context: Context, part: str, role: str, scope: Scope) -> Code:
    """The number of equal blocks of a fused tensor's rows."""

    def groups(spec: Spec) -> Expression | str:
        found = fused_of(spec, part, role)
        return found[1].groups or "1" if found else "1"

    return context.code(groups, scope)


def is_transposed(spec: Spec, part: str, role: str) -> bool:
    """Whether a role's matrix, or the fused one that holds it, is stored [in, out]."""
    fused = fused_of(spec, part, role)
    return (fused[0] if fused else disk_name(spec, role, part)) in (spec.checkpoint.transposed or ())


def is_unsqueezed(spec: Spec, part: str, role: str) -> bool:
    """Whether a role's vector is stored [1, n]."""
    return disk_name(spec, role, part) in (spec.checkpoint.unsqueezed or ())


def bias_apart(spec: Spec, part: str, role: str) -> bool:
    """Whether the bias of a role is stored under a name of its own."""
    names = spec.checkpoint.names or {}
    return f"{part}.{role}_bias" in names or f"{role}_bias" in names


def linear_class(context: Context, part: str) -> Code:
    """The class of its projections."""
    apart = context.word(section_of(context.base, part), "bias_rounding") == "apart"
    return "LateBiasLinear" if apart else "nn.Linear"


def plain_flag(written: Mapping[str, Expression] | None) -> Expression | None:
    """One flag for every projection of a part that has no flags by role; None: not written."""
    return (written or {}).get("*")


def turned_rules(context: Context, part: str, roles: tuple[str, ...]) -> list[Code]:
    """Rules of the matrices that are stored [in, out]."""
    spec = context.base
    memory: list[str] = []
    for role in roles:
        if is_transposed(spec, part, role):
            fused = fused_of(spec, part, role)
            memory.append(fused[0] if fused else attribute(spec, role, part))
    return [f"Transpose({path_in_layer(spec, part, name)!r})" for name in dict.fromkeys(memory)]


def role_renames(spec: Spec, part: str, roles: Collection[str]) -> list[tuple[str, str]]:
    """Paths of roles within the layer, on disk and in memory, and those of biases with names of their own."""
    found: list[tuple[str, str]] = []
    before = f"{attribute(spec, part)}." if disk_name(spec, part) else ""
    for role in roles:
        inside = path_in_layer(spec, part, "sinks" if role == "sinks" else attribute(spec, role, part))
        name = disk_name(spec, role, part)
        if not name.startswith(BESIDE):
            found.append((before + name, inside))
        if f"{role}_bias" not in roles and (bias := (spec.checkpoint.names or {}).get(f"{role}_bias")):
            found.append((f"{before}{bias}", f"{inside}.bias"))
    return found
