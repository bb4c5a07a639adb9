"""Rotary positions of tiny configs: small bases, partial widths, and every way of scaling."""

from collections.abc import Callable
from itertools import cycle
from typing import Any

from codegen.configs import ConfigClass
from codegen.language.loaded import LoadedSpec
from codegen.tiny.mentions import fields_of
from codegen.tiny.sizes import has_experts, turned_width

Config = dict[str, Any]

THETA = 37.0  # all frequencies turn visibly within 24 positions
OTHER_THETA = 53.0  # the same, where the base stands in a field of its own
PARTIAL = 0.4  # an even width both of head_dim 12 and of 60 / 6, the same for both
WIDTH = 4  # the same, in a field of its own
FACTOR = 2.0
SHARE = "proportional"  # a share of all pairs turns, which other types would take for a width
TRAINED = 16  # positions that a scaled table was trained on: within the length of the tests
SCALED: dict[str, Config] = {
    "linear": {"factor": 2.5},
    "dynamic": {"factor": 2.5},
    "llama3": {
        **{"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 2.0},
        "original_max_position_embeddings": TRAINED,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": TRAINED},
    "longrope": {"original_max_position_embeddings": TRAINED},
}


def small_rope(config: ConfigClass) -> Config:
    """`rope_parameters` of the base, with a partial width where the class knows one."""
    default: Config | None = config.fields.get("rope_parameters")
    if not isinstance(default, dict):
        return {}
    if by_kind(default):
        thetas = cycle((THETA, OTHER_THETA))
        return {"rope_parameters": {kind: one and _small(one, next(thetas)) for kind, one in default.items()}}
    return {"rope_parameters": _small(default, THETA)} if "rope_theta" in default else {}


def by_kind(parameters: Config) -> bool:
    """Whether each kind of layer has parameters of its own, or none."""
    return bool(parameters) and all(one is None or isinstance(one, dict) for one in parameters.values())


def _small(default: Config, theta: float) -> Config:
    partial = {"partial_rotary_factor": PARTIAL} if "partial_rotary_factor" in default else {}
    return {"rope_type": _own_type(default), "rope_theta": theta, **partial}


def _own_type(default: Config) -> str:
    """The type of an unscaled table: a class whose tables turn a share of all pairs has no others with a share."""
    return SHARE if default.get("rope_type") == SHARE else "default"


def rope_width(spec: LoadedSpec, config: ConfigClass) -> Config:
    """Fields that are the width of a table: even, and less than a head's."""
    widths = [flat.rope.width for flat in spec.flat.values() if flat.rope is not None and flat.rope.width is not None]
    names = [config.field_name(name) for width in widths for name in fields_of(width.tree)]
    return {name: WIDTH for name in names if type(config.fields.get(name)) is int and name != "head_dim"}


def rope_variants(spec: LoadedSpec, config: ConfigClass, base: Config) -> dict[str, Config]:
    """One variant for each scaling that the class takes; none for a spec that reads no table from the config.

    Mixtures of experts, whose tests cost twice as much, get the one in which every attention has a factor; tables are
    the same code for all.
    """
    rope: Config | None = base.get("rope_parameters")
    if rope is None or not _reads_table(spec):
        return {}
    # A class that declares the trained length itself belongs to Phi-3's kin, which takes longrope alone; so does one
    # whose tables have a factor for long sequences.
    own_length = "original_max_position_embeddings" in config.fields
    alone = own_length or "long_mscale" in rope
    kinds = ("longrope",) if alone else ("yarn",) if has_experts(spec) else tuple(SCALED)
    variants: dict[str, Config] = {}
    turned = turned_width(spec)
    for kind in kinds:
        scaled = _of_tables(rope, lambda one, kind=kind: _scaled(base, one, kind, turned))
        variants[f"rope_{kind}"] = {"rope_parameters": scaled}
        if kind == "dynamic" and not by_kind(rope):
            variants[f"rope_{kind}"][config.field_name("max_position_embeddings")] = TRAINED
        if own_length:
            variants[f"rope_{kind}"]["original_max_position_embeddings"] = TRAINED
    return variants


def _of_tables(rope: Config, change: Callable[[Config], Config]) -> Config:
    """The parameters of one table, or of the table of each kind of layer that has one, changed."""
    return {name: one and change(one) for name, one in rope.items()} if by_kind(rope) else change(rope)


def _scaled(base: Config, rope: Config, kind: str, turned: int | None) -> Config:
    """Parameters of one table, scaled in one way; `turned`: the width of dimensions kept for turning."""
    kept = {
        name: value for name, value in rope.items() if rope.get("rope_type") != SHARE or name != "partial_rotary_factor"
    }
    found = {**kept, "rope_type": kind, **SCALED[kind]}
    if kind == "longrope":
        found |= _factors((turned or _share(base, kept)) // 2)
        found |= {"factor": FACTOR} if turned else {}  # where dimensions are kept, the scale asks for one
    return found


def _reads_table(spec: LoadedSpec) -> bool:
    """Whether some layer has a table, from `config.rope_parameters` (the default of the key)."""
    for flat in spec.flat.values():
        rope = flat.rope
        if rope is None or (rope.theta is not None and rope.parameters is None):
            continue
        if rope.parameters is None or "rope_parameters" in fields_of(rope.parameters.tree):
            return True
    return False


def _share(base: Config, rope: Config) -> int:
    """How much of a head turns."""
    head_dim = base.get("head_dim") or base["hidden_size"] // base["num_attention_heads"]
    return int(head_dim * rope.get("partial_rotary_factor", 1.0))


def _factors(count: int) -> Config:
    """Divisors of the frequencies, for short and for long sequences."""
    return {
        "short_factor": [round(1.0 + 0.3 * i, 1) for i in range(count)],
        "long_factor": [round(1.5 + 0.7 * i, 1) for i in range(count)],
    }
