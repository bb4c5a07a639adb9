"""Which module computes the products of experts."""

from nemo_automodel.components.models.common import simd
from nemo_automodel.components.moe import products


def fastest(x, *sizes):
    """`simd` where it can compute products of these sizes and nothing is better, else `products`, PyTorch's."""
    is_simd = x.device.type == "cpu" and simd.is_best(x.dtype, *sizes)
    return simd if is_simd else products
