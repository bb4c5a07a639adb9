"""What norms are, read off what they were given and gave: kind, offset, bias and epsilon."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import nn

from nemo_automodel.parity.compare import distance
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.judge import Stop
from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.mutant import Path

BATCH, RMS = "short", "rmsnorm"
LITERALS = (1e-5, 1e-6, 1e-8, 1e-12)
LARGEST = 1.0  # that an epsilon may be, changed too
NEAR = 2e-6


def of_norms(candidate: Candidate, stop: Stop, oracle: Oracle) -> Iterator[tuple[Path, Any]]:
    """The section `norm` as each kind of norm that differs has it, and each of these as a part of its own."""
    trace, model = oracle.trace(BATCH), oracle.reference.model
    said = candidate.body.section("norm")
    found: dict[str, dict[str, Any]] = {}
    for path in (one.where for one in stop.inmost if one.where in trace.inputs and one.where in trace.outputs):
        norm = _read(model.get_submodule(path), trace.inputs[path], trace.outputs[path], _epsilons(oracle))
        if norm is not None:
            found[path] = norm
    yield from _within(candidate, found)
    for norm in (one for turn, one in enumerate(found.values()) if one not in [*found.values()][:turn]):
        kept = {name: one for name, one in said.items() if name != "bias" or norm["kind"] != RMS}  # which have none
        yield ("norm",), {**kept, **norm}
    for path, norm in found.items():
        name = path.removeprefix(f"{candidate.model(memory=True)}.")
        if name.isidentifier():
            yield ("parts", name), {**norm, "kind": "norm"}


def _within(candidate: Candidate, found: dict[str, dict[str, Any]]) -> Iterator[tuple[Path, Any]]:
    """The epsilons of norms that a mixer has by names of its own."""
    names = candidate.body.listed("attention", "inner_norms", "names")
    for path, norm in found.items():
        if path.rpartition(".")[2] in names:
            yield ("attention", "inner_norms", "eps"), norm["eps"]
            return


def _epsilons(oracle: Oracle) -> dict[Any, float]:
    fields = oracle.reference.config.to_dict().items()
    given = {f"config.{name}": one for name, one in fields if type(one) is float and 0 < one < LARGEST}
    return given | {one: one for one in LITERALS}


def _read(module: nn.Module, x: torch.Tensor, y: torch.Tensor, epsilons: dict[Any, float]) -> dict[str, Any] | None:
    """None for what is no norm of one weight for each channel."""
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if not isinstance(weight, torch.Tensor) or weight.shape != x.shape[-1:] or x.shape != y.shape:
        return None
    best, least = None, NEAR
    shift = bias.double() if isinstance(bias, torch.Tensor) else 0.0
    for (kind, centred), offset, (text, eps) in product(_centred(x), (0, 1), epsilons.items()):
        made = centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps) * (weight.double() + offset) + shift
        if (error := distance(made, y.double())) < least:
            found = {"kind": kind, "offset": offset, "eps": text} | ({"bias": bias is not None} if kind != RMS else {})
            best, least = found, error
    return best


def _centred(x: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    wide = x.double()
    return [(RMS, wide), ("layernorm", wide - wide.mean(-1, keepdim=True))]
