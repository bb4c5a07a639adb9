"""The sections of a draft: those of the nearest spec, with what the checkpoint shows otherwise in their place."""

from typing import Any

from codegen.language.frame import FRAME
from codegen.language.spec import ROLE_NAMES
from codegen.new.beside import draft_beside, name_beside
from codegen.new.body import Body, Path
from codegen.new.channel import check_width, draft_dense, draft_experts
from codegen.new.heads import draft_kv_heads
from codegen.new.hybrid import draft_states, is_told, set_apart, states
from codegen.new.kind import MOE
from codegen.new.mixing import draft_mixer, gate_beside, qk_bias
from codegen.new.modules import KEY, OUT, QKV, QUERY, VALUE, Layer, Module, layer, named
from codegen.new.nearest import Candidate, missing, unexplained
from codegen.new.partly import draft_apart
from codegen.new.signs import follow
from codegen.new.values import Values
from codegen.new.vocabulary import draft_rows
from codegen.new.weights import Weights
from codegen.new.wiring import draft_block, draft_ends, draft_norm
from codegen.new.witness import drop_indices, is_published, is_visible, refute

UNSEEN = "a checkpoint does not show it"


def compose(nearest: Candidate, weights: Weights, values: Values, kind: str) -> Body:
    """The body of the draft, every uncertain key marked."""
    body = Body.copied({key: value for key, value in nearest.written.items() if key not in FRAME})
    refute(body, values, nearest.name)
    drop_indices(body)
    if weights.inside:
        _follow_tensors(body, nearest, weights.without(nearest.expected.dropped), values, kind)
    follow_config(body, nearest, values)
    seen = bool(weights.inside)
    for path, value in list(body.leaves()):
        if body.is_settled(path) or (seen and is_visible(path)) or is_published(value, values, path):
            continue
        body.marks[_marked(path)] = f"as in {nearest.name}; {_reason(path, seen)}"
    return body


def follow_config(body: Body, nearest: Candidate, values: Values) -> None:
    """Write what the config's fields say; those that a near spec has and does not read, say nothing."""
    near = nearest.fields if nearest.is_near else frozenset[str]()
    follow(body, values, lambda field: field in near or _reads(body, field))


def _follow_tensors(body: Body, nearest: Candidate, weights: Weights, values: Values, kind: str) -> None:
    """Redo each group of keys whose tensors are not those that the nearest spec expects."""
    _stack_names(body, weights)
    if (mixers := states(weights, values)) and not is_told(mixers, weights, nearest.expected.inside):
        draft_states(body, mixers, weights, values)
    whole, weights = weights, weights.apart({number: one.path for number, one in mixers.items()})
    expected = nearest.expected.inside - (whole.inside.keys() - weights.inside.keys())
    here, there = layer(weights.inside), layer(dict.fromkeys(expected))
    if _differ(_below(weights.inside, here.attention, here), _below(expected, there.attention, there)):
        draft_mixer(body, here, values)
    else:
        _check_widths(body, here, values)
    draft_kv_heads(body, here, weights, values)
    draft_apart(body, weights, values)
    set_apart(body, mixers)
    covered = {name for name in expected if name.endswith(".") and name.count(".") == 1}
    opaque = bool(covered - there.beside.keys())  # a mixer of another kind
    redone = _differ(_channel(weights.inside, here), _channel(expected, there)) and here.mlp is not None and not opaque
    if redone:
        (draft_experts if kind == MOE else draft_dense)(body, here, values)
    else:
        check_width(body, here, values)
    if set(here.norms) != set(there.norms) and not opaque:
        draft_block(body, here)
        _drop_overlaid(body, "block")
    if here.beside and not there.beside:
        draft_beside(body, here, values)
    elif here.beside and redone:
        name_beside(body, here)  # which the nearest spec may have named as the projections of its experts
    outside = {**weights.around, **weights.top}
    expected_outside = nearest.expected.around | nearest.expected.top
    if unexplained(outside, expected_outside) or missing(outside, expected_outside) - nearest.expected.tied:
        draft_ends(body, weights, values)
        draft_norm(body, here, weights, values, bool(mixers))
    elif _differ(set(weights.inside), set(expected)):
        draft_norm(body, here, weights, values, bool(mixers))
    draft_rows(body, weights, values)
    qk_bias(body, here)
    _transposed(body, here, values)


