"""What single fields of a config say about the structure, where the draft does not read them yet."""

from collections.abc import Callable
from typing import Any, cast

from codegen.frozen import Frozen
from codegen.language.attention import ACTIVATION, ACTIVATIONS
from codegen.language.chains import candidate
from codegen.language.equations import GROUPS
from codegen.language.spec import MLP_KINDS, USUAL_KINDS
from codegen.new.body import Body
from codegen.new.values import Values

USUAL = "layer_types"


class Sign(Frozen):
    """A field, when it matters, and the key that it fills."""

    field: str
    matters: Callable[[Any], bool]
    path: tuple[str, ...]
    value: Any
    doubt: str | None = None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value != 0


def _given_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _several(value: Any) -> bool:
    return _number(value) and value > 1


def _given(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _factor(value: Any) -> bool:
    return _number(value) and value != 1


def _yes(value: Any) -> bool:
    return value is True


SIGNS = (
    Sign("attn_logit_softcapping", _number, ("attention", "softcap"), "config.attn_logit_softcapping"),
    Sign("query_pre_attn_scalar", _number, ("attention", "scale"), "config.query_pre_attn_scalar ** -0.5"),
    Sign("attention_multiplier", _number, ("attention", "scale"), "config.attention_multiplier", "taken as the scale"),
    Sign("clip_qkv", _number, ("attention", "clip"), "config.clip_qkv"),
    Sign("use_qk_norm", _yes, ("attention", "qk_norm", "when"), "config.use_qk_norm"),
    Sign("qk_layernorm", _yes, ("attention", "qk_norm", "when"), "config.qk_layernorm"),
    Sign("norm_topk_prob", _given_flag, ("mlp", "router", "renormalize"), "config.norm_topk_prob"),
    Sign("routed_scaling_factor", _number, ("mlp", "router", "scale"), "config.routed_scaling_factor"),
    Sign("scoring_func", lambda value: value == "sigmoid", ("mlp", "router", "score"), "sigmoid"),
    Sign("n_group", _several, ("mlp", "router", "groups"), {"count": "config.n_group", "keep": "config.topk_group"}),
    Sign("rope_interleave", _yes, ("rope", "layout"), "config.rope_interleave"),
    *(
        Sign(name, _given, ("dropout", place), f"config.{name}", "where it acts is a guess")
        for place, names in (
            ("residual", ("resid_pdrop", "resid_dropout", "residual_dropout", "hidden_dropout")),
            ("embedding", ("embd_pdrop", "embed_dropout", "embedding_dropout")),
        )
        for name in names
    ),
)
# Factors and caps in the equations before and after the layers.
INPUT = (("embedding_multiplier", "{0} * config.embedding_multiplier"), ("scale_emb", "{0} * config.scale_emb"))
OUTPUT = (
    ("final_logit_softcapping", "softcap({0}, config.final_logit_softcapping)"),
    ("logits_soft_cap", "softcap({0}, config.logits_soft_cap)"),
    ("logit_scale", "{0} * config.logit_scale"),
    ("logits_scaling", "{0} / config.logits_scaling"),
)
_ASKED = "the config asks for ALiBi"
_ALIBI = ("alibi", "use_alibi", "position_embedding_type")


def follow(body: Body, values: Values, reads: Callable[[str], bool]) -> None:
    """Write what the config's fields say; `reads` says whether the draft mentions a field already."""
    for sign in SIGNS:
        value = values.get(sign.field)
        if not sign.matters(value) or reads(sign.field) or body.get(*sign.path) is not None:
            continue
        if sign.path[:2] == ("attention", "qk_norm") and body.get("attention", "qk_norm") is None:
            continue
        if sign.path[0] == "mlp" and body.section("mlp").get("kind") != "moe":
            continue
        body.put(sign.value, *sign.path, doubt=sign.doubt)
    _ends(body, values, reads, "input", INPUT, "x = embed_tokens(ids)")
    _ends(body, values, reads, "output", OUTPUT, "logits = lm_head(norm(x))")
    _tie(body, values)
    _activation(body, values)
    _layers(body, values)
    _rope_by_word(body, values)
    _window(body, values, reads)
    held = [values.held, *(cast("dict[str, Any]", one) for one in values.held.values() if isinstance(one, dict))]
    if any(place.get(name) in (True, "alibi") for place in held for name in _ALIBI):
        body.put("none", "rope", doubt=_ASKED)
        body.put(body.get("attention", "alibi") or True, "attention", "alibi", doubt=_ASKED)


def _ends(
    body: Body,
    values: Values,
    reads: Callable[[str], bool],
    group: str,
    factors: tuple[tuple[str, str], ...],
    default: str,
) -> None:
    """Wrap the right-hand side of the group's last equation."""
    for field, form in factors:
        if not _factor(values.get(field)) or reads(field):
            continue
        *others, last = body.listed(group) or [default]
        target, right = str(last).split("=", 1)
        assert target.strip() == GROUPS[group].result
        equation = f"{target.strip()} = {form.format(right.strip())}"
        body.put([*others, equation] if others else equation, group, doubt=f"config.{field} is taken to act here")


def _tie(body: Body, values: Values) -> None:
    """Whether the head is the embedding, where only the config around the text's has a field for it."""
    if not values.has("tie_word_embeddings"):
        tied = values.get("tie_word_embeddings") is True
        doubt = f"{values.config.name} has no tie_word_embeddings; the published config says so"
        body.put(tied, "head", "tie", doubt=doubt)


def _activation(body: Body, values: Values) -> None:
    """The field that holds the word of an activation, where none has a usual name."""
    if body.section("mlp").get("kind") == "moe" or candidate(ACTIVATION, values.config) is not None:
        return
    field = next((name for name in sorted(values.fields) if values.get(name) in ACTIVATIONS), None)
    if field is not None and not str(body.get("mlp", "activation")).startswith("config."):
        body.put(f"config.{field}", "mlp", "activation", doubt=f"config.{field} holds the word of an activation")


def _layers(body: Body, values: Values) -> None:
    """A schedule by `layer_types`, or by another list of words that nothing reads."""
    field, listed = _schedule(body, values), body.listed("layers")
    kinds, by = values.get(field), f"config.{field}[layer]"
    if not isinstance(kinds, list) or _is_told(cast("list[Any]", kinds), by, listed):
        return
    if len(set(cast("list[Any]", kinds))) == 1 and kinds[0] not in USUAL_KINDS:
        return  # layers of one kind, which is what the rest of the spec says
    strange = sorted({str(kind) for kind in cast("list[Any]", kinds)} - set(USUAL_KINDS))
    entry: dict[str, Any] = {"by": by}
    doubt = None
    if strange:
        entry["kinds"] = {kind: {} for kind in strange}
        doubt = f"no meaning is known for {', '.join(strange)}"
    body.put([entry, *listed] if listed else entry, "layers", doubt=doubt)
    if body.get("attention", "window") == USUAL_KINDS["sliding_attention"]["attention"]["window"]:
        body.drop("attention", "window")  # the schedule says in which layers


def _rope_by_word(body: Body, values: Values) -> None:
    """Parameters of each kind of layer, by the list that says of each layer what it is."""
    given = values.get("rope_parameters")
    kinds = {*cast("dict[str, Any]", given)} if isinstance(given, dict) else set[str]()
    inner = [one for one in cast("dict[str, Any]", given).values() if one is not None] if kinds else []
    if body.get("rope") == "none" or not inner or not all(isinstance(one, dict) for one in inner):
        return
    lists = [name for name in (USUAL, *sorted(values.fields)) if isinstance(values.get(name), list)]
    field = next((name for name in lists if values.get(name) and {*map(str, values.get(name))} <= kinds), None)
    if field is not None and body.get("rope", "parameters") is None:
        body.put(f"config.rope_parameters[config.{field}[layer]]", "rope", "parameters")


def _schedule(body: Body, values: Values) -> str:
    """The field that says of each layer by a word what it is: of several words, none of which is that of an MLP."""
    number = values.get("num_hidden_layers")
    others = (name for name in sorted(values.fields) if _are_words(values.get(name), number))
    free = (name for name in others if not any(f"config.{name}" in str(value) for _, value in body.leaves()))
    return USUAL if isinstance(values.get(USUAL), list) else next(free, USUAL)


def _are_words(value: Any, number: Any) -> bool:
    if not isinstance(value, list) or len(cast("list[Any]", value)) != number:
        return False
    words = {*map(str, cast("list[Any]", value))}
    return all(isinstance(word, str) for word in cast("list[Any]", value)) and len(words) > 1 and words != {*MLP_KINDS}


def _is_told(kinds: list[Any], by: str, listed: list[Any]) -> bool:
    """Whether the nearest spec says what a kind of layer is: by a schedule, or where it asks for each but the usual."""
    if any(entry.get("by") == by for entry in listed):
        return True
    if any("kind" in section for entry in listed if isinstance(section := entry.get("attention"), dict)):
        return True  # by another field
    asked = {entry.get("when") for entry in listed}
    told = {kind for kind in kinds if f"{by} == {kind!r}" in asked}
    return bool(told) and told >= set(kinds) - {"full_attention"}


def _window(body: Body, values: Values, reads: Callable[[str], bool]) -> None:
    """A sliding window without a schedule: in every layer."""
    if not _number(values.get("sliding_window")) or values.get("layer_types") or reads("sliding_window"):
        return
    if values.get("use_sliding_window") is False:
        return
    doubt = "the config has a window and no layer_types: taken for every layer"
    body.put("config.sliding_window", "attention", "window", doubt=doubt)
