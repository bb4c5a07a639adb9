"""What a spec means, by executing it: (spec, config, tensors on disk, ids, mask) -> logits.

One slow reading of the language that shares no code with the generator or the library: no cache, no packing, no
generated code. Nothing here is keyed by a family. Random specs are compared with it (`tests/random_specs`).
"""

from tests.reference.interpreter.model import Interpreter

__all__ = ["Interpreter"]
