"""Positions that are computed: sines, then cosines, in fp32."""

import math

import pytest
import torch

from nemo_automodel.components.models.common.embedding import (
    Float32ScaledEmbedding,
    ScaledEmbedding,
    SinusoidalPositions,
)

POSITIONS = torch.tensor([[0, 3, 700]])


def expected(frequencies):
    angles = [[position * frequency for frequency in frequencies] for position in POSITIONS[0].tolist()]
    return torch.tensor([[*map(math.sin, row), *map(math.cos, row)] for row in angles])


def test_wavelengths_of_the_paper():
    frequencies = [1, 10000 ** (-2 / 6), 10000 ** (-4 / 6)]
    assert torch.allclose(SinusoidalPositions(6)(POSITIONS, torch.float32)[0], expected(frequencies), atol=1e-4)


def test_wavelengths_of_tensor2tensor_end_at_10000():
    found = SinusoidalPositions(6, "tensor2tensor")(POSITIONS, torch.float32)
    assert torch.allclose(found[0], expected([1, 1 / 100, 1 / 10000]), atol=1e-4)


def test_angles_are_computed_in_fp32_whatever_the_models_dtype():
    whole = SinusoidalPositions(8)(POSITIONS, torch.float32)
    half = SinusoidalPositions(8).to(torch.bfloat16)(POSITIONS, torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, whole.to(torch.bfloat16))


def test_an_odd_width_and_another_rule_are_refused():
    with pytest.raises(ValueError, match="even width, not 7"):
        SinusoidalPositions(7)
    with pytest.raises(ValueError, match="'learned' is neither base nor tensor2tensor"):
        SinusoidalPositions(8, "learned")


def test_the_scale_is_rounded_to_the_weights_dtype_or_not_at_all():
    ids, found = torch.arange(9)[None], {}
    for kind in (ScaledEmbedding, Float32ScaledEmbedding):
        torch.manual_seed(0)
        found[kind] = module = kind(9, 64, scale=math.sqrt(60)).to(torch.bfloat16)
        factor = torch.tensor(math.sqrt(60)).to(torch.bfloat16 if kind is ScaledEmbedding else torch.float32)
        assert torch.equal(module(ids)[0], (module.weight.float() * factor.float()).to(torch.bfloat16))
    assert not torch.equal(*(module(ids) for module in found.values()))
