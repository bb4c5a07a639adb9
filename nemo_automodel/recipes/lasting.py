"""Imports of a program that begins: what they make lives as long as it, and need not be searched for garbage.

torch and transformers make some 400,000 objects. While they are imported a full collection comes seven times, and
later every one walks all of them again: a quarter of the time until a small model has made its first step.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

NEVER = 1 << 30


@contextmanager
def lasting() -> Iterator[None]:
    """Within, only young objects are searched; those that are there at the end never again. Nothing of the sort in a
    program that has torch already: what lives there is not known to last."""
    if "torch" in sys.modules:
        yield
        return
    usual = gc.get_threshold()
    gc.set_threshold(*usual[:2], NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
    gc.freeze()
