"""Quantised checkpoints of routed experts: decoded on load, exported plain."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from nemo_automodel import NeMoAutoModelForCausalLM
from tests.common.tiny_experts import DISK, EXPERT, TinyExpertsForCausalLM, rewrite, tiny_experts

pytestmark = pytest.mark.usefixtures("registered_experts")


def load(path, **kwargs):
    return NeMoAutoModelForCausalLM.from_pretrained(path, **kwargs)


def quantise_float8(tensors, block=16):
    """Every matrix but embedding, head and router in float8 with a random factor to a block; returns what it means."""
    out, plain = {}, {}
    for name, tensor in tensors.items():
        if tensor.dim() < 2 or any(word in name for word in ("embed", "lm_head", "gate.weight")):
            out[name] = plain[name] = tensor.to(torch.bfloat16)
            continue
        values = (tensor * 50).to(torch.float8_e4m3fn)
        scales = torch.rand([-(-size // block) for size in tensor.shape]) / 50
        out[name], out[f"{name}_scale_inv"] = values, scales
        plain[name] = Fp8Dequantize(None)._dequantize_one(values, scales, torch.bfloat16)
    return out, plain


def quantise_mxfp4(tensors):
    out, plain = {}, {}
    for name, tensor in tensors.items():
        if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            experts, columns, rows = tensor.shape
            blocks = torch.randint(0, 256, (experts, rows, columns // 32, 16), dtype=torch.uint8)
            scales = torch.randint(120, 128, blocks.shape[:-1], dtype=torch.uint8)
            out[f"{name}_blocks"], out[f"{name}_scales"] = blocks, scales
            plain[name] = convert_moe_packed_tensors(blocks, scales)
        else:
            out[name] = plain[name] = tensor.to(torch.bfloat16)
    return out, plain


METHODS = {"fp8": (quantise_float8, False, {"weight_block_size": [16, 16]}), "mxfp4": (quantise_mxfp4, True, {})}


def quantised(path, method):
    """A quantised checkpoint at `path`, and the plain tensors that it stands for."""
    quantise, stored, fields = METHODS[method]
    tiny_experts(stored=stored, num_experts=4, head_dim=16).save_pretrained(path)
    torch.manual_seed(0)
    kept = {}

    def change(tensors):
        out, plain = quantise(tensors)
        kept.update(plain)
        return out

    rewrite(path, change)
    config = json.loads((path / "config.json").read_text())
    config |= {"quantization_config": {"quant_method": method, **fields}, "dtype": "bfloat16"}
    (path / "config.json").write_text(json.dumps(config))
    return kept


def assert_stands_for(model, plain):
    disk = model.state_dict_adapter.to_hf(model.state_dict())
    assert set(disk) == set(plain)
    for name, tensor in disk.items():
        assert torch.equal(tensor.to(torch.bfloat16), plain[name]), name


@pytest.mark.parametrize("method", METHODS)
def test_quantised_checkpoints_are_decoded_and_exported_plain(method, tmp_path, only_in_place):
    plain = quantised(tmp_path / "in", method)
    loaded, info = load(tmp_path / "in", output_loading_info=True)
    assert not any(info.values())
    assert {p.dtype for name, p in loaded.named_parameters() if "correction" not in name} == {torch.bfloat16}
    assert_stands_for(loaded, plain)
    assert not hasattr(loaded.config, "quantization_config") and not hasattr(loaded, "hf_quantizer")
    loaded.save_pretrained(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "quantization_config" not in config and config["dtype"] == "bfloat16"
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert set(stored) == set(plain)
    assert all(torch.equal(stored[name].to(torch.bfloat16), tensor) for name, tensor in plain.items())


@pytest.mark.parametrize("projections", ["split", "packed"])
@pytest.mark.parametrize("method", METHODS)
def test_quantised_checkpoints_by_transformers_loader(method, projections, tmp_path, never_in_place):
    plain = quantised(tmp_path, method)
    assert_stands_for(load(tmp_path, backend={"projections": projections}), plain)


@pytest.mark.parametrize("method", METHODS)
def test_quantised_checkpoints_by_the_class_itself_and_as_state_dicts(method, tmp_path):
    plain = quantised(tmp_path, method)
    loaded = TinyExpertsForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert_stands_for(loaded, plain)
    config = AutoConfig.from_pretrained(tmp_path)
    config.quantization_config = None
    model = TinyExpertsForCausalLM._from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert_stands_for(model, plain)


@pytest.mark.parametrize("grid", [(4, 2, 4), (4, 1, 1), (1, 1, 1), ()])
def test_stored_experts_in_float8(grid, tmp_path):
    """Scales for each expert's blocks or each expert (read one by one), or one for all (decoded as a whole)."""
    model = tiny_experts(stored=True, num_experts=4)
    model.save_pretrained(tmp_path)
    name = "model.blocks.1.mlp.experts.gate_up_proj"
    values, scales = (torch.randn(4, 32, 64) * 50).to(torch.float8_e4m3fn), torch.rand(grid)
    rewrite(tmp_path, lambda tensors: {**tensors, name: values, f"{name}_scale_inv": scales})
    loaded = load(tmp_path)
    blocks = scales.repeat_interleave(16, 1).repeat_interleave(16, 2) if grid == (4, 2, 4) else scales
    stored = dict(loaded.state_dict_adapter.convert_single_tensor_to_hf(name, loaded.get_parameter(name)))[name]
    assert torch.equal(stored, values.float() * blocks)


def test_quantised_checkpoints_are_not_offloaded(tmp_path):
    quantised(tmp_path, "fp8")
    with pytest.raises(ValueError, match="a quantised checkpoint, or .* cannot be offloaded to the disk"):
        load(tmp_path, device_map=DISK, offload_folder=tmp_path / "offload")


def test_a_lost_scale_is_told(tmp_path):
    quantised(tmp_path, "fp8")
    lost = EXPERT.format(0, 2, "w1") + "_scale_inv"
    rewrite(tmp_path, lambda tensors: {name: t for name, t in tensors.items() if name != lost})
    with pytest.raises(ValueError, match=r"experts\.2\.w1\.weight is float8 and the checkpoint has no"):
        load(tmp_path)
