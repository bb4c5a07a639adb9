"""What the parts of a mixture of experts are called in memory, and how its experts lie there: as in transformers."""

from codegen.language.mlp import Experts, Moe
from codegen.language.spec import ROLE_NAMES, Fused, Spec
from codegen.plan.context import Context
from codegen.plan.mixers.projections import is_unsqueezed
from codegen.plan.names import disk_name, name_in_memory
from codegen.plan.types import Code

PROJECTIONS = ("gate", "up", "down")


def moe(spec: Spec) -> Moe:
    assert isinstance(spec.mlp, Moe)
    return spec.mlp


def experts(spec: Spec) -> Experts:
    return moe(spec).experts or Experts()


def has_plain_experts(spec: Spec) -> bool:
    """Whether routed experts have no gate."""
    return experts(spec).kind == "plain"


def path_in_memory(spec: Spec, role: str) -> str:
    """The path of a part, relative to the mixture. Experts always have a module of their own."""
    return name_in_memory(spec, role, "mlp") or ROLE_NAMES[role]


def shared_names(spec: Spec) -> tuple[str, ...]:
    """Gate, up and down of the shared experts."""
    return tuple(name_in_memory(spec, role, "shared") for role in PROJECTIONS)


def options(spec: Spec) -> list[Code]:
    """Arguments of the library's class: what differs from its defaults."""
    paths = {role: path_in_memory(spec, role) for role in moe(spec).roles()}
    found = [f"{role}={path!r}" for role, path in paths.items() if path != ROLE_NAMES[role]]
    if "correction_bias" in paths and is_unsqueezed(spec, "mlp", "correction_bias"):
        found.append("correction_rows=1")
    if "shared" in paths and shared_names(spec) != tuple(ROLE_NAMES[role] for role in PROJECTIONS):
        found.append(f"mlp={shared_names(spec)!r}")
    if lie_flat(spec):
        found.append(f"storage={_flat(spec)}")
    if lie_turned(spec):
        marked = spec.checkpoint.experts_mark != "unmarked"
        found.append(f"storage={'TransposedExperts' if marked else 'UnmarkedTransposedExperts'}")
    return found


def _flat(spec: Spec) -> Code:
    """The class of flat experts, with the names of its matrices."""
    stored = flat_names(spec)
    names = [repr(memory) for memory in stored.values()]
    turned = [repr(memory) for name, memory in stored.items() if name in (spec.checkpoint.transposed or ())]
    shown = [*names, *([f"turned=({', '.join(turned)},)"] if turned else [])]
    return f"FlatExperts.named({', '.join(shown)})"


def flat_names(spec: Spec) -> dict[str, str]:
    """Names on disk, relative to the mixture, of the matrices of flat experts, with their attributes in memory."""
    inside = f"{disk_name(spec, 'experts', 'mlp')}."
    return {name: name.removeprefix(inside) for names in stored_tensors(spec) for name in names}


def stored_tensors(spec: Spec) -> tuple[tuple[str, ...], ...]:
    """Names on disk, relative to the mixture, of the tensors that hold up (with gate) and down of all experts."""
    up_roles = ("up",) if has_plain_experts(spec) else ("gate", "up")
    return _stored(spec, up_roles), _stored(spec, ("down",))


def _stored(spec: Spec, of: tuple[str, ...]) -> tuple[str, ...]:
    inner, fused = disk_name(spec, "experts", "mlp"), fused_experts(spec, of)
    if fused is not None:
        return (fused[0],)
    return tuple(f"{inner}.{name}" if inner else name for name in (disk_name(spec, role, "experts") for role in of))


def fused_experts(spec: Spec, of: tuple[str, ...]) -> tuple[str, Fused] | None:
    """The stored tensor that holds several roles of every expert."""
    inner = disk_name(spec, "experts", "mlp")
    for name, fused in (spec.checkpoint.fused or {}).items():
        is_inside = name.startswith(f"{inner}.") if inner else "." in name
        if set(fused.parts) == set(of) and len(of) > 1 and is_inside:
            return name, fused
    return None


def lie_as_stored(spec: Spec) -> bool:
    """Whether experts lie in memory as on disk: one tensor for up and one for down, either both turned or none; or
    flat, each role in its own."""
    if lie_flat(spec):
        return True
    if spec.checkpoint.experts != "stacked":
        return False
    turned = {name in (spec.checkpoint.transposed or ()) for names in stored_tensors(spec) for name in names}
    return all(len(names) == 1 for names in stored_tensors(spec)) and len(turned) == 1


def lie_flat(spec: Spec) -> bool:
    """Whether the experts of each role lie below one another in memory."""
    is_flat = spec.checkpoint.experts == "flat" and experts(spec).bias is None
    return is_flat and fused_experts(spec, ("gate", "up")) is None


def lie_turned(spec: Spec) -> bool:
    """Whether the experts' matrices are [in, out] in memory."""
    return (
        lie_as_stored(spec) and not lie_flat(spec) and stored_tensors(spec)[1][0] in (spec.checkpoint.transposed or ())
    )


def blocks(spec: Spec) -> Fused | None:
    """The blocks of gate and up that experts compute, where they are not gate, then up."""
    fused = fused_experts(spec, ("gate", "up")) if lie_as_stored(spec) else None
    return fused[1] if fused else None


def refuse_mark(context: Context) -> None:
    """Raises SpecError where a mark is spoken of that nothing has."""
    if context.base.checkpoint.experts_mark is not None and not lie_turned(context.base):
        message = "has no effect: it is for stacked experts whose matrices are all transposed"
        raise context.unready(message, "checkpoint.experts_mark", "leave it out")
