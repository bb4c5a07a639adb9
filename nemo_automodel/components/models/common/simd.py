"""What the extension in `cpp` computes on a CPU: products of experts and of a few rows, attention of one query, and in
one pass over memory each SwiGLU, RMSNorm and rotary positions."""

import ctypes
from functools import cache
from importlib.util import find_spec
from itertools import accumulate

import torch
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

EXTENSION = "nemo_automodel.components.models.common._simd_"  # and a name of FEATURES: built for these processors
LANES = 16
PLAIN = torch.Tensor, torch.nn.Parameter
FEATURES = {
    "avx512": {
        torch.float32: ("avx512_f", "avx512_bw", "avx512_vl"),
        torch.bfloat16: ("avx512_f", "avx512_bw", "avx512_vl", "avx512_bf16"),
    },
    "avx2": dict.fromkeys((torch.float32, torch.bfloat16), ("avx2", "fma3")),
}

POINTER, SIZE = ctypes.c_void_p, ctypes.c_int64
BLOCK = [POINTER, POINTER, SIZE]
ARGUMENTS = {
    "products": [POINTER] * 4 + BLOCK + [SIZE] * 4,
    "few_rows": [POINTER] * 4 + BLOCK + [SIZE] * 3,
    "few_tokens": [POINTER] * 6 + [SIZE] * 6,
    "linear": [POINTER] * 4 + [SIZE] * 4,
    "one_query": [POINTER] * 5 + [SIZE] * 8 + [ctypes.c_float, SIZE],
    "rms_norm": [POINTER] * 4 + [SIZE] * 2 + [ctypes.c_double] + [SIZE] * 4,
    "rms_norm_backward": [POINTER] * 6 + [SIZE] * 4,
    "rope": [POINTER] * 4 + [SIZE] * 5 + [POINTER, SIZE],
    "silu_product": [POINTER] * 3 + [SIZE] * 2,
    "silu_product_backward": [POINTER] * 5 + [SIZE] * 2,
    "grad_products": [POINTER] * 3 + BLOCK + [SIZE] * 3,
    "swiglu": [POINTER] * 3 + [SIZE] * 3,
    "swiglu_backward": [POINTER] * 6 + [SIZE] * 3,
}


def why_not(dtype, *sizes):
    """Why products of these sizes cannot run here, or None: sizes are all but the numbers of rows."""
    least = FEATURES["avx2"]
    if dtype not in least:
        return f"no {dtype}; only float32 and bfloat16"
    if not suitable(dtype):
        return f"needs a processor with {', '.join(least[dtype])}"
    if not _path(dtype):
        built = "its extension was not built, or of older sources"
        return f"{built}; install the package anew where there is a C++ compiler with OpenMP"
    odd = [size for size in sizes if size % LANES]
    return f"sizes must be multiples of {LANES}, not {', '.join(map(str, odd))}" if odd else None


def suitable(dtype):
    """The names of the builds that run on this processor, the best first."""
    has = _features()
    return [name for name, needs in FEATURES.items() if all(has.get(one) for one in needs[dtype])]


@cache
def is_best(dtype, *sizes):
    """Whether they can run and PyTorch has nothing better: with AMX its own products in bfloat16 are."""
    has_better = dtype == torch.bfloat16 and _features().get("amx_bf16")
    return not has_better and why_not(dtype, *sizes) is None


@cache
def has_fast_products(dtype):
    """Whether products of many rows are faster than PyTorch's for each expert: in fp32 those of AVX2 are not."""
    return dtype == torch.bfloat16 or "avx512" in suitable(dtype)


@cache
def is_best_of_many_rows(dtype):
    """Whether PyTorch's products of one matrix are slower too: those in bfloat16 are where there is no AVX-512."""
    return dtype == torch.bfloat16 and not _features().get("avx512_bw") and is_best(dtype)


def suits(*tensors):
    """Whether these are what the extension reads where nobody wants a gradient, and nothing is cast."""
    return not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu") and reads(*tensors)


