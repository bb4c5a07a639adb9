"""Strong tiny configs: small, and such that whatever a spec says shows in the model's outputs.

Default configs hide mistakes: multipliers of one, soft caps that never bite, windows longer than any test, schedules of
one kind. Here every field that the spec reads takes a value at which it matters, every flag runs both ways, every list
mixes its kinds, and both sides of every condition occur in some variant.
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from itertools import cycle, islice, product
from math import lcm
from typing import Any, cast

from codegen.configs import ConfigClass, ConfigTable
from codegen.errors import Problem, SpecError
from codegen.language.keys import keys
from codegen.language.loaded import LoadedSpec, Split, config_class
from codegen.language.spec import Dropout
from codegen.plan.mixers.kinds import KEEPS_KEYS, is_mixer, kind
from codegen.tiny.compared import compared
from codegen.tiny.evaluate import UNREADABLE, evaluate
from codegen.tiny.excluded import PATH, allowed, excludes
from codegen.tiny.inner import inner_absent, inner_dropouts, inner_numbers
from codegen.tiny.mentions import EQUATION, Mention, expressions, fields_of, mentions, with_newer
from codegen.tiny.neighbours import neighbours
from codegen.tiny.rope import OTHER_THETA, rope_variants, rope_width, small_rope
from codegen.tiny.sizes import mixer_sizes, same_heads
from codegen.tiny.values import readable

Config = dict[str, Any]

LAYERS = 4
# No two sizes are equal or multiples by accident; hidden_size is no square, and head_dim is not hidden_size / heads.
SIZES: Config = {
    **{"vocab_size": 131, "hidden_size": 60, "intermediate_size": 74, "num_hidden_layers": LAYERS},
    **{"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 12, "max_position_embeddings": 32},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
}
TRIED = 1000  # settings of the fields of one condition, at most
FACTORS = (0.37, 1.7, 0.6, 2.3, 0.83)
# role -> values for the fields that have it, in turn; sequences of the tests are 24 long
NUMBERS: dict[str, tuple[float, ...]] = {
    **{"eps": (3e-3, 7e-3), "softcap": (0.9, 1.3), "window": (5, 6), "chunk": (7, 9), "clip": (0.8, 0.7)},
    **{"limit": (0.8, 1.1), "alpha": (1.3, 2.1)},  # of clamped gated units
    "min": (0.65,),  # of the sum of a few experts' weights
    "dt_limit": (0.02,),  # the least step
    **{EQUATION: FACTORS, "scale": FACTORS, "multipliers": FACTORS},
}
INNER: dict[str, tuple[float, ...]] = {  # the same for fields inside a field
    **NUMBERS,
    **{"theta": (OTHER_THETA,), "norm": (1.7,)},
}
WIDTHS, RATIO = (74, 62, 58, 66), 3  # of projections, even; where a small number stands, it multiplies a size
INNER_WIDTHS = (44, 52)  # of what a linear part reads or gives, where that is no size of its own
WHOLE = (7, 3, 5, 11)  # for the same roles, where the config class holds an integer
OPTIONAL = ("softcap", "window", "chunk", "clip", "q_rank", "latent")  # a number, or none: the thing is absent
SWITCHES = ("bias", "normalize", "when", "weight", "scaled")  # flags that a config may leave open, as none
OTHER_MODELS = ("classifier", "summary")  # dropouts of heads that a causal language model lacks
DROPOUTS = (0.2, 0.3, 0.4)  # one each: fields must not be mistaken for one another


def configs(spec: LoadedSpec, table: ConfigTable) -> dict[str, Config]:
    """Named variants of config keyword arguments, `base` first. Raises CodegenError for an unknown config class."""
    config = with_newer(config_class(spec, table), spec)
    found = mentions(spec, config)
    base = _base(spec, config, found)
    flags = _flags(config, found)
    changes: dict[str, Config] = {"base": {}}
    if flags or _optional(spec, config, base, found):
        changes["flags"] = {name: not base[name] for name in flags} | _optional(spec, config, base, found)
    changes |= {f"flags_{bit + 1}": {name: not base[name] for name in some} for bit, some in enumerate(_codes(flags))}
    if "tie_word_embeddings" in config.fields and not _never_ties(spec):
        tied = base.get("tie_word_embeddings", config.fields["tie_word_embeddings"])
        changes["untied" if tied else "tied"] = {"tie_word_embeddings": not tied}
    known = [base | (allowed(spec, config, base, change) or {}) for change in changes.values()]
    changes |= {f"variant_{n + 1}": change for n, change in enumerate(_other_outcomes(spec, config, base, known))}
    values = compared(expressions(spec), config, base)
    values += _told_apart(spec, config, base, [*changes.values(), *values])
    changes |= {f"value_{n + 1}": change for n, change in enumerate(values)}
    changes |= {f"also_{n + 1}": _over(config, base, one) for n, one in enumerate(spec.tests.get("also", ()))}
    changes |= rope_variants(spec, config, base)
    if bounds := mixer_sizes(spec, config, apart=True):
        changes["bounds"] = bounds
    if names := _dropouts(config):
        dropouts = dict(zip(names, cycle(DROPOUTS), strict=False))
        dropouts |= inner_dropouts(config, base, is_dropout, DROPOUTS[-1])
        changes["dropout"] = dropouts
        others = _dropping_otherwise(spec, config, base, dropouts, [*changes.values()])
        changes |= {f"dropout_{n + 1}": change | dropouts for n, change in enumerate(others)}
    valid = {name: allowed(spec, config, base, change) for name, change in changes.items()}
    if valid["base"] is None:
        message, cure = "excludes the config that all tests start from", "exclude less, or give tests.tiny other values"
        raise SpecError([Problem(spec.place(PATH), PATH, message, cure)])
    return {name: deepcopy(base | change) for name, change in valid.items() if change is not None}


def _never_ties(spec: LoadedSpec) -> bool:
    """Whether the spec says that head and embedding are two, whatever a config says."""
    ties = [flat.head.tie for flat in spec.flat.values()]
    return all(tie is not None and tie.constant is False for tie in ties)


def _base(spec: LoadedSpec, config: ConfigClass, found: list[Mention]) -> Config:
    sizes = {config.field_name(name): value for name, value in SIZES.items() if _carries(spec, config, name)}
    base = sizes | _whole_blocks(spec, config) | dict.fromkeys(_dropouts(config), 0.0)
    base |= small_rope(config) | rope_width(spec, config)
    base |= mixer_sizes(spec, config) | same_heads(spec, config, base)
    base |= {name: config.fields[name] for name in _flags(config, found)}
    for name in {mention.field for mention in found}:
        if f"use_{name}" in config.fields:
            base[f"use_{name}"] = True
    if _overrides_head_dim(spec, config):  # what config.json carries there must not matter
        base["head_dim"] = SIZES["hidden_size"] // SIZES["num_attention_heads"] + 1
    base |= _numbers(config, found, base)
    base |= inner_numbers(config, found, base, INNER, WHOLE)
    base |= _schedules(spec, config, base)
    return base | _over(config, base, spec.tests.get("tiny", {}))


def _over(config: ConfigClass, base: Config, given: Config) -> Config:
    """What is given, over what the base has in configs inside the config."""
    return given | {name: base.get(name, {}) | value for name, value in given.items() if name in config.nested}


def _carries(spec: LoadedSpec, config: ConfigClass, name: str) -> bool:
    if name == "head_dim" and name in config.published:
        return not _overrides_head_dim(spec, config)
    return _writable(config, config.field_name(name))


def _writable(config: ConfigClass, field: str) -> bool:
    return field in config.fields and field not in config.derived


def _whole_blocks(spec: LoadedSpec, config: ConfigClass) -> Config:
    """Heads that fill the blocks of a projection which is stored in a constant number of them."""
    tensors = [tensor for flat in spec.flat.values() for tensor in (flat.checkpoint.fused or {}).values()]
    constants = [tensor.groups.constant for tensor in tensors if "q" in tensor.parts and tensor.groups is not None]
    blocks = lcm(*(constant for constant in constants if isinstance(constant, int)))
    heads = SIZES["num_attention_heads"]
    return {config.field_name("num_attention_heads"): heads // blocks * blocks} if heads % blocks else {}


def _overrides_head_dim(spec: LoadedSpec, config: ConfigClass) -> bool:
    """Whether published config.json files may carry a head_dim that this spec does not read."""
    mixing = [flat for flat in spec.flat.values() if is_mixer(flat, "attention")]
    attentions = [flat.attention for flat in mixing if kind(flat, "attention") in KEEPS_KEYS]
    written = [getattr(attention, "head_dim", None) for attention in attentions]
    known = "head_dim" in config.published
    return known and any("head_dim" not in fields_of(value.tree) for value in written if value is not None)


def _numbers(config: ConfigClass, found: list[Mention], base: Config) -> Config:
    """A value that matters for each number that is no size."""
    numbers: Config = {}
    taken: dict[tuple[str, tuple[float, ...]], int] = {}
    for mention in found:
        if not _writable(config, mention.field) or mention.inner or mention.field in (*base, *numbers):
            continue
        values = _values(mention.role, config.fields[mention.field])
        if values:
            turn = taken.setdefault((mention.role, values), 0)
            numbers[mention.field] = values[turn % len(values)]
            taken[mention.role, values] += 1
    return numbers


def _values(role: str, default: Any) -> tuple[float, ...]:
    """What a field of a role may hold in place of its default; nothing, where that is no plain number."""
    if isinstance(default, bool) or not isinstance(default, int | float | None):
        return ()
    if role == "width":
        return () if default is None else (RATIO,) if default < min(WIDTHS) else WIDTHS
    if role in ("in", "out"):
        return INNER_WIDTHS if isinstance(default, int) else ()
    if role == "v_head_dim":
        return (SIZES["head_dim"] + 2,)
    whole = isinstance(default, int) and role not in OPTIONAL
    return () if role not in NUMBERS else WHOLE if whole else NUMBERS[role]


def _flags(config: ConfigClass, found: list[Mention]) -> list[str]:
    """Booleans that the spec reads, in its order; tying has variants of its own."""
    names = dict.fromkeys(mention.field for mention in found if mention.role != "tie")
    return [name for name in names if isinstance(config.fields.get(name), bool) and name != "tie_word_embeddings"]


def _codes(flags: list[str]) -> list[list[str]]:
    """Sets of flags, so that any two flags differ in one of them: none where there are fewer than two."""
    if len(flags) < 2:
        return []
    bits = range(len(flags).bit_length())
    return [[name for index, name in enumerate(flags, 1) if index >> bit & 1] for bit in bits]


def _optional(spec: LoadedSpec, config: ConfigClass, base: Config, found: list[Mention]) -> Config:
    """Numbers that may be absent, the other way round: none, or a width where the default is derived."""
    attentions = [flat.attention for flat in spec.flat.values()]
    scheduled = any(attention != attentions[0] for attention in attentions)
    sizes = {config.field_name(name) for name in SIZES}  # which a cap or a window may read too: never none
    change: Config = {}
    for mention in found:
        if mention.inner or (mention.role in ("window", "chunk") and scheduled):
            continue
        if mention.role in OPTIONAL and base.get(mention.field) is not None and mention.field not in sizes:
            default = config.fields.get(mention.field)
            change[mention.field] = None if default else default  # a number whose default is 0 is absent as 0
        if mention.role == "width" and config.fields.get(mention.field, 0) is None:
            change[mention.field] = SIZES["intermediate_size"] + 4
        if mention.role in SWITCHES and config.fields.get(mention.field, 0) is None:
            change[mention.field] = True
    return change | inner_absent(config, found, base, (*OPTIONAL, "scale"))  # of which a default follows


def _dropouts(config: ConfigClass) -> list[str]:
    return [
        name
        for name, value in config.fields.items()
        if is_dropout(name) and isinstance(value, int | float) and not name.startswith(OTHER_MODELS)
    ]


def is_dropout(name: str) -> bool:
    """Whether a field of that name holds a probability of dropout."""
    return "dropout" in name or name.endswith("pdrop")


def _schedules(spec: LoadedSpec, config: ConfigClass, base: Config) -> Config:
    """Lists by layer that hold every kind, irregularly; and fields under which conditions on the layer vary."""
    change: Config = {}
    for index, split in enumerate(spec.splits):
        if split.by:
            change |= _mixed(spec, config, index, split)
        elif split.per_layer:
            change |= _solve(split, config, base | change, lambda values: len(set(values)) == 2)
    return change


def _mixed(spec: LoadedSpec, config: ConfigClass, index: int, split: Split) -> Config:
    tree = split.condition.tree
    names = fields_of(tree.body if isinstance(tree, ast.IfExp) else tree)  # a schedule may be one of some variants
    field = config.field_name(names[0]) if len(names) == 1 else ""
    if not _writable(config, field) or not isinstance(config.fields[field], list):
        return {}
    kinds = [kind for kind in split.outcomes if kind is not None and _possible(spec, config, index, kind)]
    order = [kinds[position % len(kinds)] for position in (0, 1, 1, 0, *range(2, LAYERS))]
    if len(kinds) > 2:
        order = [kinds[position % len(kinds)] for position in range(LAYERS)]
    return {field: order[:LAYERS]}


def _possible(spec: LoadedSpec, config: ConfigClass, index: int, kind: Any) -> bool:
    """Whether the class has the fields that a kind reads, and the kind differs from those that transformers names."""
    if kind in ("dense", "sparse") and kind not in (config.fields.get("mlp_layer_types") or ()):
        return False
    flat = [one for key, one in spec.flat.items() if key[index] == kind]
    attention = [one.attention for one in flat]
    for one in attention:
        for value in (getattr(one, "window", None), getattr(one, "chunk", None)):
            if value is not None and not all(config.has(name) for name in fields_of(value.tree)):
                return False
    return bool(flat)


def _other_outcomes(spec: LoadedSpec, config: ConfigClass, base: Config, known: list[Config]) -> list[Config]:
    """For each variant of the whole model, fields under which it is taken where the base does not, and the reverse; for
    one that flags alone decide, where none of the `known` configs does."""
    changes: list[Config] = []
    for split in (split for split in spec.splits if not split.per_layer):
        names = [config.field_name(name) for name in fields_of(split.condition.tree)]
        flags = all(isinstance(config.fields.get(name), bool) for name in names)
        for outcome in split.outcomes:

            def taken(values: Config, split: Split = split, outcome: Any = outcome) -> bool:
                return _value(split, config, values, 0) == outcome and not excludes(spec, config, values)

            if not any(map(taken, known if flags else [base])):
                settings = _settings(split.condition.tree, config, base)
                changes += list(filter(None, [next((one for one in settings if taken(base | one)), None)]))
    return changes


def _dropping_otherwise(
    spec: LoadedSpec, config: ConfigClass, base: Config, dropouts: Config, changes: list[Config]
) -> list[Config]:
    """Those of the changes with which the dropouts drop other things than under the base, one for each."""
    found: list[Config] = []
    seen = [_drops(spec, config, base | dropouts)]
    for change in (change for change in changes if not change.keys() & dropouts.keys()):
        kept = allowed(spec, config, base, change)
        if kept is not None and (drops := _drops(spec, config, base | kept | dropouts)) not in seen:
            seen.append(drops)
            found.append(kept)
    return found


def _drops(spec: LoadedSpec, config: ConfigClass, values: Config) -> dict[str, Any]:
    """What drops in the first layer, as the section says it; nothing where that cannot be read."""
    flat = spec.flat.get(tuple(_value(split, config, values, 0) for split in spec.splits))
    written = {key: getattr(flat.dropout, key) for key in keys(Dropout)} if flat else {}
    return {key: value and _outcome(value.tree, config, values, 0) for key, value in written.items()}


def _told_apart(spec: LoadedSpec, config: ConfigClass, base: Config, changes: list[Config]) -> list[Config]:
    """Fields under which the condition of a variant or a layer, or one inside an expression, has other outcomes than
    its neighbours, for those neighbours that it equals under the base and all `changes`."""
    trees = [split.condition.tree for split in spec.splits if not split.by]
    conditional = ast.BoolOp | ast.Compare
    trees += [tree for tree in expressions(spec) if any(isinstance(node, conditional) for node in ast.walk(tree))]
    found: list[Config] = []
    for tree in trees:
        for other in neighbours(tree):

            def differs(change: Config, tree: ast.expr = tree, other: ast.expr = other) -> bool:
                values = base | change
                return _outcomes(tree, config, values) != _outcomes(other, config, values)

            if not any(map(differs, [*changes, *found])):
                found += list(filter(None, [next(filter(differs, _settings(tree, config, base)), None)]))
    return found


def _outcomes(tree: ast.expr, config: ConfigClass, values: Config) -> list[Any]:
    return [_outcome(tree, config, values, layer) for layer in range(LAYERS)]


def _solve(split: Split, config: ConfigClass, base: Config, wanted: Callable[[list[Any]], bool]) -> Config:
    """Values of the fields in a condition for which its outcomes on all layers are as wanted; {} if none is found."""
    for change in _settings(split.condition.tree, config, base):
        if wanted([_value(split, config, base | change, layer) for layer in range(LAYERS)]):
            return change
    return {}


def _settings(tree: ast.expr, config: ConfigClass, base: Config) -> Iterator[Config]:
    """Values to try together for the fields of a condition."""
    names = list(dict.fromkeys(config.field_name(name) for name in fields_of(tree)))
    candidates = [_candidates(config.fields.get(name), base.get(name), tree) for name in names]
    return (dict(zip(names, values, strict=True)) for values in islice(product(*candidates), TRIED))


def _candidates(default: Any, current: Any, tree: ast.expr) -> list[Any]:
    """Values to try: what stands there, then others of its type, and the constants that the condition compares with."""
    constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    near: list[Any] = []
    for constant in constants:
        near += [constant, constant + 1, constant - 1] if type(constant) is int else [constant]
    if isinstance(default, bool):
        return [default, not default]
    if isinstance(default, list):
        by_layer = cast(list[Any], current or default[:LAYERS])
        if any(isinstance(kind, str) for kind in by_layer):
            return [by_layer, by_layer[1:] + by_layer[:1], by_layer[::-1]]
        return [current or default, [0, 1, 1, 0], [1], [0, 3]]
    tried = [*(value for value in near if default is None or type(value) is type(default)), *(1, 2, 3)]
    nothing = [0] if type(default) is int and not default else []
    others = [value for value in tried if value != default]
    return [*others, default] if current is None else [current, *tried, *nothing]


def _value(split: Split, config: ConfigClass, values: Mapping[str, Any], layer: int) -> Any:
    """The outcome on a layer; None where the condition cannot be read, or says nothing that the split knows."""
    found = _outcome(split.condition.tree, config, values, layer)
    if split.by:
        return found if found in split.outcomes else None
    return None if found is None else bool(found)


def _outcome(tree: ast.expr, config: ConfigClass, values: Mapping[str, Any], layer: int) -> Any:
    try:
        return evaluate(tree, readable(config, values), layer=layer)
    except UNREADABLE:
        return None
