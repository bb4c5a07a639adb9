"""The channel mixer of a draft, dense or experts, from the tensors of a layer."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from codegen.language.attention import ACTIVATION
from codegen.language.chains import candidate
from codegen.language.keys import keys
from codegen.language.mlp import Experts
from codegen.language.spec import ROLE_NAMES
from codegen.new import modules
from codegen.new.body import Body
from codegen.new.mixing import FUSED, forget_names, name_role
from codegen.new.modules import Layer, Module
from codegen.new.values import Values

FLAGS = ("mlp_bias", "use_bias", "use_mlp_bias", "enable_bias", "bias")
DENSE = ("mlp", "gate", "up", "down")
EXPERTS = (*DENSE, "router", "experts", "shared", "shared_gate", "correction_bias")
_SHARED_WIDTHS = (
    *("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "moe_intermediate_size"),
    "intermediate_size",
)
_SHARED_COUNTS = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert")
_USUAL = "config.intermediate_size"
_RATIO = re.compile("intermediate|expansion|multipl|ratio")  # in names of fields by which the stream's width is widened
QUALIFIED = tuple(f"{part}.{role}" for part in ("experts", "shared") for role in ("gate", "up", "down"))


def draft_dense(body: Body, layer: Layer, values: Values) -> None:
    """Write what the tensors of a dense MLP say in place of what the nearest spec does."""
    if body.section("mlp").get("kind") == "moe":
        body.drop("mlp")
    forget_names(body, EXPERTS)
    name_role(body, "mlp", layer.mlp or "")
    found = projections(body, layer.channel, "")
    plain = "gate" not in found and "gate_up" not in found
    rest = {name: value for name, value in body.section("mlp").items() if name not in ("kind", "bias", "inner_norm")}
    body.drop("mlp")
    if plain:
        body.put("plain", "mlp", "kind")
    for name, value in rest.items():
        body.put(value, "mlp", name, doubt="as in the nearest spec")
    _bias(body, found, values)
    put_width(body, found, values)
    inner = next((path for path, one in layer.channel.items() if one.is_norm and "." not in path), None)
    if inner is not None:
        body.put(inner, "mlp", "inner_norm")
    _activation(body, values)
    if body.section("mlp").keys() == {"kind"}:
        body.put("plain", "mlp")


def check_width(body: Body, layer: Layer, values: Values) -> None:
    """Names alike: whether what the nearest spec says of the width of a dense MLP is that of its tensors."""
    stored = str(body.get("checkpoint", "names", "down") or ROLE_NAMES["down"])
    down, mlp = layer.channel.get(stored), body.section("mlp")
    turned = stored in body.listed("checkpoint", "transposed")
    varies = any("width" in str(entry.get("mlp", "")) for entry in body.listed("variants"))  # which it may follow
    if down is None or not down.shape or len(down.shape) != 2 or mlp.get("kind") == "moe" or turned or varies:
        return
    said = values.read(str(mlp.get("width", _USUAL)))
    held = values.get("intermediate_size") if said is None else said  # that, where nothing else is said
    if held is None or isinstance(held, int) and held != down.shape[1]:
        put_width(body, {"down": down}, values)


def draft_experts(body: Body, layer: Layer, values: Values) -> None:
    """The same for a mixture of experts: names of router, experts and shared expert; how they are stored."""
    if body.section("mlp").get("kind") != "moe":
        body.drop("mlp")
        body.put("moe", "mlp", "kind")
    forget_names(body, (*EXPERTS, *QUALIFIED))
    for stored in body.section("checkpoint", "fused"):
        if "expert" in stored or stored.endswith(".weight"):
            body.drop("checkpoint", "fused", stored)
    body.drop("checkpoint", "experts")
    name_role(body, "mlp", layer.mlp or "")
    projections(body, _dense(layer), "")
    _router(body, layer, values)
    _routed(body, layer, values)
    _inner_sizes(body, values)
    _shared(body, layer, values)
    _activation(body, values)
    _dense_layers(body, layer, values)


def _activation(body: Body, values: Values) -> None:
    """Some activation, where neither the nearest spec nor a field of the config names one."""
    if "activation" not in body.section("mlp") and candidate(ACTIVATION, values.config) is None:
        body.put("silu", "mlp", "activation", doubt="nothing says which")


def _router(body: Body, layer: Layer, values: Values) -> None:
    outside = {path: one for path, one in layer.channel.items() if "experts" not in path.split(".")}
    number = _number(values)
    router = next((one for one in outside.values() if one.weight and _first(one) == number), None)
    if router is None:
        router = next((one for one in outside.values() if one.weight and one.name in ("gate", "router", "wg")), None)
    if router is not None:
        name_role(body, "router", router.path)
    if router is not None and router.bias:
        body.put(True, "mlp", "router", "bias")
    else:
        body.drop("mlp", "router", "bias")
    correction = next((one for one in layer.channel.values() if _corrects(one, number)), None)
    if correction is not None and len(correction.shape or ()) == 2:
        body.put([correction.path], "checkpoint", "unsqueezed")
    else:
        body.drop("checkpoint", "unsqueezed")
    if correction is None:
        body.drop("mlp", "router", "correction_bias")
    else:
        body.put(True, "mlp", "router", "correction_bias")
        if body.get("mlp", "router", "score") is None:
            body.put("sigmoid", "mlp", "router", "score", doubt="guessed: a correction bias mostly comes with sigmoid")
        name_role(body, "correction_bias", correction.path)
        name = "gate.e_score_correction_bias"
        if correction.path == name:
            body.drop("checkpoint", "names", "correction_bias")


def _corrects(one: Module, number: int | None) -> bool:
    """Whether it is the bias that corrects the choice: one number for each expert, beside the router or the experts."""
    if not one.bare or not one.name.endswith("bias"):
        return False
    return "correction" in one.name or "experts" not in one.path.split(".") or one.shape == (number,)


def _routed(body: Body, layer: Layer, values: Values) -> None:
    """One module per expert, or all experts in one tensor."""
    number = _number(values)
    within = {path: one for path, one in layer.channel.items() if "experts" in path.split(".") and "shared" not in path}
    routed = {path: one for path, one in within.items() if not _corrects(one, number)}
    single = next((path for path in routed if "*" in path.split(".")), None)
    if single is not None:
        before = single.split(".*.")[0]
        inner = {path.split(".*.", 1)[1]: one for path, one in routed.items() if ".*." in path}
        if before != "experts":
            body.put(before, "checkpoint", "names", "experts")
        projections(body, {path: at_path(one, path) for path, one in inner.items()}, "experts.")
    elif all(len(one.shape or ()) == 2 for one in routed.values()) and len({one.shape for one in routed.values()}) == 1:
        _flat(body, routed)
    elif routed:
        body.put("stacked", "checkpoint", "experts")
        matrices = {path: one for path, one in routed.items() if one.shape is None or len(one.shape) == 3}
        body.drop("mlp", "experts", "bias")
        if len(matrices) < len(routed):
            body.put(True, "mlp", "experts", "bias")
        whole = {path: one for path, one in matrices.items() if one.name in modules.GATE_UP}
        for path in whole:
            body.put(["gate", "up"], "checkpoint", "fused", path, doubt=FUSED)
        if any(one.shape is not None and one.shape[1] == values.get("hidden_size") for one in whole.values()):
            body.put(sorted(matrices), "checkpoint", "transposed")


def _flat(body: Body, routed: Mapping[str, Module]) -> None:
    """All experts below one another, [E * rows, D]: down has the rows of the others where it lies turned."""
    before = next(iter(routed)).rpartition(".")[0]
    body.put("flat", "checkpoint", "experts")
    body.put(before, "checkpoint", "names", "experts")
    inner = {one.name: Module(one.name, one.shape, weight=True) for one in routed.values()}
    found = projections(body, inner, "experts.")
    if "down" in found:
        body.put([f"{before}.{found['down'].path}"], "checkpoint", "transposed")


# Fields of a config inside the config that hold sizes of experts, by the ends of their names.
_INNER = {
    "count": ("num_experts", "n_routed_experts"),
    "top_k": ("top_k", "experts_per_tok"),
    "width": ("ffn_hidden_size", "intermediate_size"),
}


def _inner_sizes(body: Body, values: Values) -> None:
    """Sizes of experts in a config inside the config, where no field of its own holds them."""
    for name, ends in _INNER.items():
        default = candidate(keys(Experts)[name].chain, values.config)
        found = _inside(values, ends)
        if body.get("mlp", "experts", name) is None and default is None and found is not None:
            body.put(f"config.{found}", "mlp", "experts", name, doubt="found by its name")


def _inside(values: Values, ends: tuple[str, ...]) -> str | None:
    """The path of a whole number in a mapping of the config, by the end of its name."""
    for outer, held in values.held.items():
        for inner, value in cast("dict[str, Any]", held).items() if isinstance(held, dict) else ():
            if type(value) is int and inner.endswith(ends):
                return f"{outer}.{inner}"
    return None


# How configs say which layers have a dense MLP in place of the experts.
_SCHEDULES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("mlp_layer_types", {"by": "config.mlp_layer_types[layer]"}),
    *(
        (field, {"when": f"layer < config.{field}", "mlp": "gated"})
        for field in ("first_k_dense_replace", "num_dense_layers")
    ),
    (
        "decoder_sparse_step",
        {"when": "layer in config.mlp_only_layers or (layer + 1) % config.decoder_sparse_step", "mlp": "gated"},
    ),
    ("moe_layers", {"when": "layer not in config.moe_layers", "mlp": "gated"}),
    (
        "moe_layer_start_index",
        {
            "when": "(layer + 1) % config.moe_layer_interval or layer < config.moe_layer_start_index "
            "or layer > config.moe_layer_end_index",
            "mlp": "gated",
        },
    ),
)


def _dense(layer: Layer) -> dict[str, Module]:
    """The projections of layers with a dense MLP beside those with experts."""
    found = {path: one for path, one in layer.channel.items() if "." not in path and one.weight}
    return found if {*modules.DOWN} & found.keys() else {}


def _dense_layers(body: Body, layer: Layer, values: Values) -> None:
    """A schedule, where some layers have dense projections and others experts."""
    if not _dense(layer):
        return
    listed = body.listed("layers")
    for field, entry in _SCHEDULES:
        if values.has(field) and values.get(field) is not None and not any(field in str(one) for one in listed):
            dense = dict(entry)
            if "mlp" in dense and candidate(ACTIVATION, values.config) is None:
                dense["mlp"] = {"kind": "gated", "activation": body.section("mlp")["activation"]}
            body.put([*listed, dense] if listed else dense, "layers", doubt=f"config.{field} says which")
            return


def _shared(body: Body, layer: Layer, values: Values) -> None:
    shared = {path: one for path, one in layer.channel.items() if "shared" in path}
    gate = next((one for one in shared.values() if "gate" in one.name and _first(one) == 1), None)
    experts = {path: one for path, one in shared.items() if gate is None or path != gate.path}
    if not experts:
        body.drop("mlp", "shared")
        return
    first = next(iter(experts)).rpartition(".")[0]
    name_role(body, "shared", first)
    _shared_width(body, experts, values)
    if gate is None:
        body.drop("mlp", "shared", "gate")
    else:
        body.put("sigmoid", "mlp", "shared", "gate", doubt="its activation leaves no trace")
        name_role(body, "shared_gate", gate.path)


def _shared_width(body: Body, experts: Mapping[str, Module], values: Values) -> None:
    """What holds the width of the shared experts: the nearest spec's expression, else fields that multiply to it."""
    rows = next(
        (one.shape[0] for one in experts.values() if one.shape and one.name in (*modules.GATE, *modules.UP)), None
    )
    fields = [f"config.{name}" for name in _SHARED_WIDTHS if values.get(name)]
    factors = [f" * config.{name}" for name in _SHARED_COUNTS if values.get(name)]
    inherited = body.get("mlp", "shared", "width")
    guesses = [] if inherited is None else [str(inherited)]
    guesses += [field + factor for factor in (*factors, "") for field in fields]
    found = next((text for text in guesses if (held := values.read(text)) and rows in (None, held)), None)
    if found is not None and found != inherited:
        doubt = "its number of rows is not known" if rows is None else "the fields give the number of its rows"
        body.put(found, "mlp", "shared", "width", doubt=f"{doubt}; other fields may hold it")


