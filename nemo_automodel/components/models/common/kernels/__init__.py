"""Own Triton kernels, for the fusions that no package offers (ADR 33), each in a module named like its formula's.
The formula is the specification; a kernel computes in fp32 and rounds once.

Triton is imported when a kernel is called, no sooner. `TRITON_INTERPRET=1` has its interpreter run them on a CPU.
"""

import os
from functools import cache
from importlib.util import find_spec

import torch

WIDEST = 2**15  # entries of a row that a program holds at once
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def interpreted():
    """Whether Triton interprets kernels on a CPU; it asks the environment once, when a kernel is defined."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


@cache
def installed():
    return find_spec("triton") is not None


def why_not(*tensors):
    """Why no kernel can take these tensors, or None. Subclasses of tensors (DTensor) have rules for operators alone."""
    if not installed():
        return "the package triton is not installed"
    for x in tensors:
        if type(x) not in (torch.Tensor, torch.nn.Parameter):
            return f"a {type(x).__name__} is no plain tensor"
        if not (x.is_cuda or (interpreted() and x.device.type == "cpu")):
            return f"a tensor is on {x.device.type}, and the kernels run on a card"
        if x.dtype not in DTYPES:
            return f"a tensor is {str(x.dtype).removeprefix('torch.')}, and the kernels take float32, bfloat16, float16"
    return None
