"""The equations of a draft: how the layer's norms wire it, what stands before and after the layers."""

from codegen.language.spec import WIRINGS
from codegen.new.body import Body
from codegen.new.modules import Layer, Module, modules
from codegen.new.values import Values
from codegen.new.weights import Weights

WIRING = "the wiring is read off the norms' names; the order of additions leaves no trace"
WIDENED = "of one width it may be there as well"
_BEFORE = ("input_layernorm", "post_attention_layernorm")  # of attention and of the MLP, as Llama calls them
_NAMED: dict[frozenset[str], str] = {
    frozenset(_BEFORE): "pre_norm",
    frozenset(("post_attention_layernorm", "post_feedforward_layernorm")): "post_norm",
    frozenset(("input_layernorm",)): "parallel",
    frozenset(
        (
            *("input_layernorm", "post_attention_layernorm"),
            *("pre_feedforward_layernorm", "post_feedforward_layernorm"),
        )
    ): "sandwich",
}
_MIXING = ("attn", "attention", "mixer", "operator", "temporal")  # in names of the norms before either
_CHANNEL = ("mlp", "ffn", "ff_", "feed", "channel")
_POSITIONS = ("wpe", "position_embeddings", "embed_positions", "positions_embed", "pos_emb", "pos_embed")


def draft_block(body: Body, layer: Layer) -> None:
    """The equations of a layer."""
    names = list(layer.norms)
    wiring = _NAMED.get(frozenset(names))
    if wiring == "pre_norm":
        body.drop("block")
    elif wiring is not None:
        body.put(wiring, "block", doubt=WIRING)
    elif (equations := _equations(names)) is not None:
        body.put(equations, "block", doubt=WIRING)
    else:
        listed = ", ".join(names) or "none"
        body.put(list(WIRINGS["pre_norm"]), "block", doubt=f"no wiring is known for these norms: {listed}")


def _equations(names: list[str]) -> list[str] | None:
    """One norm: parallel. Two: before attention and before the MLP, told apart by name. Four: around both, two of them
    told by their names, or Llama's two before and two more after."""
    if len(names) == 1:
        return [f"h = {names[0]}(x)", "x = x + attention(h) + mlp(h)"]
    mixing = [name for name in names if any(word in name for word in _MIXING)]
    channel = [name for name in names if any(word in name for word in _CHANNEL)]
    if len(names) == 2:
        first, second = sorted(names) if len(mixing) != 1 else (mixing[0], *(set(names) - {mixing[0]}))
        if len(mixing) != 1 and len(channel) == 1:
            first, second = next(name for name in names if name != channel[0]), channel[0]
        return [f"x = x + attention({first}(x))", f"x = x + mlp({second}(x))"]
    if len(names) == 4 and len(channel) == 2:
        mixing = [name for name in names if name not in channel]
        return _between(_around(mixing), _around(channel))
    after = sorted(set(names) - set(_BEFORE), key=lambda name: (name in channel, name))
    if len(names) == 4 and len(after) == 2 and all("post" in name for name in after):
        return _between((_BEFORE[0], after[0]), (_BEFORE[1], after[1]))
    return None


def _between(mixing: tuple[str, str], channel: tuple[str, str]) -> list[str]:
    """Both mixers, each with its norm before and its norm after."""
    return [
        f"x = x + {after}({mixer}({before}(x)))" for mixer, (before, after) in (("attention", mixing), ("mlp", channel))
    ]


def _around(names: list[str]) -> tuple[str, str]:
    """The one before and the one after."""
    post = next((name for name in names if "post" in name), names[-1])
    return next(name for name in names if name != post), post


def draft_ends(body: Body, weights: Weights, values: Values) -> None:
    """The embedding, position tables, the final norm and the head."""
    around = {path: one for path, one in modules(weights.around).items() if one.weight and "*" not in path}
    beside = modules(weights.top)
    top = {path: one for path, one in beside.items() if one.weight and "*" not in path}
    norms = [path for path, one in around.items() if one.is_norm]
    tables = [path for path, one in around.items() if not one.is_norm]
    places = [path for path in tables if path.rpartition(".")[2] in _POSITIONS]
    tokens = [path for path in tables if path not in places]
    widening = {path: side for path in tokens if (side := _widens(around[path], tokens, around, values)) is not None}
    embedding, doubt = _embedding([path for path in tokens if path not in widening], around)
    before = [name for name in norms if "emb" in name] if len(norms) > 1 else []
    for place in places:
        body.drop("parts", place)  # a table of the nearest spec that is computed
    embedded = f"{embedding}(ids)"
    for path in widening:
        part = _linear(around[path], values)
        given, stream = sorted((str(part["in"]), str(part["out"])), key=lambda one: one == "config.hidden_size")
        body.put({**part, "when": f"{given} != {stream}"}, "parts", path, doubt=WIDENED)
    for path in (path for path, side in widening.items() if side == "in"):
        embedded = f"{path}({embedded})"
    equation = embedded + "".join(f" + {place}({_rows(around[place], values)})" for place in places)
    for name in before:
        equation = f"{name}({equation})"
    if equation == "embed_tokens(ids)":
        body.drop("input")
    else:
        body.put(f"x = {equation}", "input", doubt=doubt)
    alone = next((path.removesuffix(".bias") for path, one in beside.items() if one.bare and one.name == "bias"), None)
    head = alone or next((path for path in top if "head" in path or path == "embed_out"), next(iter(top), "lm_head"))
    body.drop("checkpoint", "names", "head")
    if head != "lm_head":
        body.put(head, "checkpoint", "names", "head")
    body.drop("head", "bias")
    if alone or top.get(head, Module(head)).bias:  # alone: of a head whose weight is the embedding's
        body.put(True, "head", "bias")
    last = next((name for name in norms if name not in before), None)
    inner = f"{last}(x)" if last else "x"
    for path in (path for path, side in widening.items() if side == "out"):
        inner = f"{path}({inner})"
    between = [one for path, one in top.items() if path != head]
    for one in between:
        inner = f"{one.path}({inner})"
        body.put(_between_part(one), "parts", one.path)
    if (head, inner) == ("lm_head", "norm(x)"):
        body.drop("output")
    else:
        doubt = "the order of what stands beside the model, and what acts between, leave no trace" if between else None
        body.put(f"logits = {head}({inner})", "output", doubt=doubt)


