"""The token mixer of a draft, from the tensors of a layer."""

from dataclasses import replace

from codegen.language.attention import HEAD_BIAS
from codegen.language.spec import ROLE_NAMES
from codegen.new import modules
from codegen.new.body import Body
from codegen.new.modules import Layer, Module
from codegen.new.values import Values

FLAGS = ("attention_bias", "use_bias", "use_qkv_bias", "qkv_bias", "add_qkv_bias", "enable_bias", "bias", "attn_bias")
ROLES = ("attention", "q", "k", "v", "out", "q_norm", "k_norm", "sinks", "out_gate")
PLAIN = "gqa"
GATE = "gate"  # in names of what belongs to the gate of the heads' outputs
FUSED = "a shape tells neither the order nor the grouping of fused rows; per head: {parts: [...], groups: ...}"


def draft_mixer(body: Body, layer: Layer, values: Values) -> None:
    """Write what the tensors of the token mixer say in place of what the nearest spec does."""
    if layer.attention is None:
        return
    kind = modules.kind_of(layer)
    if body.section("attention").get("kind", PLAIN) != kind:
        body.drop("attention")
        if kind != PLAIN:
            body.put(kind, "attention")
    forget_names(body, ROLES)
    name_role(body, "attention", layer.attention)
    if kind != PLAIN:
        return
    for key in ("bias", "inner_norm", "sinks", "gate"):
        body.drop("attention", key)
    _biases(body, _projections(body, layer), values)
    _norms(body, layer, values)
    _gate(body, layer, values)


def forget_names(body: Body, roles: tuple[str, ...]) -> None:
    """Take out the names, fused tensors and transpositions of these roles."""
    for role in roles:
        for name in (role, f"{role}_bias"):
            body.drop("checkpoint", "names", name)
            body.drop("checkpoint", "memory", name)
    for stored in body.section("checkpoint", "fused"):
        parts = body.listed("checkpoint", "fused", stored, "parts") or body.listed("checkpoint", "fused", stored)
        if set(roles) & set(parts):
            body.drop("checkpoint", "fused", stored)


def name_role(body: Body, role: str, stored: str) -> None:
    """Write the disk name of a role where it is not Llama's, nor that of the role wherever it lies."""
    wide = role.rpartition(".")[2]
    wherever = body.get("checkpoint", "names", wide) if wide != role else None
    if (wherever or ROLE_NAMES.get(wide)) != stored:
        body.put(stored, "checkpoint", "names", role)


def _projections(body: Body, layer: Layer) -> dict[str, Module]:
    """Names of the projections, apart or fused; the modules by role."""
    found: dict[str, Module] = {}
    for role, names in (("q", modules.QUERY), ("k", modules.KEY), ("v", modules.VALUE)):
        module = modules.named(layer.mixing, names)
        if module is not None:
            found[role] = module
            name_role(body, role, module.path)
    whole = modules.named(layer.mixing, modules.QKV)
    if whole is not None and not found:
        body.put(["q", "k", "v"], "checkpoint", "fused", whole.path, doubt=FUSED)
        found["qkv"] = whole
    used = {module.path for module in found.values()}
    rest = {path: one for path, one in layer.mixing.items() if path not in used and one.weight and not one.is_norm}
    out = modules.named(rest, modules.OUT) or (next(iter(rest.values())) if len(rest) == 1 else None)
    if out is not None:
        found["out"] = out
        name_role(body, "out", out.path)
    gate_beside(body, found.get("q"), found.get("out"))
    return {role: _with_bias_apart(body, role, one, layer) for role, one in found.items()}


def gate_beside(body: Body, query: Module | None, out: Module | None) -> None:
    """Queries that lie with a gate of the heads' outputs have twice the rows that the output projection reads."""
    if query is None or out is None or not query.shape or not out.shape or query.shape[0] != 2 * out.shape[-1]:
        return
    parts = {"parts": ["q", "out_gate"], "groups": "config.num_attention_heads"}
    body.put(True, "attention", "gate")
    body.put(parts, "checkpoint", "fused", query.path, doubt=FUSED)


def _with_bias_apart(body: Body, role: str, module: Module, layer: Layer) -> Module:
    """A projection whose bias lies beside it, under a name of its own."""
    apart = layer.mixing.get(f"{module.path}_bias")
    if apart is None or module.bias or role == "qkv":
        return module
    body.put(apart.path, "checkpoint", "names", f"{role}_bias")
    return replace(module, bias=True)


