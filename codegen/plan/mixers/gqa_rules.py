"""The weight rules of grouped-query attention: what lies on disk otherwise than in memory."""

from codegen.language.spec import Fused
from codegen.plan.context import Context
from codegen.plan.mixers.gqa_class import (
    DEFAULT_NAMES,
    ROLES,
    fused_qkv,
    gate_in_q,
    gqa,
    head_dim_code,
    packable,
    projection_names,
    v_head_dim_code,
)
from codegen.plan.mixers.projections import groups_code, is_transposed, is_unsqueezed, turned_rules
from codegen.plan.names import attribute
from codegen.plan.scope import CONFIG, product
from codegen.plan.types import Code


def rules(context: Context, part: str) -> list[Code]:
    """Rules of the weights that lie otherwise on disk."""
    spec = context.base
    path, fused = attribute(spec, part), fused_qkv(spec, part)
    found = _fused_rules(context, part, *fused) if fused else _rules_apart(context, part)
    found += turned_rules(context, part, ("out_gate", "out"))
    if gqa(spec, part).sinks is not None and is_unsqueezed(spec, part, "sinks"):
        found.append(f"Unsqueeze({path + '.sinks'!r})")
    return found


def _head_sizes(context: Context, part: str) -> tuple[Code, Code, Code]:
    """KV heads, queries to each of them, and their width."""
    heads, kv_heads = (
        context.code(lambda s, n=name: context.value(gqa(s, part), n), CONFIG) for name in ("heads", "kv_heads")
    )
    queries = "1" if heads == kv_heads else f"({heads}) // ({kv_heads})"
    return kv_heads, queries, head_dim_code(context, part, CONFIG)


def _fused_rules(context: Context, part: str, name: str, layout: Fused) -> list[Code]:
    """The rule of a matrix that holds q, k and v; none where packing has the same rows."""
    kv_heads, queries, head_dim = _head_sizes(context, part)
    turned = is_transposed(context.base, part, "q")
    groups = groups_code(context, part, "q", CONFIG)
    whole = f"{attribute(context.base, part)}.{name}"
    if groups == kv_heads and layout.parts == ROLES:
        return [f"Transpose({whole!r})"] if turned else []
    extra = ", transposed=True" if turned else ""
    return [f"ReorderQKV({whole!r}, {layout.parts!r}, {groups}, {queries}, {head_dim}{extra})"]


def _rules_apart(context: Context, part: str) -> list[Code]:
    """The rule that packs q, k and v, or those that turn each of them."""
    spec = context.base
    if not packable(context, part):
        return turned_rules(context, part, ROLES)
    _, queries, head_dim = _head_sizes(context, part)
    names, v_head_dim = projection_names(spec, part), v_head_dim_code(context, part)
    options = "" if names == DEFAULT_NAMES else f", parts={names!r}"
    options += f", v_head_dim={v_head_dim}" if v_head_dim else ""
    queries = product("2", queries) if gate_in_q(spec, part) else queries
    return [f"PackQKV({attribute(spec, part)!r}, {queries}, {head_dim}{options})"]