def _between_part(module: Module) -> dict[str, str | bool]:
    """What stands beside the base model, before the head: a norm, or a projection of the stream onto itself."""
    if module.is_norm:
        return {"kind": "norm", "top": True}
    widths = dict.fromkeys(("in", "out"), "config.hidden_size")
    return {"kind": "linear", **widths, "top": True} | ({"bias": True} if module.bias else {})


def _widens(one: Module, tables: list[str], around: dict[str, Module], values: Values) -> str | None:
    """Whether a matrix leads from embeddings of another width into the stream (`in`), or back (`out`)."""
    hidden = values.get("hidden_size")
    tokens = max((around[path] for path in tables), key=lambda table: (table.shape or (0,))[0])
    width = (tokens.shape or (hidden,))[-1]
    if one is tokens or width == hidden or one.shape is None:
        return None
    return {(hidden, width): "in", (width, hidden): "out"}.get((one.shape[0], one.shape[-1]))


def _linear(one: Module, values: Values) -> dict[str, str | bool]:
    """A linear part, its widths by the fields that hold them."""
    given, read = (_width(size, values) for size in one.shape or ())
    return {"kind": "linear", "in": read, "out": given} | ({"bias": True} if one.bias else {})


def _width(size: int, values: Values) -> str:
    """The field that holds a width, that of the stream before others."""
    names = ("hidden_size", *sorted(values.fields - {"vocab_size"}))
    return next((f"config.{name}" for name in names if values.get(name) == size), str(size))


def _rows(table: Module, values: Values) -> str:
    """The positions that a table is asked for: the first rows stand apart where it has more rows."""
    longest = values.get("max_position_embeddings")
    more = table.shape[0] - longest if table.shape and isinstance(longest, int) else 0
    return f"positions + {more}" if more > 0 else "positions"


def _embedding(tokens: list[str], around: dict[str, Module]) -> tuple[str, str | None]:
    if len(tokens) == 1:
        return tokens[0], None
    largest = max(tokens, key=lambda path: (around[path].shape or (0,))[0], default="embed_tokens")
    others = ", ".join(path for path in tokens if path != largest)
    return largest, f"what else stands around the layers has no place yet: {others}" if others else "no embedding seen"


def draft_norm(body: Body, layer: Layer, weights: Weights, values: Values, has_state: bool) -> None:
    """The kind of the norms: with a bias a LayerNorm, else what the name of the epsilon says; beside mixers with a
    state it says nothing, as it is older there than their norms."""
    norms = [*layer.norms.values(), *(one for one in modules(weights.around).values() if one.is_norm)]
    old = str(body.section("norm").get("kind", "rmsnorm"))
    has_bias = any(one.bias for one in norms)
    if not norms:
        body.put(False, "norm", "weight", doubt="no norm has a tensor")
    elif has_bias or has_state or not _is_layernorm(values):
        _change_kind(body, old, "layernorm" if has_bias else "rmsnorm")
    else:
        doubt = "a norm without bias, and an epsilon with the name of a LayerNorm's" if old == "rmsnorm" else None
        _change_kind(body, old, "layernorm")
        body.put("layernorm", "norm", "kind", doubt=doubt)
        body.put(False, "norm", "bias", doubt=doubt)


def _change_kind(body: Body, old: str, kind: str) -> None:
    """Another kind of norm has none of the keys of the old one."""
    if old != kind:
        body.drop("norm")
        if kind != "rmsnorm":
            body.put(kind, "norm")
    else:
        body.drop("norm", "bias")
        body.drop("norm", "weight")


def _is_layernorm(values: Values) -> bool:
    """What the name of the epsilon says of norms without a bias."""
    return not values.has("rms_norm_eps") and any(values.has(name) for name in ("layer_norm_eps", "layer_norm_epsilon"))
