"""What exists once for the whole model, and so has no place in an overlay for some layers."""

from collections.abc import Iterator

from codegen.errors import Problem
from codegen.language.load import Node

WHOLE = ("input", "output", "head", "embedding", "positions")  # sections
ALIKE = ("transposed", "unsqueezed", "experts", "drop")  # keys of `checkpoint`: rules know names, no layers
OUTSIDE = ("model", "layers", "head")  # roles of `checkpoint.names`


def problems(overlay: Node, path: str, per_layer: bool) -> Iterator[Problem]:
    """What an overlay says that it cannot change; `per_layer`: it is one of `layers`, else of `variants`."""
    sections = overlay.mapping or {}
    for name in WHOLE if per_layer else ():
        if name in sections:
            cure = "write it at the top of the file, or under `variants`"
            yield Problem(overlay.key_at[name], f"{path}.{name}", "exists once for the whole model", cure)
    checkpoint = sections.get("checkpoint")
    if checkpoint is None or checkpoint.mapping is None:
        return
    for name in ALIKE:
        if name in checkpoint.mapping:
            message, cure = "holds for all layers and variants alike", "write it under the file's own `checkpoint`"
            yield Problem(checkpoint.key_at[name], f"{path}.checkpoint.{name}", message, cure)
    names = checkpoint.mapping.get("names")
    if per_layer and names is not None and names.mapping is not None:
        for role in names.mapping.keys() & set(OUTSIDE):
            where, cure = f"{path}.checkpoint.names.{role}", "write it under the file's own `checkpoint`"
            yield Problem(names.key_at[role], where, "exists once for the whole model", cure)
