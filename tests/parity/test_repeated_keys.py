"""One head of keys and values: what torch's kernels round otherwise is no difference between two models."""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from nemo_automodel.parity.repeated_keys import repeat_keys


class OneHeadAttention(nn.Module):
    def forward(self, q, kv, repeated=False):
        kv = kv.expand_as(q) if repeated else kv
        return F.scaled_dot_product_attention(q, kv, kv, is_causal=True)


def test_a_reference_repeats_its_one_head_of_keys():
    torch.manual_seed(0)
    q, kv = torch.randn(2, 6, 24, 10).bfloat16(), torch.randn(2, 1, 24, 10).bfloat16()
    model = nn.Sequential(OneHeadAttention())
    wanted = model[0](q, kv, repeated=True)
    assert not torch.equal(model[0](q, kv), wanted)
    repeat_keys(model)
    assert torch.equal(model[0](q, kv), wanted) and torch.equal(copy.deepcopy(model)[0](q, kv), wanted)
