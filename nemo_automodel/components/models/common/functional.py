"""Functions that the equations and expressions of a spec may call."""

import math

import torch

from nemo_automodel.components.models.common.activations import ACT


def softcap(x, limit):
    """`limit * tanh(x / limit)`: bends x smoothly into (-limit, limit). None or 0 leaves x alone (Gemma 2)."""
    return (x / limit).tanh_() * limit if limit else x


def act(x, name):
    """The activation of that name, of x of any shape and float dtype. Raises KeyError for an unknown one."""
    return ACT[name](x)


def clip(x, limit):
    """x cut to [-limit, limit]; None leaves it alone (`clip_qkv` of OLMo, DBRX and MPT)."""
    return x if limit is None else x.clamp(-limit, limit)


def clamped_glu(gate, up, activation, *, limit=None, alpha=None, up_offset=0, dtype="model"):
    """`activation(gate) * (up + up_offset)` (gpt-oss, DeepSeek-V4); gate, up and the result have one shape and dtype.

    `limit` cuts gate from above and up on both sides; `alpha` replaces the activation by `x * sigmoid(alpha * x)`.
    With the dtype "float32" (Beam) nothing is rounded to a narrower one between gate and up and the result.
    """
    given = gate.dtype
    if dtype == "float32" and given != torch.float64:
        gate, up = gate.float(), up.float()
    if limit is not None:
        gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    shaped = activation(gate) if alpha is None else gate * torch.sigmoid(gate * alpha)
    return (shaped * (up + up_offset if up_offset else up)).to(given)


def cast(value, weight):
    """A number, rounded to the dtype of a weight: a scalar tensor on its device."""
    return torch.full((), value, dtype=weight.dtype, device=weight.device)


def bfloat16(value):
    """A number, rounded to bfloat16 whatever the model's dtype: the nearest of eight significant bits."""
    fraction, exponent = math.frexp(value)
    return math.ldexp(round(fraction * 256), exponent - 8)


def per_layer(value, layer):
    """The entry of a layer, where the config may hold one number for all of them."""
    return value[layer] if isinstance(value, (list, tuple)) else value


def head_size(config):
    """The width of one head. Some config classes lack `head_dim`, yet published config.json files carry it."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def newer(config, name, older):
    """A field that only newer releases of transformers declare; `older` where the installed one does not, which then
    computes with that number whatever a config.json says."""
    return getattr(config, name) if hasattr(type(config), name) else older


def given(config, name, otherwise):
    """A field that published configs may carry though their class declares none; else `otherwise`."""
    return getattr(config, name, otherwise)


def yarn_scale(factor, weight=1.0):
    """`0.1 * weight * ln(factor) + 1` above a factor of 1 (YaRN, arXiv 2309.00071, section 3.4)."""
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0


def yarn_mscale(parameters):
    """The factor of the softmax scale that DeepSeek's attention owes to a YaRN table; 1 where there is none."""
    if parameters.get("rope_type", "default") == "default" or not parameters.get("mscale_all_dim"):
        return 1.0
    return yarn_scale(parameters["factor"], parameters["mscale_all_dim"])
