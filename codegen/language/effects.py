"""Keys of parts that would have no effect beside others, or that a layout cannot hold."""

from collections.abc import Iterator, Mapping
from typing import Any

from codegen.configs import ConfigClass
from codegen.language import disk
from codegen.language.attention import Gqa, Softmax
from codegen.language.expressions import config_paths
from codegen.language.keys import Section
from codegen.language.mlp import Gated, Moe, Shared
from codegen.language.spec import ROLE_NAMES, Spec
from codegen.language.values import Expression

Found = Iterator[tuple[tuple[Any, ...], str, str]]
QKV = ("q", "k", "v")
ONE_FLAG = "write one flag for all of them"


def reach(spec: Spec, _: ConfigClass) -> Found:
    """What a query sees is limited in one way."""
    attention = spec.attention
    if isinstance(attention, Softmax) and _given(attention.window) and _given(attention.chunk):
        cure = "write one of them; `layers` gives different layers different ones"
        yield ("attention", "chunk"), "window and chunk exclude each other", cure


def _given(number: Expression | None) -> bool:
    return number is not None and not number.is_none


def rotation(spec: Spec, _: ConfigClass) -> Found:
    """Keys of `rope` that another one makes idle."""
    rope = spec.rope
    if rope is None:
        return
    if rope.table_dtype == "float32" and rope.apply_dtype is not None:
        yield ("rope", "apply_dtype"), "has no effect beside table_dtype: float32, which implies it", "leave it out"


def learned_positions(spec: Spec, _: ConfigClass) -> Found:
    """Where positions come from matters to what reads them."""
    reads = any("positions" in equation.text for equation in spec.input)
    if spec.positions != "arange" and not reads:
        yield ("positions",), "has no effect: no equation of `input` reads positions", "leave it out"


def head(spec: Spec, _: ConfigClass) -> Found:
    """A head with rows of its own number is no embedding, unless the number may be the vocabulary's."""
    rows, tie = spec.head.rows, spec.head.tie
    if rows is not None and "vocab_size" not in config_paths(rows.tree) and (tie is None or tie.constant is not False):
        yield ("head", "rows"), "a head that shares the embedding has its rows", "write tie: false beside it"


def shared_bias(spec: Spec, _: ConfigClass) -> Found:
    """One stored tensor has one bias for all of its parts; so have the experts of a mixture."""
    parts: dict[tuple[str, ...], Section] = {("attention",): spec.attention, ("mlp",): spec.mlp}
    parts |= {("parts", str(part)): section for part, section in spec.parts.items()}
    sections = [(path, section) for path, section in parts.items() if isinstance(section, Gqa | Gated)]
    gate = spec.attention.gate if isinstance(spec.attention, Gqa) else None
    gate = None if gate is None or gate.has_head_bias else gate
    for name, tensor in (spec.checkpoint.fused or {}).items():
        if "out_gate" in tensor.parts and gate is not None and gate.bias is not None:
            yield ("attention", "gate", "bias"), f"the gate lies in {name}, whose bias is that of q", "leave it out"
        for path, section in sections:
            flags = _flags(section)
            if set(flags) <= {"*"} or not set(tensor.parts) <= {*QKV, "gate", "up"} or "." in str(name):
                continue
            groups = {"qkv": QKV}
            asked = {_text(flags, role, groups) for role in tensor.parts}
            if len(asked) > 1:
                yield (*path, "bias"), f"{', '.join(tensor.parts)} lie in {name}, which has one bias for all", ONE_FLAG
    if isinstance(spec.mlp, Moe):
        for name, section in (("experts", spec.mlp.experts), ("shared", spec.mlp.shared)):
            if set(_flags(section)) - {"*"}:
                yield ("mlp", name, "bias"), "the projections of experts have biases all or none", ONE_FLAG


def _flags(section: Gqa | Gated | None) -> Mapping[str, Expression]:
    return section.bias if section is not None and section.bias is not None else {}


def _text(flags: Mapping[str, Expression], role: str, groups: Mapping[str, tuple[str, ...]]) -> str | None:
    names = (role, *(name for name, roles in groups.items() if role in roles), "*")
    return next((flags[name].text for name in names if name in flags), None)


def mixture(spec: Spec, _: ConfigClass) -> Found:
    """Keys of a mixture that another one makes idle."""
    moe = spec.mlp
    if not isinstance(moe, Moe):
        return
    yield from _router(moe)
    yield from _correction(spec, moe)
    experts, shared = moe.experts, moe.shared
    plain = experts is not None and experts.kind == "plain"
    plain_shared = shared is None or shared.kind == "plain"
    if moe.glu is not None and plain and plain_shared:
        yield ("mlp", "glu"), "has no effect: plain experts have no gate", "leave it out, or write kind: gated"
    if experts is not None and experts.glu is not None and not plain_shared:
        yield ("mlp", "experts", "glu"), "the shared experts would have it too", "write it as mlp.glu"
    if shared is not None:
        yield from _of_shared(moe, shared)
    own = [part for part in (experts, shared) if part is not None and part.activation is not None]
    if moe.activation is not None and experts in own and shared in (None, *own):
        yield ("mlp", "activation"), "has no effect beside experts.activation", "write one of them"


def _of_shared(moe: Moe, shared: Shared) -> Found:
    alpha = moe.glu is not None and moe.glu.alpha is not None
    if alpha and shared.activation is not None and shared.kind != "plain":
        yield ("mlp", "shared", "activation"), "has no effect beside glu.alpha, which replaces it", "leave it out"


def _correction(spec: Spec, moe: Moe) -> Found:
    """Where the router has another name, its usual place is no longer within the router."""
    names = spec.checkpoint.names or {}
    if moe.router is None or moe.router.correction_bias is None or not {"router", "mlp.router"} & names.keys():
        return
    router, path = (disk.name(spec, role, "mlp") for role in ("router", "correction_bias"))
    if path.startswith(f"{ROLE_NAMES['router']}.") and router != ROLE_NAMES["router"]:
        where = ("checkpoint", "names", "router" if "router" in names else "mlp.router")
        yield where, f"the correction bias would stay {path}", "write names.correction_bias too"


def _router(moe: Moe) -> Found:
    router = moe.router
    if router is None:
        return
    path = ("mlp", "router")
    if router.order in ("topk_first", "sparsemixer") and router.groups is not None:
        yield (*path, "groups"), f"order: {router.order} chooses among all experts", "write order: score_first"
    if router.order == "sparsemixer":
        for name in ("score", "correction_bias"):
            if getattr(router, name) is not None:
                yield (*path, name), "has no effect beside order: sparsemixer", "leave it out"
    divided = router.renormalize
    if divided is not None:
        written = [name for name in ("norm", "min", "eps") if getattr(divided, name) is not None]
        for name in written[1:]:
            yield (*path, "renormalize", name), f"has no effect beside {written[0]}", "write one of them"