def projections(body: Body, channel: Mapping[str, Module], part: str) -> dict[str, Module]:
    """Gate, up and down by name, checked by shape: up has rows of the inner width, down reads them."""
    matrices = {path: one for path, one in channel.items() if one.weight and not one.is_norm}
    found: dict[str, Module] = {}
    down = modules.named(matrices, modules.DOWN) or _last(matrices)
    whole = modules.named(matrices, modules.GATE_UP) or _doubled(matrices, down)
    if whole is not None:
        body.put(["gate", "up"], "checkpoint", "fused", whole.path, doubt=FUSED)
        found["gate_up"] = whole
    rest = {path: one for path, one in matrices.items() if one not in (down, whole)}
    if whole is None:
        up = modules.named(rest, modules.UP) or (next(iter(rest.values())) if len(rest) == 1 else None)
        gate = modules.named({path: one for path, one in rest.items() if one is not up}, modules.GATE)
        found |= {role: one for role, one in (("gate", gate), ("up", up)) if one is not None}
    elif down is None and len(rest) == 1:
        down = next(iter(rest.values()))
    found |= {"down": down} if down is not None else {}
    for role, one in found.items():
        if role != "gate_up":
            name_role(body, f"{part}{role}", one.path)
    return found


def _last(matrices: Mapping[str, Module]) -> Module | None:
    """The later of two projections that are called by numbers, as in a sequence."""
    numbered = sorted((one for one in matrices.values() if one.path.isdigit()), key=lambda one: int(one.path))
    return numbered[-1] if len(numbered) == 2 else None


