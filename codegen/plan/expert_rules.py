"""Plans the weight rules of mixtures of experts: the library's names in memory are the same for every family."""

from codegen.plan import moe
from codegen.plan.context import Context
from codegen.plan.names import attribute, disk_name
from codegen.plan.projections import fused_of, is_unsqueezed
from codegen.plan.scope import Scope
from codegen.plan.types import Code
from codegen.spec.language import Fused, Spec

CONFIG = Scope(names={})
MEMORY = {
    "router": "gate",
    "correction_bias": "gate.e_score_correction_bias",
    "experts": "experts",
    "shared": "shared_experts",
    "shared_gate": "shared_expert_gate",
    "latent_in": "fc1_latent_proj",
    "latent_out": "fc2_latent_proj",
}


def renames(spec: Spec) -> list[tuple[str, str]]:
    """Paths of a mixture of experts on disk, and in memory, within the layer."""
    path = attribute(spec, "mlp")
    found = [
        (f"{path}.{disk_name(spec, role, 'mlp')}", f"{path}.{memory}")
        for role, memory in MEMORY.items()
        if _kept(spec, role)
    ]
    if moe.moe(spec).shared is not None:
        shared = f"{path}.{MEMORY['shared']}"
        for role, name in (("gate", "gate_proj"), ("up", "up_proj"), ("down", "down_proj")):
            found.append((f"{shared}.{disk_name(spec, role, 'shared')}", f"{shared}.{name}"))
    return [(disk, memory) for disk, memory in found if disk != memory]


def _kept(spec: Spec, role: str) -> bool:
    """Whether a role has a path of its own on disk that a rename can stand for."""
    if role == "experts":
        return (spec.checkpoint.experts or "per_expert") == "per_expert" and bool(disk_name(spec, role, "mlp"))
    if role == "correction_bias":
        return moe.router(spec).correction_bias is not None
    return True


def plan_expert_rules(context: Context) -> list[Code]:
    """Rules for the routed experts and their correction bias; the shared ones have their names on disk."""
    spec = context.base
    path = f"{attribute(spec, 'mlp')}.experts"
    storage = spec.checkpoint.experts or "per_expert"
    stacks = (("up",), "up_proj") if moe.experts(spec).kind == "plain" else (("gate", "up"), "gate_up_proj")
    found: list[Code] = []
    for roles, memory in (stacks, (("down",), "down_proj")):
        if storage == "per_expert":
            names = tuple(disk_name(spec, role, "experts") for role in roles)
            biases = ", biases=True" if _biased(context) else ""
            found.append(f"StackExperts({path!r}, {names!r}, {memory!r}{biases})")
        else:
            found += _stored(context, roles, f"{path}.{memory}", flat=storage == "flat")
    if moe.router(spec).correction_bias is not None and is_unsqueezed(spec, "mlp", "correction_bias"):
        found.append(f"Unsqueeze({attribute(spec, 'mlp') + '.' + MEMORY['correction_bias']!r})")
    if shared_is_fused(spec):
        message = "gate and up of shared experts in one stored tensor have no template yet"
        raise context.unready(message, "checkpoint.fused", "store them apart")
    return found


def _biased(context: Context) -> bool:
    return context.code(lambda s: (moe.experts(s).bias or {}).get("*", "False"), CONFIG) != "False"


def _stored(context: Context, roles: tuple[str, ...], memory: str, flat: bool) -> list[Code]:
    """The rule for experts that lie in one tensor; none where memory has the same layout."""
    spec = context.base
    path, inner = attribute(spec, "mlp"), disk_name(spec, "experts", "mlp")
    fused = _fused(spec, roles)
    tensors = [fused[0]] if fused else [_join(inner, disk_name(spec, role, "experts")) for role in roles]
    turned = any(name in (spec.checkpoint.transposed or ()) for name in tensors)
    disk = [f"{path}.{name}" for name in tensors]
    options: list[Code] = []
    if fused and fused[1].groups is not None:
        options.append(f"groups={CONFIG.code(fused[1].groups)}")
    if turned:
        options.append("transposed=True")
    if flat:
        options.append(f"flat={context.code(lambda s: context.value(moe.experts(s), 'count'), CONFIG)}")
    if fused and fused[1].parts != roles:
        options.append(f"order={fused[1].parts!r}")
    if disk == [memory] and not options:
        return []
    shown = repr(disk[0]) if len(disk) == 1 else repr(tuple(disk))
    return [f"StoredExperts({', '.join([shown, repr(memory), *options])})"]


def _fused(spec: Spec, roles: tuple[str, ...]) -> tuple[str, Fused] | None:
    """The stored tensor that holds several roles of every expert."""
    inner = disk_name(spec, "experts", "mlp")
    for name, fused in (spec.checkpoint.fused or {}).items():
        if (
            set(fused.parts) == set(roles)
            and len(roles) > 1
            and (name.startswith(f"{inner}.") if inner else "." in name)
        ):
            return name, fused
    return None


def shared_is_fused(spec: Spec) -> bool:
    """Whether gate and up of the shared experts lie in one stored tensor."""
    shared = moe.moe(spec).shared
    return shared is not None and fused_of(spec, "mlp", "up", within=disk_name(spec, "shared", "mlp")) is not None


def _join(*parts: str) -> str:
    return ".".join(part for part in parts if part)
