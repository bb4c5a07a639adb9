"""What norms are, read off what they were given and gave."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from nemo_automodel.parity.asked import Difference
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.judge import Stop
from nemo_automodel.parity.infer.norms import of_norms
from nemo_automodel.parity.tracing import Trace


class OnePlus(nn.RMSNorm):
    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * (1 + self.weight)


def said(norm, text="name: qwen3\nnorm: {cast: after_weight}\n"):
    torch.manual_seed(0)
    for parameter in norm.parameters():
        nn.init.normal_(parameter, mean=1.0)
    x = torch.randn(2, 5, 16)
    model = nn.ModuleDict({"norm": norm})
    config = SimpleNamespace(to_dict=lambda: {"norm_eps": 0.003, "eps": 0.83, "theta": 1e4, "hidden_act": "silu"})
    oracle = SimpleNamespace(
        trace=lambda batch: Trace({"norm": x}, {"norm": norm(x).detach()}),
        reference=SimpleNamespace(model=model, config=config),
    )
    stop = Stop(0, "outputs, one", "base", (Difference("norm"),))
    return list(of_norms(Candidate.read(text, "x"), stop, oracle))


@pytest.mark.parametrize(
    ("norm", "found"),
    [
        (nn.RMSNorm(16, eps=0.003), {"kind": "rmsnorm", "offset": 0, "eps": "config.norm_eps"}),
        (OnePlus(16, eps=1e-5), {"kind": "rmsnorm", "offset": 1, "eps": 1e-5}),
        (nn.LayerNorm(16, eps=0.003), {"kind": "layernorm", "offset": 0, "eps": "config.norm_eps", "bias": True}),
        (nn.LayerNorm(16, eps=1e-5, bias=False), {"kind": "layernorm", "offset": 0, "eps": 1e-5, "bias": False}),
    ],
)
def test_kind_offset_bias_and_epsilon_are_read(norm, found):
    assert said(norm) == [
        (("norm",), {"cast": "after_weight", **found}),  # beside what stands there
        (("parts", "norm"), {**found, "kind": "norm"}),  # or of this one alone
    ]


def test_what_is_no_such_norm_says_nothing():
    assert said(nn.Linear(16, 16)) == []
    assert said(nn.RMSNorm(16, eps=0.07)) == []  # an epsilon that is nowhere


def test_a_norm_of_another_kind_has_no_bias_of_the_old_one():
    """Under a condition too, where its epsilon was varied by much."""
    (path, norm), _ = said(nn.RMSNorm(16, eps=0.83), "name: qwen3\nnorm: {kind: layernorm, bias: false}\n")
    assert (path, norm) == (("norm",), {"kind": "rmsnorm", "offset": 0, "eps": "config.eps"})
