"""What a first backward pass leaves in the heap is given back before the optimizer makes its state.

glibc keeps freed memory where something lies above it. After the first pass that is a hundred megabytes of activations
and of what loading left; the optimizer's state, made then in large pieces, takes no place there, and the two together
are the most that a run on a CPU holds.
"""

import ctypes
import sys
from typing import Any

from transformers import TrainerCallback


class HeapCallback(TrainerCallback):
    """Before the first step of the optimizer."""

    given_back = False

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self.given_back:
            give_back()
            self.given_back = True


def give_back() -> None:
    """Pages of the heap that nothing lies on, to the system; where the C library is not glibc, nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
