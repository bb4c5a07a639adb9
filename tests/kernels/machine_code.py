"""Compiles every kernel to the machine code of cards, without one: what the interpreter lets pass, a compiler may not.

Launches are caught, and their kernels compiled for the arguments: `python -m tests.kernels.machine_code` prints a line
each. Triton must not interpret.
"""

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from nemo_automodel.components.models.common.kernels import glu, rms_norm, rope
from nemo_automodel.components.moe.kernels import Gathered, Summed

TARGETS = GPUTarget("cuda", 80, 32), GPUTarget("cuda", 90, 32)
POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.int64: "*i64", torch.int32: "*i32"}
OPTIONS = ("num_warps", "num_stages")


def compiled(kernel, *given, grid, warmup, **options):
    """In the place of a launch."""
    named = {name: value for name, value in options.items() if name not in OPTIONS}
    bound = kernel.signature.bind(*given, **named)
    types, constants = {}, {}
    for parameter in kernel.params:
        value = bound.arguments[parameter.name]
        if parameter.is_constexpr or value is None:
            types[parameter.name], constants[parameter.name] = "constexpr", value
        else:
            types[parameter.name] = POINTERS[value.dtype] if isinstance(value, torch.Tensor) else "i32"
    source = ASTSource(fn=kernel, signature=types, constexprs=constants)
    for target in TARGETS:
        made = triton.compile(source, target=target, options={n: options[n] for n in OPTIONS if n in options})
        print(
            f"{kernel.__module__.rpartition('.')[2]}.{kernel.__name__} sm_{target.arch} {len(made.asm['cubin'])} bytes"
        )


def leaf(*shape, dtype=torch.bfloat16):
    return torch.zeros(*shape, dtype=dtype).requires_grad_()


def launch_all(dtype=torch.bfloat16):
    for act in ("sigmoid", "gelu", "gelu_tanh", "relu", "relu2"):
        glu.glu_of_rows(leaf(3, 74, dtype=dtype), (act, 1.702), block=1, limit=7.0, offset=1).sum().backward()
    x, weight = leaf(3, 4096, dtype=dtype), leaf(4096, dtype=dtype)
    rms_norm.rms_norm(x, weight, 1e-5, rounds_first=True).sum().backward()
    sum(rms_norm.add_rms_norm(x, x, weight, 1e-5, rounds_first=False)).sum().backward()
    for pairs, half in ((False, 64), (True, 16)):
        x, table = leaf(2, 8, 5, 128, dtype=dtype), torch.zeros(1, 5, half, dtype=dtype)
        rope.turned(x, table, table, rope.Turn(pairs)).sum().backward()
        rope.turned(x, table, table, rope.Turn(pairs, 1, 1e-5), leaf(128, dtype=dtype)).sum().backward()
    order, ends = torch.arange(6), torch.tensor([6], dtype=torch.int32)
    rows = Gathered.apply(leaf(3, 40, dtype=dtype), order, order.view(3, 2), ends)
    Summed.apply(rows, leaf(3, 2, dtype=dtype), order, order.view(3, 2), ends).sum().backward()


if __name__ == "__main__":
    JITFunction.run = compiled
    launch_all()
