"""Frequencies of every rope type: functions of (exponents, positions) that yield inverse frequencies and a factor.

`exponents` is [R/2] fp32, 0 to 1; the result is [R/2] fp32 and a number (or scalar tensor) that multiplies the table.
Formulas and their order of operations follow transformers' `modeling_rope_utils`, bit for bit.
"""

import math

import torch

from nemo_automodel.components.models.common.functional import yarn_scale


def scaling(parameters, width, max_positions):
    """The function of a `rope_type`, closed over the config's numbers."""
    kind = kind_of(parameters)
    made = kind(parameters, width, max_positions)
    return Switched(made) if "long_mscale" in parameters and kind is not Default else made


def turning_width(parameters, head_dim):
    """The width of a head's table: `partial_rotary_factor`'s share of it, or all of it where the type asks for that."""
    return head_dim if kind_of(parameters).whole else int(head_dim * (parameters.get("partial_rotary_factor") or 1.0))


def kind_of(parameters):
    """The class of a `rope_type`; ValueError where there is none."""
    kind = parameters.get("rope_type") or parameters.get("type") or "default"
    if kind not in KINDS:
        raise ValueError(f"rope_type {kind!r} is not one of {', '.join(KINDS)}: correct config.rope_parameters")
    return KINDS[kind]


class Default:
    """`theta ** -exponent`. `variant` maps the length of a batch to which table it gets; None: always the same.

    `whole`: the table is as wide as a head, whatever share of it turns.
    """

    variant = None
    whole = False

    def __init__(self, parameters, width, max_positions):
        self.parameters, self.width, self.max_positions = parameters, width, max_positions
        self.theta = parameters["rope_theta"]

    def __call__(self, exponent, positions):
        return self.inverse(exponent), 1.0

    def inverse(self, exponent):
        return 1.0 / self.theta**exponent


class Linear(Default):
    """Positions divided by a factor."""

    def __call__(self, exponent, positions):
        return self.inverse(exponent) / self.parameters["factor"], 1.0


class Proportional(Default):
    """A share `partial_rotary_factor` of all pairs turns, each as fast as if all did, over a factor (Gemma 4)."""

    whole = True

    def __call__(self, exponent, positions):
        turning = int((self.parameters.get("partial_rotary_factor") or 1.0) * self.width // 2)
        still = torch.arange(len(exponent), device=exponent.device) >= turning
        return self.inverse(exponent).masked_fill(still, 0.0) / self.parameters.get("factor", 1.0), 1.0


class Dynamic(Default):
    """A base that grows with the running length; with `alpha` (Hunyuan) by a fixed power instead."""

    @property
    def variant(self):
        return None if self.parameters.get("alpha") else lambda length: max(length, self.max_positions)

    def __call__(self, exponent, positions):
        power = self.width / (self.width - 2)
        if alpha := self.parameters.get("alpha"):
            return 1.0 / (self.theta * alpha**power) ** exponent, 1.0
        limit, factor = self.max_positions, self.parameters["factor"]
        length = (positions.max() + 1).clamp(min=limit)
        base = self.theta * ((factor * length / limit) - (factor - 1)) ** power
        return 1.0 / base**exponent, 1.0


class Llama3(Default):
    """Low frequencies divided by a factor, high ones kept, a linear blend between (Llama 3.1)."""

    def __call__(self, exponent, positions):
        p, inverse = self.parameters, self.inverse(exponent)
        low, high, old = p["low_freq_factor"], p["high_freq_factor"], p["original_max_position_embeddings"]
        length = 2 * math.pi / inverse
        smooth = (old / length - low) / (high - low)
        slow = torch.where(length > old / low, inverse / p["factor"], inverse)
        blend = (1 - smooth) * slow / p["factor"] + smooth * slow
        return torch.where((length >= old / high) & (length <= old / low), blend, slow), 1.0


class Yarn(Default):
    """Interpolation below `beta_slow` turns, extrapolation above `beta_fast`, a ramp between (arXiv 2309.00071)."""

    def __call__(self, exponent, positions):
        p, low, high = self.parameters, *self.bounds()
        ramp = (torch.arange(self.width // 2, device=exponent.device).float() - low) / (high - low)
        extrapolate = 1 - ramp.clamp(0, 1)
        powers = self.theta**exponent
        inverse = 1.0 / (p["factor"] * powers) * (1 - extrapolate) + 1.0 / powers * extrapolate
        return inverse, self.attention_factor()

    def bounds(self):
        p = self.parameters
        low, high = self.pair(p.get("beta_fast") or 32), self.pair(p.get("beta_slow") or 1)
        if p.get("truncate", True):
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, self.width - 1)
        return low, high + 0.001 if low == high else high

    def pair(self, turns):
        """The (fractional) pair of dimensions that turns this often over the original context."""
        old = self.parameters.get("original_max_position_embeddings") or self.max_positions
        return (self.width * math.log(old / (turns * 2 * math.pi))) / (2 * math.log(self.theta))

    def attention_factor(self):
        p = self.parameters
        if p.get("attention_factor") is not None:
            return p["attention_factor"]
        if p.get("mscale") and p.get("mscale_all_dim"):
            return float(yarn_scale(p["factor"], p["mscale"]) / yarn_scale(p["factor"], p["mscale_all_dim"]))
        return yarn_scale(p["factor"])


class LongRope(Default):
    """One factor per frequency, short or long by the longest position of the batch (arXiv 2402.13753)."""

    def variant(self, length):
        return length > self.parameters["original_max_position_embeddings"]

    def __call__(self, exponent, positions):
        p = self.parameters
        is_long = positions.max() + 1 > p["original_max_position_embeddings"]
        names = ("short_factor", "long_factor")
        short, long = (torch.tensor(p[name], dtype=torch.float32, device=exponent.device) for name in names)
        return 1.0 / (torch.where(is_long, long, short) * self.theta**exponent), self.attention_factor()

    def attention_factor(self):
        p, old = self.parameters, self.parameters["original_max_position_embeddings"]
        if p.get("attention_factor") is not None:
            return p["attention_factor"]
        factor = p.get("factor") or self.max_positions / old
        return math.sqrt(1 + math.log(factor) / math.log(old)) if factor > 1 else 1.0


class Switched:
    """`short_mscale` and `long_mscale` (PhiMoE) in place of a type's own factor: with the length of a batch that
    switches, and frequencies do not."""

    def __init__(self, inner):
        self.inner, self.parameters = inner, inner.parameters

    def variant(self, length):
        return length > self.parameters["original_max_position_embeddings"]

    def __call__(self, exponent, positions):
        p = self.parameters
        inverse, _ = self.inner(exponent, positions.new_zeros(1))
        is_long = positions.max() + 1 > p["original_max_position_embeddings"]
        return inverse, torch.where(is_long, p["long_mscale"], p["short_mscale"])


KINDS = {
    "default": Default,
    "linear": Linear,
    "dynamic": Dynamic,
    "proportional": Proportional,
    "llama3": Llama3,
    "yarn": Yarn,
    "longrope": LongRope,
}