def _stack_names(body: Body, weights: Weights) -> None:
    for role, stored in (("model", weights.model), ("layers", weights.layers)):
        if role == "model" and weights.headless:
            continue
        body.drop("checkpoint", "names", role)
        if stored != ROLE_NAMES[role]:
            body.put(stored, "checkpoint", "names", role)


def _differ(here: set[str], there: set[str]) -> bool:
    return bool(unexplained(here, there) or missing(here, there))


def _below(names: Any, path: str | None, found: Layer) -> set[str]:
    prefix = f"{path}." if path else ""
    return {
        name for name in names if path is not None and name.startswith(prefix) and _module(name, prefix) in found.mixing
    }


def _channel(names: Any, found: Layer) -> set[str]:
    prefix = f"{found.mlp}." if found.mlp else ""
    return {name for name in names if name.startswith(prefix) and _module(name, prefix) in found.channel}


def _module(name: str, prefix: str) -> str:
    inner = name[len(prefix) :]
    path, _, parameter = inner.rpartition(".")
    return path if parameter in ("weight", "bias") else inner


def _check_widths(body: Body, here: Layer, values: Values) -> None:
    """Names alike: whether queries lie with a gate, and QK-norms have the width that the nearest spec says."""
    if not body.section("attention").get("gate"):
        gate_beside(body, named(here.mixing, QUERY), named(here.mixing, OUT))
    written = body.section("attention", "qk_norm")
    over = str(written.get("over", "head"))
    norm = next((one for path, one in here.mixing.items() if path.startswith("q") and one.is_norm), None)
    heads, width = values.get("num_attention_heads"), values.head_dim
    if not written or norm is None or norm.shape is None or width is None or not isinstance(heads, int):
        return
    actual = {width: "head", heads * width: "projection"}.get(norm.shape[0], over) if len(norm.shape) == 1 else over
    if actual != over:
        body.put({**written, "over": actual} if len(written) > 1 else actual, "attention", "qk_norm")


def _drop_overlaid(body: Body, key: str) -> None:
    """Take a key out of overlays that say it otherwise for some layers or configs."""
    for section in ("variants", "layers"):
        several = isinstance(body.get(section), list)
        for index, entry in reversed(list(enumerate(body.listed(section)))):
            if key in entry:
                at = (section, index) if several else (section,)
                body.drop(*at, key)
                if body.section(*at).keys() <= {"when", "why"}:
                    body.drop(*at)


def _transposed(body: Body, here: Layer, values: Values) -> None:
    """Whether matrices lie [in, out], as the ones that are not square tell."""
    hidden = values.get("hidden_size")
    turned = [
        one.path.rpartition(".")[2]
        for one in (*here.mixing.values(), *here.channel.values())
        if one.weight and not one.is_norm and one.shape is not None and len(one.shape) == 2 and "*" not in one.path
    ]
    votes = [vote for one in here.mixing.values() if (vote := _vote(one, hidden)) is not None]
    if any(votes) and not body.get("checkpoint", "transposed"):
        body.put(sorted(set(turned)), "checkpoint", "transposed")
    elif votes and not any(votes) and body.get("checkpoint", "transposed") and not _has_stacked(body):
        body.drop("checkpoint", "transposed")


def _vote(module: Module, hidden: Any) -> bool | None:
    """Whether a projection of the stream lies [in, out]; None where its shape does not tell."""
    shape = module.shape
    if module.path.split(".")[0] not in (*QUERY, *KEY, *VALUE, *QKV) or shape is None or len(shape) != 2:
        return None
    return shape[0] == hidden if shape[0] != shape[1] and hidden in shape else None


def _has_stacked(body: Body) -> bool:
    return body.get("checkpoint", "experts") in ("stacked", "flat")


def _reads(body: Body, field: str) -> bool:
    """Whether the draft mentions a field."""
    return any(f"config.{field}" in str(value) for _, value in body.leaves())


def _marked(path: Path) -> Path:
    """The key that bears a mark: what lies deeper than three levels is marked there, an overlay at its entry."""
    if path[0] in ("layers", "variants"):
        return path[: 2 if len(path) > 1 and isinstance(path[1], int) else 1]
    return path[:3]


def _reason(path: Path, seen: bool) -> str:
    if not seen:
        return "no tensors were seen"
    return UNSEEN if "block" not in path else "norms' names agree, the wiring and the order of additions stay unseen"
