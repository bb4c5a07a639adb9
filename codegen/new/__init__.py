"""`codegen new`: a spec drafted from a config.json and the names and shapes of a checkpoint's tensors."""

from codegen.new.drafting import draft

__all__ = ["draft"]
