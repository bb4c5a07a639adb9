"""Plans the weight rules: what lies on disk otherwise than in memory."""

from collections.abc import Callable

from codegen.language.attention import Gqa, Mla, Softmax
from codegen.language.disk import BESIDE, within
from codegen.language.mlp import Gated, Moe, Plain
from codegen.language.spec import Fused, Spec
from codegen.plan.context import Context
from codegen.plan.equations import called
from codegen.plan.layers import attention_signature, block_calls, mlp_signature
from codegen.plan.mixers import dense, gates, gqa, mla
from codegen.plan.mixers.expert_names import path_in_memory
from codegen.plan.mixers.expert_names import roles as mixture_roles
from codegen.plan.mixers.expert_rules import plan_expert_rules, renames
from codegen.plan.mixers.projections import fused_of, groups_code, is_transposed, is_unsqueezed
from codegen.plan.names import attribute, disk_name, layer_path, memory_name, stored_name
from codegen.plan.output import finish_parts, is_top, top_parts
from codegen.plan.scope import Scope, product
from codegen.plan.types import Code

CONFIG = Scope(names={})
LATENT = mla.ROLES
DEFAULT = (
    'PackQKV("self_attn", config.num_attention_heads // config.num_key_value_heads, head_size(config))',
    'PackGateUp("mlp")',
)


def plan_rules(context: Context) -> tuple[Code, ...]:
    """Calls that construct the rules, in the order in which they are tried."""
    found = _renames(context)
    if any("attention" in block_calls(spec) for spec in context.flat.values()):
        for group in _groups(context, attention_signature, "attention"):
            is_gqa = isinstance(group.base.attention, Gqa)
            found += _attention(group) if is_gqa else _turned(group, "attention", ("out_gate", *LATENT))
    if any("mlp" in block_calls(spec) for spec in context.flat.values()) and "mlp" not in context.loaded.overrides:
        for group in _groups(context, mlp_signature, "mlp"):
            found += plan_expert_rules(group) if isinstance(group.base.mlp, Moe) else _mlp(group)
    return tuple(dict.fromkeys(found))


def _groups(context: Context, signature: Callable[[Spec], object], part: str) -> list[Context]:
    """Combinations whose part is alike and lies at the same path."""

    def alike(spec: Spec) -> object:
        return attribute(spec, part), signature(spec)

    using = context.where(lambda s: part in block_calls(s), True)
    return [using.where(alike, answer) for answer in using.answers(alike)]


def _attention(context: Context) -> list[Code]:
    spec = context.base
    path = attribute(spec, "attention")
    fused = gqa.fused_qkv(spec)
    found = _fused_qkv(context, path, *fused) if fused else _apart(context, path)
    found += _turned(context, "attention", ("out_gate", "out"))
    if gqa.gqa(spec).sinks is not None and is_unsqueezed(spec, "attention", "sinks"):
        found.append(f"Unsqueeze({path + '.sinks'!r})")
    return found


def _head_sizes(context: Context) -> tuple[Code, Code, Code]:
    """KV heads, queries to each of them, and their width."""
    heads = context.code(lambda s: context.value(gqa.gqa(s), "heads"), CONFIG)
    kv_heads = context.code(lambda s: context.value(gqa.gqa(s), "kv_heads"), CONFIG)
    head_dim = gqa.head_dim_code(context, CONFIG)
    return kv_heads, "1" if heads == kv_heads else f"({heads}) // ({kv_heads})", head_dim


def _fused_qkv(context: Context, path: str, name: str, layout: Fused) -> list[Code]:
    """The rule of a matrix that holds q, k and v; none where packing has the same rows."""
    kv_heads, queries, head_dim = _head_sizes(context)
    turned = is_transposed(context.base, "attention", "q")
    groups = groups_code(context, "attention", "q", CONFIG)
    whole = f"{path}.{memory_name(name)}"
    if groups == kv_heads and layout.parts == ("q", "k", "v"):
        return [f"Transpose({whole!r})"] if turned else []
    extra = ", transposed=True" if turned else ""
    return [f"ReorderQKV({whole!r}, {layout.parts!r}, {groups}, {queries}, {head_dim}{extra})"]


def _apart(context: Context, path: str) -> list[Code]:
    """The rule that packs q, k and v, or those that turn each of them."""
    spec = context.base
    if not gqa.packable(context):
        return _turned(context, "attention", ("q", "k", "v"))
    _, queries, head_dim = _head_sizes(context)
    names, v_head_dim = gqa.projection_names(spec), gqa.v_head_dim_code(context)
    options = "" if names == gqa.DEFAULT_NAMES else f", parts={names!r}"
    options += f", v_head_dim={v_head_dim}" if v_head_dim else ""
    queries = product("2", queries) if gqa.gate_in_q(spec) else queries
    return [f"PackQKV({path!r}, {queries}, {head_dim}{options})"]


def _turned(context: Context, part: str, roles: tuple[str, ...]) -> list[Code]:
    """Rules of the matrices that are stored [in, out]."""
    spec = context.base
    turned = [role for role in roles if is_transposed(spec, part, role)]
    names = [fused_of(spec, part, role) for role in turned]
    path = attribute(spec, part)
    memory = [
        memory_name(fused[0]) if fused else attribute(spec, role, part)
        for role, fused in zip(turned, names, strict=True)
    ]
    return [f"Transpose({f'{path}.{name}'!r})" for name in dict.fromkeys(memory)]


