"""Activations, rotary tables, slopes: the formulas, of tensors alone."""

import math

import torch
import torch.nn.functional as F

from tests.reference.interpreter.values import mscale


def _tanh_gelu(x):
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


ACTIVATIONS = {
    **{"silu": F.silu, "swish": F.silu, "relu": F.relu, "relu6": F.relu6, "tanh": torch.tanh, "mish": F.mish},
    **{"sigmoid": torch.sigmoid, "softplus": F.softplus, "hardswish": F.hardswish, "leaky_relu": F.leaky_relu},
    **{"gelu": F.gelu, "gelu_python": F.gelu, "linear": lambda x: x, "relu2": lambda x: F.relu(x) ** 2},
    "gelu_10": lambda x: F.gelu(x).clamp(-10, 10),
    **dict.fromkeys(("gelu_pytorch_tanh", "gelu_python_tanh", "gelu_new", "gelu_accurate", "gelu_fast"), _tanh_gelu),
    "gelu_bloom": lambda x: x * 0.5 * (1.0 + torch.tanh(0.79788456 * x * (1 + 0.044715 * x * x))),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "laplace": lambda x: 0.5 * (1.0 + torch.erf((x - 0.707107) / (0.282095 * math.sqrt(2.0)))),
    "sqrtsoftplus": lambda x: F.softplus(x).sqrt(),
}


def xielu(positive, negative, beta, eps):
    """The activation with parameters of its own (arXiv 2411.13010)."""
    positive, negative = F.softplus(positive), beta + F.softplus(negative)

    def activation(x):
        below = (torch.expm1(torch.min(x, eps)) - x) * negative + beta * x
        return torch.where(x > 0, positive * x * x + beta * x, below)

    return activation


def rotary_table(parameters, width, theta, longest, length, dtype):
    """Inverse frequencies [width / 2], and the factor on cos and sin, of every rope_type.

    longest: positions that the model knows. length: positions that this batch has.
    """
    kind = parameters.get("rope_type", "default")
    exponents = torch.arange(0, width, 2).to(dtype) / width
    if kind == "dynamic":
        theta = _dynamic(parameters, theta, width, longest, length)
    plain = 1.0 / theta**exponents
    if kind in ("default", "dynamic"):
        return plain, 1.0
    if kind == "linear":
        return plain / parameters["factor"], 1.0
    if kind == "proportional":  # the first share of all pairs turns, at the exponents of the whole width
        turning = int(parameters.get("partial_rotary_factor", 1.0) * width // 2)
        plain = plain[:turning] / parameters.get("factor", 1.0)
        return torch.cat((plain, torch.zeros(width // 2 - turning, dtype=dtype))), 1.0
    return {"llama3": _llama3, "yarn": _yarn, "longrope": _longrope}[kind](
        parameters, plain, width, theta, longest, length
    )


def _dynamic(parameters, theta, width, longest, length):
    if parameters.get("alpha"):
        return theta * parameters["alpha"] ** (width / (width - 2))
    factor, length = parameters["factor"], max(length, longest)
    return theta * ((factor * length / longest) - (factor - 1)) ** (width / (width - 2))


def _llama3(parameters, plain, *_):
    old, factor = parameters["original_max_position_embeddings"], parameters["factor"]
    low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
    length = 2 * math.pi / plain
    share = (old / length - low) / (high - low)
    mixed = (1 - share) * plain / factor + share * plain
    short = torch.where(length < old / high, plain, mixed)
    return torch.where(length > old / low, plain / factor, short), 1.0


def _yarn(parameters, plain, width, theta, *_):
    factor, old = parameters["factor"], parameters["original_max_position_embeddings"]
    scale, scale_all = parameters.get("mscale"), parameters.get("mscale_all_dim")
    attention = parameters.get("attention_factor")
    if attention is None:
        both = scale and scale_all
        attention = mscale(factor, scale) / mscale(factor, scale_all) if both else mscale(factor)

    def turns(count):
        return width * math.log(old / (count * 2 * math.pi)) / (2 * math.log(theta))

    low, high = turns(parameters.get("beta_fast") or 32), turns(parameters.get("beta_slow") or 1)
    if parameters.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    high += 0.001 if low == high else 0
    ramp = ((torch.arange(width // 2).to(plain.dtype) - low) / (high - low)).clamp(0, 1)
    return plain / factor * ramp + plain * (1 - ramp), attention


def _longrope(parameters, plain, width, theta, longest, length):
    old = parameters["original_max_position_embeddings"]
    factor = parameters.get("factor") or longest / old
    attention = parameters.get("attention_factor")
    if attention is None:
        attention = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(old))
    own = parameters["long_factor" if length > old else "short_factor"]
    return plain / torch.tensor(own, dtype=plain.dtype), attention


def rotated(x, cos, sin, interleaved):
    """x [..., R] turned by angles whose cos and sin [B, 1, S, R / 2] are given."""
    if interleaved:
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2)
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def alibi_slopes(heads):
    """2^(-8i/n), n = heads rounded up to a power of two; if heads is none: the even i first, then the odd ones."""
    whole = 2 ** math.ceil(math.log2(heads))
    slopes = 2.0 ** (-torch.arange(1, whole + 1).double() * 8 / whole)
    return slopes if whole == heads else torch.cat([slopes[1::2], slopes[::2]])[:heads]
