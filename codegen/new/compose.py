"""The sections of a draft: those of the nearest spec, with what the checkpoint shows otherwise in their place."""

from collections.abc import Iterator
from typing import Any, cast

from codegen.errors import SpecError
from codegen.new.body import Body, Path
from codegen.new.channel import draft_dense, draft_experts
from codegen.new.kind import MOE
from codegen.new.mixing import draft_mixer
from codegen.new.modules import Layer, layer
from codegen.new.nearest import Candidate, missing, unexplained
from codegen.new.signs import follow
from codegen.new.values import ALIASES, Values
from codegen.new.weights import Weights
from codegen.new.wiring import draft_block, draft_ends, draft_norm
from codegen.spec.expressions import Refused, config_paths, python
from codegen.spec.frame import FRAME
from codegen.spec.language import ROLE_NAMES

UNSEEN = "a checkpoint does not show it"
# Keys that the names and shapes of tensors show, as prefixes of paths; `*` is any one key.
VISIBLE: tuple[Path, ...] = (
    *(("attention", key) for key in ("kind", "bias", "inner_norm", "sinks", "gate")),
    *(("attention", "qk_norm", key) for key in ("over", "weights", "bias", "when")),
    *(("mlp", key) for key in ("kind", "bias", "inner_norm")),
    *(("mlp", "router", key) for key in ("bias", "correction_bias")),
    *(("mlp", "shared", key) for key in ("gate", "bias")),
    *(("norm", key) for key in ("kind", "bias", "weight")),
    *(("checkpoint", key) for key in ("names", "transposed", "experts", "drop", "float32")),
    ("head", "bias"),
    ("parts",),
)
BARE: tuple[Path, ...] = (("norm",), ("mlp",), ("attention",), ("attention", "qk_norm"))  # a word in place of a section


def compose(nearest: Candidate, weights: Weights, values: Values, kind: str) -> Body:
    """The body of the draft, every uncertain key marked."""
    body = Body.copied({key: value for key, value in nearest.written.items() if key not in FRAME})
    if weights.inside:
        _follow_tensors(body, nearest, weights, values, kind)
    follow(body, values, lambda field: _reads(body, field))
    seen = bool(weights.inside)
    for path, value in list(body.leaves()):
        if body.is_settled(path) or (seen and _is_visible(path)) or _is_published(value, values, path):
            continue
        body.marks[_marked(path)] = f"as in {nearest.name}; {_reason(path, seen)}"
    return body


def _follow_tensors(body: Body, nearest: Candidate, weights: Weights, values: Values, kind: str) -> None:
    """Redo each group of keys whose tensors are not those that the nearest spec expects."""
    here, there = layer(weights.inside), layer(nearest.expected.inside)
    _stack_names(body, weights)
    expected = nearest.expected.inside
    if _differ(_below(weights.inside, here.attention, here), _below(expected, there.attention, there)):
        draft_mixer(body, here, values)
    else:
        _check_widths(body, here, values)
    opaque = any(name.endswith(".") for name in expected)
    if _differ(_channel(weights.inside, here), _channel(expected, there)) and here.mlp is not None and not opaque:
        (draft_experts if kind == MOE else draft_dense)(body, here, values)
    if set(here.norms) != set(there.norms) and not opaque:
        draft_block(body, here)
        _drop_overlaid(body, "block")
    outside = {**weights.around, **weights.top}
    expected_outside = nearest.expected.around | nearest.expected.top
    if unexplained(outside, expected_outside) or missing(outside, expected_outside) - nearest.expected.tied:
        draft_ends(body, weights)
        draft_norm(body, here, weights, values)
    elif set(weights.inside) != set(expected):
        draft_norm(body, here, weights, values)
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
    return {name for name in names if path is not None and name.startswith(prefix) and _module(name, prefix) in found.mixing}


def _channel(names: Any, found: Layer) -> set[str]:
    prefix = f"{found.mlp}." if found.mlp else ""
    return {name for name in names if name.startswith(prefix) and _module(name, prefix) in found.channel}


def _module(name: str, prefix: str) -> str:
    inner = name[len(prefix) :]
    path, _, parameter = inner.rpartition(".")
    return path if parameter in ("weight", "bias") else inner


def _check_widths(body: Body, here: Layer, values: Values) -> None:
    """Names alike: whether QK-norms have the width that the nearest spec says."""
    written = body.get("attention", "qk_norm")
    if written is None:
        return
    over = written.get("over", "head") if isinstance(written, dict) else written
    norm = next((one for path, one in here.mixing.items() if path.startswith("q") and one.is_norm), None)
    heads, width = values.get("num_attention_heads"), values.head_dim
    if norm is None or norm.shape is None or len(norm.shape) != 1 or width is None or not isinstance(heads, int):
        return
    actual = "projection" if norm.shape == (heads * width,) and heads > 1 else "head"
    if actual != over:
        rest = {key: value for key, value in written.items() if key != "over"} if isinstance(written, dict) else {}
        body.put({"over": actual, **rest} if rest else actual, "attention", "qk_norm")


def _drop_overlaid(body: Body, key: str) -> None:
    """Take a key out of overlays that say it otherwise for some layers or configs."""
    for section in ("variants", "layers"):
        entries = body.get(section)
        listed: list[Any] = cast("list[Any]", entries) if isinstance(entries, list) else [entries] if entries else []
        for index, entry in reversed(list(enumerate(listed))):
            if key in entry:
                at = (section, index) if isinstance(entries, list) else (section,)
                body.drop(*at, key)
                if set(body.get(*at) or {}) <= {"when", "why"}:
                    body.drop(*at)


