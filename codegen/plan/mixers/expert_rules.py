"""Plans the weight rules of mixtures of experts: what lies on disk otherwise than in memory."""

from codegen.language.disk import BESIDE
from codegen.language.spec import Spec
from codegen.plan.context import Context
from codegen.plan.mixers import expert_names
from codegen.plan.mixers.expert_names import experts as experts_of
from codegen.plan.mixers.expert_names import moe
from codegen.plan.mixers.projections import fused_of
from codegen.plan.names import attribute, disk_name
from codegen.plan.scope import CONFIG
from codegen.plan.types import Code


def renames(spec: Spec) -> list[tuple[str, str]]:
    """Paths of a mixture of experts on disk, and in memory, within the layer."""
    path = attribute(spec, "mlp")
    found = [
        (f"{path}.{disk_name(spec, role, 'mlp')}", f"{path}.{expert_names.path_in_memory(spec, role)}")
        for role in moe(spec).roles()
        if (role != "experts" or _has_a_path(spec)) and not disk_name(spec, role, "mlp").startswith(BESIDE)
    ]
    if moe(spec).shared is not None:
        shared = f"{path}.{expert_names.path_in_memory(spec, 'shared')}"
        stored = [disk_name(spec, role, "shared") for role in expert_names.PROJECTIONS]
        pairs = zip(stored, expert_names.shared_names(spec), strict=True)
        found += [(f"{shared}.{disk}", f"{shared}.{memory}") for disk, memory in pairs]
    if expert_names.lie_flat(spec):
        experts = f"{path}.{expert_names.path_in_memory(spec, 'experts')}"
        found += [(f"{path}.{disk}", f"{experts}.{name}") for disk, name in expert_names.flat_names(spec).items()]
    return [(disk, memory) for disk, memory in found if disk != memory]


def _has_a_path(spec: Spec) -> bool:
    """Whether experts have a path on disk that a rename can stand for."""
    return (spec.checkpoint.experts or "per_expert") == "per_expert" and bool(disk_name(spec, "experts", "mlp"))


def plan_expert_rules(context: Context) -> list[Code]:
    """Rules for the routed experts; router and shared experts lie as on disk."""
    context.only(_names, "checkpoint.names", "what experts are called")
    spec = context.base
    expert_names.refuse_mark(context)
    path = f"{attribute(spec, 'mlp')}.{expert_names.path_in_memory(spec, 'experts')}"
    stacks = (("up",), "up_proj") if expert_names.has_plain_experts(spec) else (("gate", "up"), "gate_up_proj")
    found: list[Code] = []
    for roles, memory in (stacks, (("down",), "down_proj")):
        if (spec.checkpoint.experts or "per_expert") == "per_expert":
            names = tuple(disk_name(spec, role, "experts") for role in roles)
            biases = ", biases=True" if _biased(context) else ""
            found.append(f"StackExperts({path!r}, {names!r}, {memory!r}{biases})")
        else:
            found += [] if expert_names.lie_flat(spec) else _stored(context, roles, f"{path}.{memory}")
    if shared_is_fused(spec):
        message = "gate and up of shared experts in one stored tensor have no template yet"
        raise context.unready(message, "checkpoint.fused", "store them apart")
    return found


def _names(spec: Spec) -> tuple[str, ...]:
    inner = [disk_name(spec, role, part) for part in ("experts", "shared") for role in ("gate", "up", "down")]
    tensors = (spec.checkpoint.fused or {}).items()
    fused = (str(name) for name, one in tensors if {*expert_names.PROJECTIONS} & {*one.parts})
    return (*(f"{role} {disk_name(spec, role, 'mlp')}" for role in ("router", "experts", "shared")), *inner, *fused)


def _biased(context: Context) -> bool:
    return context.code(lambda s: (experts_of(s).bias or {}).get("*", "False"), CONFIG) != "False"


def _stored(context: Context, roles: tuple[str, ...], memory: str) -> list[Code]:
    """The rule for experts that lie in one tensor; where memory has the same layout and name, it is for such as lie the
    other way round."""
    spec = context.base
    disk = [f"{attribute(spec, 'mlp')}.{name}" for name in expert_names.stored_tensors(spec)[roles == ("down",)]]
    options = [] if expert_names.lie_as_stored(spec) else _conversions(context, roles)
    shown = repr(disk[0]) if len(disk) == 1 else repr(tuple(disk))
    return [f"StoredExperts({', '.join([shown, repr(memory), *options])})"]


def _conversions(context: Context, roles: tuple[str, ...]) -> list[Code]:
    """What makes rows of gate, then up, of every expert out of what is stored."""
    spec, fused = context.base, expert_names.fused_experts(context.base, roles)
    tensors = expert_names.stored_tensors(spec)[roles == ("down",)]
    options: list[Code] = []
    if fused and fused[1].groups is not None:
        options.append(f"groups={CONFIG.code(fused[1].groups)}")
    lying = {name in (spec.checkpoint.transposed or ()) for name in tensors}
    if len(lying) > 1:
        message = f"{' and '.join(tensors)} lie in different ways, for which there is no template yet"
        raise context.unready(message, "checkpoint.transposed", "store both alike")
    if True in lying:
        options.append("transposed=True")
    if spec.checkpoint.experts == "flat":
        options.append(f"flat={context.code(lambda s: context.value(experts_of(s), 'count'), CONFIG)}")
    if fused and fused[1].parts != roles:
        options.append(f"order={fused[1].parts!r}")
    return options


def shared_is_fused(spec: Spec) -> bool:
    """Whether gate and up of the shared experts lie in one stored tensor."""
    shared = moe(spec).shared
    return shared is not None and fused_of(spec, "mlp", "up", within=disk_name(spec, "shared", "mlp")) is not None
