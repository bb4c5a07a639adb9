"""Which module computes the products of experts."""

from types import SimpleNamespace

from nemo_automodel.components.models.common import simd
from nemo_automodel.components.moe import products

BESIDE_SIMD = SimpleNamespace(products=products.products, grad_products=products.grad_products)


def fastest(x, *sizes):
    """`simd` where it can compute products of these sizes and nothing is better, else `products`, PyTorch's; or these
    as `BESIDE_SIMD`, where the extension is better at what lies between them alone."""
    if x.device.type != "cpu" or not simd.is_best(x.dtype, *sizes):
        return products
    return simd if simd.has_fast_products(x.dtype) else BESIDE_SIMD