def _mlp(context: Context) -> list[Code]:
    spec = context.base
    path = attribute(spec, "mlp")
    section = dense.dense(spec)
    if isinstance(section, Plain):
        return _turned(context, "mlp", ("up", "down"))
    found: list[Code] = []
    fused = fused_of(spec, "mlp", "up")
    if fused:
        groups = groups_code(context, "mlp", "up", CONFIG)
        extra = ", transposed=True" if is_transposed(spec, "mlp", "up") else ""
        extra += f", order={fused[1].parts!r}" if fused[1].parts != ("gate", "up") else ""
        whole = f"{path}.{memory_name(fused[0])}"
        found.append(f"ReorderGateUp({whole!r}, {groups}{extra})")
    elif dense.packable(context.whole):
        names = tuple(attribute(spec, role, "mlp") for role in ("gate", "up"))
        parts = "" if names == ("gate_proj", "up_proj") else f", parts={names!r}"
        found.append(f"PackGateUp({path!r}{parts})")
    else:
        found += _turned(context, "mlp", ("gate", "up"))
    return found + _turned(context, "mlp", ("down",))


def _renames(context: Context) -> list[Code]:
    """Paths on disk that are no attribute names, with what they are called in memory."""
    found: list[Code] = []
    for spec in context.flat.values():
        model, layers, head = (disk_name(spec, role) for role in ("model", "layers", "head"))
        inside = attribute(spec, "model")
        pairs = [(model, inside), (f"{inside}.{layers}", f"{inside}.{attribute(spec, 'layers')}")]
        pairs = [*_beside(spec), *pairs, (head, attribute(spec, "head"))]
        pairs += [(stored_name(spec, name), layer_path(name)) for name in block_calls(spec)]
        for name in (*called(spec.input), *finish_parts(spec), *top_parts(spec)):
            if name not in ("attention", "mlp"):
                stored, above = stored_name(spec, name), "" if is_top(spec, name) else f"{inside}."
                above = above if stored != name else ""  # else a name that only is no attribute
                pairs.append((above + stored, above + memory_name(name)))
        for part, roles in (("attention", _attention_roles(spec)), ("mlp", _mlp_roles(spec))):
            if part in block_calls(spec):
                disk, memory = disk_name(spec, part), attribute(spec, part)
                if disk:
                    pairs.append((disk, memory))
                for role in roles:
                    name = disk_name(spec, role, part)
                    memory_role = "sinks" if role == "sinks" else attribute(spec, role, part)
                    before = f"{memory}." if disk else ""
                    if not name.startswith(BESIDE):
                        pairs.append((before + name, f"{memory}.{memory_role}"))
                    if f"{role}_bias" not in roles and (bias := (spec.checkpoint.names or {}).get(f"{role}_bias")):
                        pairs.append((f"{before}{bias}", f"{memory}.{memory_role}.bias"))
        if isinstance(spec.mlp, Moe) and "mlp" in block_calls(spec):
            pairs += renames(spec)
        found += [f"Rename({disk!r}, {memory!r})" for disk, memory in pairs if disk != memory and disk]
    return list(dict.fromkeys(found))


def _beside(spec: Spec) -> list[tuple[str, str]]:
    """What lies on disk beside its part: these come first, for they go by the names on disk alone."""
    found: list[tuple[str, str]] = []
    of_mlp = mixture_roles(spec) if isinstance(spec.mlp, Moe) else ()
    for part, roles in (("attention", _attention_roles(spec)), ("mlp", of_mlp)):
        for role in roles if part in block_calls(spec) else ():
            name = disk_name(spec, role, part)
            if name.startswith(BESIDE):
                own = path_in_memory(spec, role) if part == "mlp" else attribute(spec, role, part)
                found.append((within(disk_name(spec, part), name), f"{attribute(spec, part)}.{own}"))
    return found


def _attention_roles(spec: Spec) -> tuple[str, ...]:
    if isinstance(spec.attention, Mla):
        return *mla.ROLES, *mla.NORMS, *_gate_roles(spec.attention)
    if not isinstance(spec.attention, Gqa):
        return ()
    further = ("sinks",) if spec.attention.sinks is not None else ()
    further += ("q_norm", "k_norm") if spec.attention.qk_norm is not None else ()
    if gqa.gate_in_q(spec):
        return "k", "v", "out", *further, *_gate_roles(spec.attention)[1:]
    further += _gate_roles(spec.attention)
    return ("out", *further) if gqa.fused_qkv(spec) else ("q", "k", "v", "out", *further)


def _gate_roles(section: Softmax) -> tuple[str, ...]:
    gate = section.gate
    return () if gate is None else gates.ROLES if gate.has_head_bias else gates.ROLES[:1]


def _mlp_roles(spec: Spec) -> tuple[str, ...]:
    if isinstance(spec.mlp, Plain):
        return ("up", "down")
    if not isinstance(spec.mlp, Gated):
        return ()
    return ("down",) if fused_of(spec, "mlp", "up") else ("gate", "up", "down")
