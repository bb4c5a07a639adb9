"""Names of the tensors of a mixture of experts in a checkpoint."""

from collections.abc import Iterator

from codegen.language.mlp import Moe
from codegen.plan.mixers.asked import Tensors

GATED, PLAIN = ("gate", "up", "down"), ("up", "down")


def tensors(tensors: Tensors, section: Moe, part: str, before: str) -> Iterator[str]:
    """Router, experts and shared experts, behind `before`."""
    yield f"{tensors.at(before, 'router', part)}.weight"
    router = section.router
    if router is not None and router.bias is not None and tensors.evaluated(router.bias):
        yield f"{tensors.at(before, 'router', part)}.bias"
    if router is not None and router.correction_bias is not None and tensors.evaluated(router.correction_bias):
        yield tensors.at(before, "correction_bias", part)
    yield from _routed(tensors, section, part, before)
    yield from _shared(tensors, section, part, before)
    yield from _latent(tensors, section, part, before)


def _latent(tensors: Tensors, section: Moe, part: str, before: str) -> Iterator[str]:
    if section.latent is None or not tensors.evaluated(section.latent):
        return
    has_bias = section.latent_bias is not None and tensors.evaluated(section.latent_bias)
    for role in ("latent_in", "latent_out"):
        yield f"{tensors.at(before, role, part)}.weight"
        if has_bias:
            yield f"{tensors.at(before, role, part)}.bias"


def _routed(tensors: Tensors, section: Moe, part: str, before: str) -> Iterator[str]:
    inside = tensors.name("experts", part)
    path = f"{before}{inside}." if inside else before
    if tensors.storage() == "per_expert":
        plain = section.experts is not None and section.experts.kind == "plain"
        yield from (f"{path}*.{tensors.name(role, 'experts')}.weight" for role in (PLAIN if plain else GATED))
    elif inside:
        yield path
    else:
        yield from (f"{before}input_linear.", f"{before}output_linear.")


def _shared(tensors: Tensors, section: Moe, part: str, before: str) -> Iterator[str]:
    shared = section.shared
    if shared is None or (shared.when is not None and not tensors.evaluated(shared.when)):
        return
    path = tensors.at(before, "shared", part)
    for role in PLAIN if shared.kind == "plain" else GATED:
        yield f"{path}.{tensors.name(role, 'shared')}.weight"
    if shared.gate == "sigmoid":
        yield f"{tensors.at(before, 'shared_gate', part)}.weight"
