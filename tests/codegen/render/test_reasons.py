"""`why:` beside any section becomes a comment of the generated code, or is refused: never lost."""

from typing import Any

import pytest

from codegen.errors import SpecError
from codegen.render.files import model_files
from tests.random_specs.fields import framed
from tests.random_specs.package import planned

WHY = "a reason that is told"
MOE: dict[str, Any] = {"kind": "moe"}
PLACES: dict[str, dict[str, Any]] = {
    "norm": {"norm": {"why": WHY}},
    "rope": {"rope": {"why": WHY}},
    "attention": {"attention": {"why": WHY}},
    "attention.qk_norm": {"attention": {"qk_norm": {"over": "head", "why": WHY}}},
    "attention.gate": {"attention": {"gate": {"per": "head", "why": WHY}}},
    "attention.alibi": {"rope": "none", "attention": {"alibi": {"scaled": True, "why": WHY}}},
    "attention.latent_norm": {"attention": {"kind": "mla", "latent_norm": {"eps": 1e-5, "why": WHY}}},
    "attention.gate of mla": {"attention": {"kind": "mla", "gate": {"per": "head", "why": WHY}}},
    "mlp": {"mlp": {"why": WHY}},
    "mlp.glu": {"mlp": {"glu": {"limit": "7.0", "why": WHY}}},
    "mlp of experts": {"mlp": {**MOE, "why": WHY}},
    "mlp.router": {"mlp": {**MOE, "router": {"why": WHY}}},
    "mlp.router.groups": {"mlp": {**MOE, "router": {"groups": {"count": "4", "keep": "2", "why": WHY}}}},
    "mlp.router.renormalize": {"mlp": {**MOE, "router": {"renormalize": {"why": WHY}}}},
    "mlp.experts": {"mlp": {**MOE, "experts": {"why": WHY}}},
    "mlp.shared": {"mlp": {**MOE, "shared": {"width": "40", "why": WHY}}},
    "mlp.glu of experts": {"mlp": {**MOE, "glu": {"limit": "7.0", "why": WHY}}},
    "head": {"head": {"bias": True, "why": WHY}},
    "embedding": {"embedding": {"why": WHY}},
    "dropout": {"dropout": {"embedding": "0.1", "why": WHY}},
    "checkpoint": {"checkpoint": {"names": {"q": "query"}, "why": WHY}},
    "layers": {"layers": {"when": "layer == 0", "mlp": {"kind": "plain"}, "why": WHY}},
    "layers over attention": {"layers": {"when": "layer == 0", "attention": {"window": "5"}, "why": WHY}},
    "layers over rope": {"layers": {"when": "layer == 0", "rope": "none", "why": WHY}},
}


@pytest.mark.parametrize("place", PLACES)
def test_a_reason_is_a_comment(place: str) -> None:
    files = model_files(planned(framed("reasons", PLACES[place])).model)
    comments = [line.strip() for text in files.values() for line in text.splitlines() if line.strip().startswith("#")]
    assert any(WHY in comment for comment in comments), f"the reason of {place} is lost"


@pytest.mark.parametrize("key", ["names", "memory", "fused"])
def test_storage_has_one_place_for_reasons(key: str) -> None:
    with pytest.raises(SpecError):
        planned(framed("reasons", {"checkpoint": {key: {"why": WHY}}}))
