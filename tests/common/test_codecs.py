"""Block-wise float8 and MXFP4: what transformers' own dequantisation gives, bit for bit, and what it does not take."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import FineGrainedFP8Config, PreTrainedConfig
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from nemo_automodel.components.models.common.checkpoint.codecs import (
    BlockFloat8,
    MXFloat4,
    as_plain,
    block_size,
    decoded,
    without_quantization,
)

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def float8(*shape):
    return (torch.randn(shape) * 100).to(torch.float8_e4m3fn)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scales_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape, grid", [((256, 384), (2, 3)), ((3, 256, 128), (3, 2, 1)), ((64, 32), (1, 1))])
def test_float8_equals_transformers(shape, grid, scales_dtype, dtype):
    torch.manual_seed(0)
    values, scales = float8(*shape), torch.rand(grid).to(scales_dtype)
    theirs = Fp8Dequantize(None)._dequantize_one(values, scales, output_dtype=dtype)
    assert torch.equal(BlockFloat8.decode(values, scales).to(dtype), theirs)


def test_float8_with_a_last_block_that_is_not_full():
    """DeepSeek's kv_a_proj has 576 rows, four blocks and a half; transformers refuses them."""
    values, scales = float8(576, 300), torch.rand(5, 3)
    decoded_ = BlockFloat8.decode(values, scales)
    for row, column in ((0, 0), (127, 128), (128, 127), (511, 255), (512, 256), (575, 299)):
        assert decoded_[row, column] == values[row, column].float() * scales[row // 128, column // 128]


def test_every_float8_value_and_one_scale_for_all():
    values = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).view(16, 16)
    expected = values.float() * 0.37
    for scales in (torch.tensor(0.37), torch.tensor([0.37]), torch.tensor([[0.37]])):
        assert torch.equal(BlockFloat8.decode(values, scales).nan_to_num(7), expected.nan_to_num(7))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.sampled_from([1, 2, 4, 16, 32, 64, 128, 256]))
def test_block_sizes_follow_from_the_counts(size, block):
    count = -(-size // block)
    found = block_size(size, count)
    assert found == (size if count == 1 else block)


def test_grids_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="9 scales do not cover 100 values"):
        BlockFloat8.decode(float8(100, 100), torch.rand(9, 1))
    with pytest.raises(ValueError, match="blocks .* need scales of their first dimensions"):
        MXFloat4.decode(torch.zeros(1, 2, 3, 16, dtype=torch.uint8), torch.zeros(1, 2, 2, dtype=torch.uint8))


def mxfloat4(*shape, low=0, high=255):
    blocks = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8)
    return blocks, torch.randint(low, high, shape, dtype=torch.uint8)


@pytest.mark.parametrize("shape", [(2, 6, 3), (1, 1, 1), (5, 64, 2)])
def test_mxfloat4_equals_transformers(shape):
    torch.manual_seed(0)
    blocks, scales = mxfloat4(*shape, low=0, high=255)
    ours, theirs = MXFloat4.decode(blocks, scales), convert_moe_packed_tensors(blocks, scales)
    assert ours.dtype == torch.bfloat16 and ours.shape == (shape[0], shape[2] * 32, shape[1])
    assert torch.equal(ours.view(torch.int16), theirs.view(torch.int16))  # signs of zeros too


def test_every_byte_and_every_exponent_of_mxfloat4():
    blocks = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 255, 16, 16)
    scales = torch.arange(255, dtype=torch.uint8).view(1, 255, 1).expand(1, 255, 16)
    ours, theirs = MXFloat4.decode(blocks, scales), convert_moe_packed_tensors(blocks, scales)
    assert torch.equal(ours.view(torch.int16), theirs.view(torch.int16))
    lowest, highest = ours[0, 0x21 * 2 : 0x21 * 2 + 2, 127].tolist()
    assert (lowest, highest) == (0.5, 1.0)  # byte 0x21: the lower half comes first
    exponents = scales.view(torch.float8_e8m0fnu)
    assert torch.equal(MXFloat4.decode(blocks, exponents).view(torch.int16), ours.view(torch.int16))


def test_decoded_checkpoints_lose_their_scales_and_keep_the_rest():
    blocks, scales = mxfloat4(2, 4, 1, low=120, high=130)
    plain = torch.randn(3)
    tensors = {
        "a.weight": float8(128, 128),
        "a.weight_scale_inv": torch.rand(1, 1),
        "a.activation_scale": torch.rand(1),
        "experts.up_proj": float8(2, 128, 128),
        "experts.up_proj_scale_inv": torch.rand(2, 1, 1),
        "experts.down_proj_blocks": blocks,
        "experts.down_proj_scales": scales,
        "norm.weight": plain,
        "other_blocks": torch.zeros(2, dtype=torch.uint8),
        "b.activation_scale": plain,
    }
    out = decoded(tensors)
    assert set(out) == {
        "a.weight",
        "experts.up_proj",
        "experts.down_proj",
        "norm.weight",
        "other_blocks",
        "b.activation_scale",
    }
    assert out["norm.weight"] is plain
    assert out["experts.down_proj"].shape == (2, 32, 4)
    assert torch.equal(out["experts.down_proj"][...], MXFloat4.decode(blocks, scales))
    state_dict = as_plain(tensors)
    assert state_dict["a.weight"].dtype == state_dict["experts.up_proj"].dtype == torch.bfloat16
    expected = Fp8Dequantize(None)._dequantize_one(tensors["a.weight"], tensors["a.weight_scale_inv"], torch.bfloat16)
    assert torch.equal(state_dict["a.weight"], expected)


def test_float8_without_scales_is_refused():
    with pytest.raises(ValueError, match="a.weight is float8 and the checkpoint has no a.weight_scale_inv"):
        decoded({"a.weight": float8(2, 2)})


@pytest.mark.parametrize("method", ["fp8", "mxfp4"])
def test_configs_of_decoded_checkpoints_say_bfloat16(method):
    config = PreTrainedConfig()
    config.quantization_config = {"quant_method": method}
    plain = without_quantization(config)
    assert plain is not config and hasattr(config, "quantization_config")
    assert "quantization_config" not in plain.to_dict() and plain.dtype == torch.bfloat16
    config.dtype = torch.float16
    assert without_quantization(config).dtype == torch.float16


def test_other_quantisations_stay():
    config = PreTrainedConfig()
    assert without_quantization(config) is config
    for other in ({"quant_method": "bitsandbytes"}, {"quant_method": "fp8", "weight_block_size": [96, 96]}):
        config.quantization_config = other
        assert without_quantization(config) is config


def test_a_quantisation_given_as_an_object_counts_too():
    config = PreTrainedConfig()
    config.quantization_config = FineGrainedFP8Config()
    assert "quantization_config" not in without_quantization(config).to_dict()