def _biases(body: Body, found: dict[str, Module], values: Values) -> None:
    """Flags by role, unless the config's own flag says the same."""
    has = {role: found[role].bias for role in ("qkv", "q", "k", "v", "out") if role in found}
    inner = {role: there for role, there in has.items() if role != "out"}
    if not inner:
        return
    default = bool(values.get("attention_bias")) if values.has("attention_bias") else False
    if all(there == default for there in has.values()):
        return
    flag = next((name for name in FLAGS if values.has(name) and values.get(name) is True), None)
    same = len(set(inner.values())) == 1
    value = f"config.{flag}" if flag is not None else True
    doubt = f"config.{flag} is true here and may be what switches it" if flag is not None else None
    if same and has.get("out") == has[next(iter(inner))]:
        body.put(value, "attention", "bias", doubt=doubt)
    elif same:
        qkv = next(iter(inner.values()))
        body.put({"qkv": value if qkv else False, "out": False if qkv else value}, "attention", "bias", doubt=doubt)
    else:
        body.put({role: value if there else False for role, there in has.items()}, "attention", "bias", doubt=doubt)


def _norms(body: Body, layer: Layer, values: Values) -> None:
    """QK-norm, the norm before the output projection, and sinks."""
    norms = {path: one for path, one in layer.mixing.items() if one.is_norm and not one.bare}
    query = next((path for path in norms if path.split(".")[0].startswith("q")), None)
    key = next((path for path in norms if path.split(".")[0].startswith("k")), None)
    if query is None or key is None:
        body.drop("attention", "qk_norm")
    else:
        name_role(body, "q_norm", query.split(".")[0])
        name_role(body, "k_norm", key.split(".")[0])
        _qk_norm(body, norms[query], values)
    for path in norms:
        if path not in (query, key) and "." not in path:
            body.put(path, "attention", "inner_norm")
    for path in _numbers_of_heads(layer, values):
        if GATE not in path:
            body.put(True, "attention", "sinks")
            name_role(body, "sinks", path)


def _numbers_of_heads(layer: Layer, values: Values) -> list[str]:
    """Parameters with one number a head."""
    heads = (values.get("num_attention_heads"),)
    return [path for path, one in layer.mixing.items() if one.bare and one.name != "bias" and one.shape == heads]


def _qk_norm(body: Body, norm: Module, values: Values) -> None:
    """Over a head or the whole projection, as the width says."""
    over, weights, doubt = "head", None, None
    heads, width = values.get("num_attention_heads"), values.head_dim
    if "*" in norm.path:
        weights = "modules"
    elif norm.shape is not None and len(norm.shape) == 2:
        weights = "per_head"
    elif norm.shape is None or not isinstance(heads, int) or width is None:
        doubt = "head or projection: the norm's width is not known"
    elif norm.shape == (heads * width,) and heads != 1:
        over = "projection"
    elif norm.shape != (width,):
        doubt = f"its width is {norm.shape[0]}, that of neither a head ({width}) nor the projection ({heads * width})"
    kept = {key: value for key, value in body.section("attention", "qk_norm").items() if key not in ("over", "weights")}
    if "when" in kept and values.read(str(kept["when"])) is None:
        del kept["when"]  # no field of this config switches it, and it is there
    value = {**kept, "over": over} | ({"weights": weights} if weights else {})
    body.put(value if len(value) > 1 else over, "attention", "qk_norm", doubt=doubt)


def _gate(body: Body, layer: Layer, values: Values) -> None:
    """A gate of the heads' outputs that lies apart, as wide as the heads are many or as their outputs; its bias may be
    one number a head."""
    gate = modules.named(layer.mixing, modules.HEAD_GATE)
    if gate is not None:
        per_head = gate.shape is not None and gate.shape[0] == values.get("num_attention_heads")
        bias = next((path for path in _numbers_of_heads(layer, values) if GATE in path), None)
        said = ({"per": "head"} if per_head else {}) | ({"bias": HEAD_BIAS} if bias else {})
        body.put(said or True, "attention", "gate")
        name_role(body, "out_gate", gate.path)
        if bias is not None:
            name_role(body, "out_gate_bias", bias)


def qk_bias(body: Body, layer: Layer) -> None:
    """A QK-norm without bias among LayerNorms that have one."""
    norm, own = body.section("norm"), body.section("attention", "qk_norm")
    if norm.get("kind") != "layernorm" or norm.get("bias") is False or not own or {"bias", "kind"} & own.keys():
        return
    found = [one for path, one in layer.mixing.items() if one.is_norm and path.startswith(("q", "k"))]
    if found and not any(one.bias for one in found):
        body.put({**own, "bias": False}, "attention", "qk_norm", doubt="without a bias it may be an rmsnorm")
