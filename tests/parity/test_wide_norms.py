"""Norms of older references that round before they multiply: made to do as ours, and no others."""

import pytest
import torch
from torch import nn

from nemo_automodel.components.models.common.gated_norm import GatedRMSNorm
from nemo_automodel.components.models.common.norm import Float32RMSNorm, RMSNorm
from nemo_automodel.parity import wide_norms

WIDTH, EPS = 16, 1e-5


@pytest.mark.parametrize("older", [True, False])
def test_norms_that_round_first_multiply_in_fp32(monkeypatch, older):
    monkeypatch.setattr(wide_norms, "MULTIPLIES_NORMS_IN_FP32", not older)
    torch.manual_seed(0)
    x, weight = torch.randn(64, WIDTH).bfloat16(), torch.randn(WIDTH).bfloat16()
    reference = nn.ModuleDict({name: RMSNorm(WIDTH, EPS) for name in ("wide", "narrow")}).bfloat16()
    ours = nn.ModuleDict({"wide": Float32RMSNorm(WIDTH, EPS), "narrow": RMSNorm(WIDTH, EPS)}).bfloat16()
    for model in (reference, ours):
        for norm in model.values():
            norm.weight.data = weight.clone()
    wide_norms.widen_norms(reference, ours)
    assert torch.equal(reference["wide"](x), ours["wide"](x)) == older
    assert torch.equal(reference["narrow"](x), ours["narrow"](x))


def test_gated_norms_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(wide_norms, "MULTIPLIES_NORMS_IN_FP32", False)
    reference = nn.ModuleDict({"norm": GatedRMSNorm(WIDTH, EPS)})
    wide_norms.widen_norms(reference, nn.ModuleDict({"norm": Float32RMSNorm(WIDTH, EPS)}))
    assert "forward" not in vars(reference["norm"])
