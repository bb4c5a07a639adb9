"""How many heads keys have, in a draft: the rows of their projections say it where a config's field does not."""

from codegen.language.attention import Gqa
from codegen.language.chains import candidate
from codegen.language.keys import keys
from codegen.new.body import Body
from codegen.new.modules import KEY, QKV, Layer, named
from codegen.new.values import Values
from codegen.new.weights import Weights

_AT = ("attention", "kv_heads")
_SIZES = ("kv_heads", "head_dim", "v_head_dim", "heads", "gate")
_NAMED = ("kv", "key_value")  # in names of fields that hold such a number
DOUBT = "the rows of its projections give the number"


def kv_heads(body: Body, values: Values) -> int | None:
    """What the draft says, or means by default; None where it cannot be read."""
    said = body.get(*_AT)
    text = candidate(keys(Gqa)["kv_heads"].chain, values.config) if said is None else str(said)
    found = None if text is None else values.read(text)
    return found if isinstance(found, int) else None


def draft_kv_heads(body: Body, here: Layer, weights: Weights, values: Values) -> None:
    """Another number than the draft says, where all layers show the same one."""
    apart = [entry.get("attention") for entry in (*body.listed("layers"), *body.listed("variants"))]
    if (
        any(size in str(one) for one in apart for size in _SIZES)
        or body.section("attention").get("kind", "gqa") != "gqa"
    ):
        return
    found = _of_rows(body, here, weights, values)
    said = kv_heads(body, values)
    if found is None or said in (None, found):
        return
    body.put(_written(found, values), *_AT, doubt=DOUBT)


def _written(number: int, values: Values) -> str | int:
    """By a field of that number; by a multiple of one; as it is."""
    held = {f"config.{name}": values.get(name) for name in sorted(values.fields) if any(one in name for one in _NAMED)}
    counts = {text: value for text, value in held.items() if type(value) is int and value > 0}
    exact = [text for text, value in counts.items() if value == number]
    heads = "config.num_attention_heads"
    multiple = [f"{number // value} * {text}" for text, value in counts.items() if number % value == 0 and value > 1]
    return next(iter([*exact, *([heads] if values.read(heads) == number else []), *multiple]), number)


def _of_rows(body: Body, here: Layer, weights: Weights, values: Values) -> int | None:
    """The heads of keys: rows of their projection, or those of a fused one that queries leave."""
    whole, key = named(here.mixing, QKV), named(here.mixing, KEY)
    module, width = whole or key, values.read(str(body.get("attention", "head_dim"))) or values.head_dim
    heads, hidden = values.get("num_attention_heads"), values.get("hidden_size")
    if whole is not None and key is not None:  # of layers of two kinds
        return None
    if module is None or module.shape is None or len(module.shape) != 2 or body.section("attention").get("gate"):
        return None
    name = ".".join(filter(None, (here.attention, module.path, "weight")))
    if len({found[name] for found in weights.each.values() if name in found}) != 1:
        return None
    rows = module.shape[1] if module.shape[0] == hidden and module.shape[1] != hidden else module.shape[0]
    if not isinstance(width, int) or not isinstance(heads, int) or not width or rows % width:
        return None
    number = rows // width
    if module is whole:
        number = (number - heads) // 2 if number > heads and (number - heads) % 2 == 0 else 0
    return number if number and heads % number == 0 else None