def _doubled(matrices: Mapping[str, Module], down: Module | None) -> Module | None:
    """The one other matrix, if it has twice the rows that the down projection reads."""
    others = [one for one in matrices.values() if one is not down]
    if down is None or len(others) != 1 or down.shape is None or others[0].shape is None:
        return None
    return others[0] if others[0].shape[0] == 2 * down.shape[-1] else None


def _bias(body: Body, found: Mapping[str, Module], values: Values) -> None:
    has = [one.bias for one in found.values()]
    default = bool(values.get("mlp_bias")) if values.has("mlp_bias") else False
    if not has or all(there == default for there in has):
        return
    flag = next((name for name in FLAGS if values.has(name) and values.get(name) is True), None)
    if all(has) and flag is not None:
        doubt = None if flag == "mlp_bias" else f"config.{flag} is true here and may be what switches it"
        body.put(f"config.{flag}", "mlp", "bias", doubt=doubt)
    elif len(set(has)) == 1:
        body.put(has[0], "mlp", "bias")
    else:
        body.put({role: one.bias for role, one in found.items() if role != "gate_up"}, "mlp", "bias")


def put_width(body: Body, found: Mapping[str, Module], values: Values, *part: str) -> None:
    """The field that holds the inner width, where it is not `intermediate_size`."""
    at = (*(part or ("mlp",)), "width")
    down = found.get("down")
    if down is None or down.shape is None or len(down.shape) != 2:
        return
    hidden = values.get("hidden_size")
    width = down.shape[0] if down.shape[1] == hidden and down.shape[0] != hidden else down.shape[1]
    if values.has("intermediate_size") and values.get("intermediate_size") == width:
        body.drop(*at)
        return
    field = next((name for name in sorted(values.fields, key=_likely) if values.get(name) == width), None)
    if field is not None:
        body.put(f"config.{field}", *at, doubt=f"config.{field} holds the same number")
    elif (text := next((text for text in _widths(values) if values.read(text) == width), None)) is not None:
        body.put(text, *at, doubt="the fields give the number")
    elif isinstance(hidden, int) and hidden and width % hidden == 0:
        ratios = (name for name in sorted(values.fields) if values.get(name) == width // hidden and _RATIO.search(name))
        ratio = next((f"config.{name}" for name in ratios), None)
        doubt = "no field holds the number" if ratio is None else f"{ratio} gives the number"
        body.put(f"{ratio or width // hidden} * config.hidden_size", *at, doubt=doubt)


def _widths(values: Values) -> Iterator[str]:
    """What is made of the usual width: both halves of a fused one, and the two thirds that gates leave, rounded up."""
    yield "config.intermediate_size // 2"
    yield "2 * config.intermediate_size"
    thirds = "int(2 * config.intermediate_size / 3)"
    factors = [f"int(config.{name} * {thirds})" for name in sorted(values.fields) if "multiplier" in name]
    for inner in (thirds, *factors):
        for name in sorted(values.fields):
            if "multiple_of" in name:
                yield f"({inner} + config.{name} - 1) // config.{name} * config.{name}"


def _likely(field: str) -> tuple[bool, bool, str]:
    """Fields that may hold a width: those that say so first."""
    return field == "vocab_size", "intermediate" not in field, field


def at_path(module: Module, path: str) -> Module:
    return Module(path, module.shape, module.weight, module.bias, module.bare)


def _first(module: Module) -> int | None:
    return module.shape[0] if module.shape else None


def _number(values: Values) -> int | None:
    names = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
    inner = _inside(values, _INNER["count"])
    found = [values.get(name) for name in names] + [values.read(f"config.{inner}") if inner is not None else None]
    return next((number for number in found if isinstance(number, int)), None)