def _transposed(body: Body, here: Layer, values: Values) -> None:
    """Whether matrices lie [in, out], as the ones that are not square tell."""
    hidden = values.get("hidden_size")
    turned = [
        one.path.rpartition(".")[2]
        for one in (*here.mixing.values(), *here.channel.values())
        if one.weight and not one.is_norm and one.shape is not None and len(one.shape) == 2 and "*" not in one.path
    ]
    votes = [vote for one in here.mixing.values() if (vote := _vote(one.shape, hidden, one.name)) is not None]
    if any(votes) and not body.get("checkpoint", "transposed"):
        body.put(sorted(set(turned)), "checkpoint", "transposed")
    elif votes and not any(votes) and body.get("checkpoint", "transposed") and not _has_stacked(body):
        body.drop("checkpoint", "transposed")


def _vote(shape: tuple[int, ...] | None, hidden: Any, name: str) -> bool | None:
    """Whether an input projection lies [in, out]; None where its shape does not tell."""
    if shape is None or len(shape) != 2 or shape[0] == shape[1] or hidden not in shape or name in ("o_proj", "c_proj"):
        return None
    if name in ("out_proj", "dense", "Wo", "wo", "out", "o", "proj"):
        return None
    return shape[0] == hidden


def _has_stacked(body: Body) -> bool:
    return body.get("checkpoint", "experts") in ("stacked", "flat")


def _is_visible(path: Path) -> bool:
    plain = _plain_path(path)
    return plain in BARE or any(plain[: len(one)] == one for one in VISIBLE) or path[-1] in ("why", "by")


def _plain_path(path: Path) -> Path:
    """A path inside an overlay as the path in the spec that it lies on."""
    if path[0] not in ("layers", "variants"):
        return path
    rest = path[2:] if len(path) > 1 and isinstance(path[1], int) else path[1:]
    return rest[2:] if rest[:1] == ("kinds",) else rest


def _is_published(value: Any, values: Values, path: Path) -> bool:
    """Whether the config publishes the field that the value is for, or nothing in an equation needs a witness."""
    texts = [str(item) for item in cast("list[Any]", value)] if isinstance(value, list) else [str(value)]
    fields = [name for text in texts for name in _fields(text)]
    if _plain_path(path) in (("input",), ("output",)):
        special = [name for name in fields if name not in ALIASES]
        return not any(symbol in text for text in texts for symbol in ("*", "/", "softcap")) or bool(special)
    if "block" in path or "fused" in path or isinstance(value, list):
        return False
    special = [name for name in fields if name not in ALIASES]
    return bool(special) and all(values.has(name) for name in special)


def _fields(text: str) -> Iterator[str]:
    right = text.split("=", 1)[1] if "=" in text and "==" not in text else text
    try:
        yield from config_paths(python(right))
    except Refused:
        return


def _reads(body: Body, field: str) -> bool:
    """Whether the draft mentions a field."""
    return any(f"config.{field}" in str(value) for _, value in body.leaves())


def _marked(path: Path) -> Path:
    """The key that bears a mark: what lies deeper than three levels is marked there."""
    return path[:3]


def _reason(path: Path, seen: bool) -> str:
    if not seen:
        return "no tensors were seen"
    return UNSEEN if "block" not in path else "norms' names agree, the wiring and the order of additions stay unseen"


def unwritten(body: Body) -> list[str]:
    """Defaults of Llama that the draft relies on and that leave no trace either."""
    lines: list[str] = []
    norm = body.get("norm")
    kind = norm.get("kind", "rmsnorm") if isinstance(norm, dict) else norm or "rmsnorm"
    if body.get("block") is None and not _overlaid(body, "block"):
        lines.append("block is pre_norm: the norms' names agree, the wiring leaves no trace")
    if kind == "rmsnorm" and body.get("norm", "cast") is None:
        lines.append("norm.cast is before_weight: seen in bfloat16 only")
    if body.get("norm", "offset") is None:
        lines.append("norm.offset is 0: 1 would look the same")
    if body.get("rope") != "none" and body.get("rope", "layout") is None:
        lines.append("rope.layout is half: interleaved would look the same")
    if body.get("input") is None:
        lines.append("the embedding is not scaled")
    return lines


def _overlaid(body: Body, key: str) -> bool:
    return any(key in path for path, _ in body.leaves())


def settle(body: Body, error: SpecError, nearest: str) -> list[str]:
    """Take out inherited keys that do not suit this config; returns what was taken out, empty if nothing can be."""
    taken: list[str] = []
    for problem in error.problems:
        path = _written(body, problem.path)
        if path is None or body.get(*path) is None:
            continue
        body.drop(*path)
        shown = ".".join(map(str, path))
        taken.append(f"{shown}: {nearest} has it, here it does not do: {problem.message}")
    return taken


def _written(body: Body, dotted: str) -> Path | None:
    """The deepest written key on the way to a problem; an overlay without its condition goes as a whole."""
    path: Path = ()
    for part in dotted.split("."):
        step: Any = int(part) if part.isdigit() and isinstance(body.get(*path), list) else part
        if not path and step not in body.content:
            return None
        if path and body.get(*path, step) is None:
            break
        path = (*path, step)
        if step in ("by", "when") and path[0] in ("layers", "variants"):
            return path[:-1]
    return path or None


