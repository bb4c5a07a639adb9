"""`codegen explain`: what a field of a spec means, where it is written, and which generated lines depend on it; or the
picture of a model."""

from codegen.explain.explaining import explain, graph

__all__ = ["explain", "graph"]
