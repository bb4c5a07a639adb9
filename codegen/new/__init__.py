"""`codegen new`: a spec drafted from a config.json and the names and shapes of a checkpoint's tensors."""

from codegen.new.drafting import draft, refuse_existing

__all__ = ["draft", "refuse_existing"]
