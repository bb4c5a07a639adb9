"""`codegen explain`: what a field of a spec means, where it is written, and which generated lines depend on it."""

from codegen.explain.explaining import explain

__all__ = ["explain"]