def reads(*tensors):
    """Whether these are tensors on the CPU of one dtype, with rows as wide as the extension takes, which nobody traces,
    counts or batches."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    if torch._C._are_functorch_transforms_active() or is_in_torch_dispatch_mode():
        return False
    first = tensors[0]
    for one in tensors:
        if type(one) not in PLAIN or not one.is_cpu or one.dtype != first.dtype or one.shape[-1] % LANES:
            return False
    return is_best(first.dtype)


def _features():
    """What the processor has; nothing where torch is too old to say."""
    return getattr(torch.cpu, "get_capabilities", dict)()


def products(x, weights, block, out, bias=None):
    """out = x @ weights[e] (+ bias[e]), as `products.products`; the sum and its bias are rounded once."""
    rows, columns = weights.shape[1:]
    is_transposed = weights.transpose(1, 2).is_contiguous()
    weights, x = weights.transpose(1, 2) if is_transposed else weights.contiguous(), x.contiguous()
    pointers = _pointers(x.dtype, x, weights, bias, out)
    _function("products", x.dtype)(*pointers, *_ends(block), rows, columns, is_transposed, torch.get_num_threads())
    return out


def few_rows(x, weights, block, out, bias=None):
    """out = x @ weights[e]^T (+ bias[e]) for each expert's rows, faster than `products` where each has few.

    weights [E, N, K] are read where they lie: once for up to eight rows of an expert.
    """
    rows, columns = weights.shape[1:]
    pointers = _pointers(x.dtype, x, weights, bias, out)
    _function("few_rows", x.dtype)(*pointers, *_ends(block), columns, rows, torch.get_num_threads())
    return out


def linear(x, weight, bias=None):
    """x @ weight^T (+ bias) for a few rows: x [..., K], weight [N, K], read where it lies -> [..., N]."""
    x, (outer, inner), rows = x.contiguous(), weight.shape, x.shape[:-1]
    out = x.new_empty(*rows, outer)
    pointers = _pointers(x.dtype, x, weight, bias, out)
    _function("linear", x.dtype)(*pointers, rows.numel(), inner, outer, torch.get_num_threads())
    return out


def linear_of_many(x, weight, bias=None):
    """`linear` by blocks of rows, for which the weight is repacked."""
    rows = x.reshape(-1, x.shape[-1])
    out = x.new_empty(len(rows), len(weight))
    products(rows, weight.t()[None], [(0, len(rows))], out, None if bias is None else bias[None])
    return out.view(*x.shape[:-1], len(weight))


def few_tokens(x, indices, weights, up, down):
    """The sum over a token's choices of weight * down(swiglu(up(x))): x [T, D], indices and weights [T, k], up
    [E, 2I, D], down [E, D, I] -> [T, D]. Ids from E on add nothing."""
    (tokens, width), (experts, _, inner) = x.shape, down.shape
    out = torch.empty_like(x)
    pointers = *_pointers(x.dtype, x), *_pointers(torch.int64, indices), *_pointers(torch.float32, weights)
    pointers += tuple(_pointers(x.dtype, up, down, out))
    sizes = tokens, indices.shape[1], experts, width, inner
    _function("few_tokens", x.dtype)(*pointers, *sizes, torch.get_num_threads())
    return out


def one_query(q, k, v, mask, scale):
    """Attention of one query a head: q [B, N, D], k [B, K, T, D], v [B, K, T, E] -> [B, N, E].

    mask: what is added to scores in fp32, [B or 1, N or 1, T], or None. A query that sees nothing reads zeros. Scores,
    softmax and sums are fp32, and rounded once.
    """
    (batch, heads, width), (groups, keys), wide = q.shape, k.shape[1:3], v.shape[3]
    out = q.new_empty(batch, heads, wide)
    strides = (0, 0) if mask is None else (keys * (mask.shape[1] > 1), mask[0].numel() * (len(mask) > 1))
    pointers = [*_pointers(q.dtype, q, k, v), *_pointers(torch.float32, mask), *_pointers(q.dtype, out)]
    sizes = (batch * groups, groups, heads // groups, keys, width, wide, *strides)
    _function("one_query", q.dtype)(*pointers, *sizes, scale, torch.get_num_threads())
    return out


def rms_norm(x, weight, eps, rounds_first, scales=None, again=False):
    """x [..., D] over its root mean square, rounded to x's dtype where `rounds_first`, times a weight [D] of fp32 or of
    x's dtype. scales [..., 1] in fp32: one over the root mean squares, written, or read where it is done `again`."""
    out = torch.empty_like(x)
    pointers = *_pointers(x.dtype, x), *_pointers(weight.dtype, weight), *_pointers(x.dtype, out)
    sizes, flags = (x.numel() // x.shape[-1], x.shape[-1]), (rounds_first, again, weight.dtype == torch.float32)
    scales = _pointers(torch.float32, scales)
    _function("rms_norm", x.dtype)(*pointers, *scales, *sizes, eps, *flags, torch.get_num_threads())
    return out


def rms_norm_backward(x, weight, scales, grad):
    """The gradients of `rms_norm` by x, and by the weight in fp32: x and grad [R, D]."""
    rows, width, threads = *x.shape, torch.get_num_threads()
    grad_x, grad_weights = torch.empty_like(x), torch.zeros(threads, width)
    pointers = *_pointers(x.dtype, x), *_pointers(weight.dtype, weight), *_pointers(torch.float32, scales)
    pointers += (*_pointers(x.dtype, grad, grad_x), *_pointers(torch.float32, grad_weights))
    _function("rms_norm_backward", x.dtype)(*pointers, rows, width, weight.dtype == torch.float32, threads)
    return grad_x, grad_weights.sum(0)


def rope(x, cos, sin):
    """x [B, N, S, D] with its first R dimensions turned in pairs (i, i + R/2) by cos and sin [B or 1, S, 1, R/2]; what
    is made lies in memory as [B, S, N, D]."""
    (texts, heads, places, width), half = x.shape, cos.shape[-1]
    if x.stride(-1) != 1:
        raise ValueError(f"simd: rows of {x.stride(-1)} apart")
    out = x.new_empty(texts, places, heads, width)
    strides = (ctypes.c_int64 * 4)(x.stride(0), x.stride(2), x.stride(1), places * half if len(cos) > 1 else 0)
    pointers = x.data_ptr(), *_pointers(x.dtype, cos, sin, out)
    _function("rope", x.dtype)(*pointers, texts, places, heads, width, half, strides, torch.get_num_threads())
    return out.transpose(1, 2)


def silu_product(gate, up):
    """silu(gate) * up, both of one shape; silu(gate) is rounded to their dtype."""
    out = torch.empty_like(gate)
    _function("silu_product", gate.dtype)(*_pointers(gate.dtype, gate, up, out), gate.numel(), torch.get_num_threads())
    return out


def silu_product_backward(gate, up, grad):
    """The gradients of `silu_product` by gate and by up."""
    grads = torch.empty_like(gate), torch.empty_like(up)
    pointers = _pointers(gate.dtype, gate, up, grad, *grads)
    _function("silu_product_backward", gate.dtype)(*pointers, gate.numel(), torch.get_num_threads())
    return grads


def grad_products(grad, x, block, out):
    """out[e] = grad^T @ x, as `products.grad_products`."""
    if out is not None:
        grad, x = grad.contiguous(), x.contiguous()  # named, so that they outlive their addresses
        sizes = (grad.shape[1], x.shape[1])
        pointers = _pointers(x.dtype, grad, x, out)
        _function("grad_products", x.dtype)(*pointers, *_ends(block), *sizes, torch.get_num_threads())


def swiglu(h, factors):
    """silu(gate) * up * factors, rounded once: h [S, 2I] (gate, then up), factors [S, 1] -> [S, I]."""
    rows, width = len(h), h.shape[1] // 2
    factors, out = factors.float(), h.new_empty((rows, width))
    pointers = [*_pointers(h.dtype, h), *_pointers(torch.float32, factors), *_pointers(h.dtype, out)]
    _function("swiglu", h.dtype)(*pointers, rows, width, torch.get_num_threads())
    return out


def swiglu_backward(h, factors, grad):
    """(what `swiglu` gives, gradients by h and by factors): grad [S, I]."""
    rows, width, wide = len(h), h.shape[1] // 2, factors.float()
    out, grad_h, grad_factors = torch.empty_like(grad), torch.empty_like(h), torch.empty_like(wide)
    pointers = [*_pointers(h.dtype, h), *_pointers(torch.float32, wide), *_pointers(h.dtype, grad, out, grad_h)]
    pointers += _pointers(torch.float32, grad_factors)
    _function("swiglu_backward", h.dtype)(*pointers, rows, width, torch.get_num_threads())
    return out, grad_h, grad_factors.to(factors.dtype)


def _pointers(dtype, *tensors):
    """Their addresses, None for None. Raises ValueError for what the extension would take for something else."""
    for tensor in tensors:
        if tensor is not None and not (tensor.is_contiguous() and tensor.dtype == dtype):
            raise ValueError(f"simd: not a contiguous tensor of {dtype}: {tensor.dtype}, strides {tensor.stride()}")
    return [None if tensor is None else tensor.data_ptr() for tensor in tensors]


def _ends(block):
    """[(expert, rows), ...] as arrays of the experts and of the ends of their rows, and how many they are."""
    array = ctypes.c_int64 * len(block)
    return array(*(expert for expert, _ in block)), array(*accumulate(rows for _, rows in block)), len(block)


@cache
def _function(name, dtype):
    function = getattr(ctypes.CDLL(_path(dtype)), f"{name}_{str(dtype).removeprefix('torch.')}")
    function.argtypes, function.restype = ARGUMENTS[name], None
    return function


@cache
def _path(dtype):
    """The file of the best build for this processor; None where there is none that is of these sources."""
    return next(filter(None, map(_built, suitable(dtype))), None)


def _built(name):
    """The file of a build, which is found as Python finds modules, but is none; None where it was built of older
    sources."""
    spec = find_spec(EXTENSION + name)
    if spec is None:
        return None
    has = ctypes.CDLL(spec.origin)
    return spec.origin if all(hasattr(has, f"{one}_float32") for one in ARGUMENTS) else None
