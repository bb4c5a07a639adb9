"""Which module computes the products of experts."""

from nemo_automodel.components.models.common import avx512
from nemo_automodel.components.moe import products


def fastest(x, *sizes):
    """`avx512` where it can compute products of these sizes and nothing is better, else `products`, PyTorch's."""
    is_avx512 = x.device.type == "cpu" and avx512.is_best(x.dtype, *sizes)
    return avx512 if is_avx512 else products
