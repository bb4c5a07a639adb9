"""Checkpoints of compressed-tensors with symmetric numbers of 4 or 8 bits become plain ones, experts too."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from nemo_automodel import NeMoAutoModelForCausalLM
from nemo_automodel.components.models.common.checkpoint.codecs import decoded
from tests.common.tiny_experts import TinyExpertsForCausalLM, rewrite, tiny_experts

pytestmark = pytest.mark.usefixtures("registered_experts")
WHERE = ("self_attn", "experts")


def packed(weight, bits, group):
    """The stored tensors of a matrix [R, C], and what they stand for."""
    rows, columns = weight.shape
    half = 1 << bits - 1
    blocks = weight.reshape(rows, -1, group)
    scales = (blocks.abs().amax(-1) / (half - 1)).to(torch.bfloat16)
    numbers = (blocks / scales.float()[..., None]).round().clamp(-half, half - 1)
    words = torch.zeros(rows, -(-columns * bits // 32), dtype=torch.int64)
    for column, value in enumerate((numbers.reshape(rows, columns).long() + half).unbind(1)):
        words[:, column * bits // 32] |= value << column * bits % 32
    words = torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)
    size = torch.tensor([rows, columns])
    plain = (numbers * scales.float()[..., None]).reshape(rows, columns)
    return {"_packed": words, "_scale": scales, "_shape": size}, plain


def rowwise(weight, dtype, most):
    scales = weight.abs().amax(-1, keepdim=True) / most
    numbers = (weight / scales).round() if dtype == torch.int8 else weight / scales
    return {"": numbers.to(dtype), "_scale": scales}, numbers.to(dtype).float() * scales


FORMS = {
    "int4": ("pack-quantized", 4, "int", lambda weight: packed(weight, 4, 8)),
    "int8 packed": ("pack-quantized", 8, "int", lambda weight: packed(weight, 8, weight.shape[1])),
    "int8": ("int-quantized", 8, "int", lambda weight: rowwise(weight, torch.int8, 127)),
    "float8": ("float-quantized", 8, "float", lambda weight: rowwise(weight, torch.float8_e4m3fn, 448)),
}


def folder(path, form, **weights):
    """A saved tiny model of experts in this form, and its plain weights."""
    name, bits, kind, quantise = FORMS[form]
    tiny_experts().save_pretrained(path)
    plain = load_file(path / "model.safetensors")
    stored = dict(plain)
    for key in [key for key in plain if any(part in key for part in WHERE) and plain[key].dim() == 2]:
        parts, plain[key] = quantise(stored.pop(key))
        stored |= {key + suffix: tensor for suffix, tensor in parts.items()}
    stored["model.blocks.0.self_attn.q_proj.input_scale"] = torch.ones(1)
    rewrite(path, lambda _: stored)
    group = {"targets": ["Linear"], "weights": {"num_bits": bits, "type": kind, "symmetric": True} | weights}
    said = {"quant_method": "compressed-tensors", "format": name, "config_groups": {"group_0": group}}
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"quantization_config": said}))
    return plain


@pytest.mark.parametrize("projections", ["split", "packed"])
@pytest.mark.parametrize("form", FORMS)
def test_they_are_decoded_and_saved_plain(form, projections, tmp_path, only_in_place):
    plain = folder(tmp_path, form)
    asked = SimpleNamespace(quant_method="compressed-tensors", dequantize=True)
    for options in ({}, {"quantization_config": asked}):
        model = NeMoAutoModelForCausalLM.from_pretrained(
            tmp_path, dtype=torch.float32, backend={"projections": projections}, **options
        )
        ours = model.state_dict_adapter.to_hf(model.state_dict())
        assert ours.keys() == plain.keys()
        assert all(torch.equal(ours[name], plain[name]) for name in plain)
    model.save_pretrained(tmp_path / "plain")
    assert "quantization_config" not in json.loads((tmp_path / "plain/config.json").read_text())
    assert load_file(tmp_path / "plain/model.safetensors").keys() == plain.keys()


def test_what_is_not_decoded_is_left_to_transformers(tmp_path):
    folder(tmp_path, "int4", symmetric=False)
    with pytest.raises(ImportError, match="compressed"):
        NeMoAutoModelForCausalLM.from_pretrained(tmp_path)


def test_a_config_that_does_not_say_so_is_told(tmp_path):
    folder(tmp_path, "int8")
    config = json.loads((tmp_path / "config.json").read_text())
    del config["quantization_config"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    rewrite(tmp_path, lambda tensors: {name: t for name, t in tensors.items() if not name.endswith("weight_scale")})
    with pytest.raises(ValueError, match="is torch.int8 where the model has floats .*model.safetensors.*quantised"):
        NeMoAutoModelForCausalLM.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is torch.int8 where"):
        TinyExpertsForCausalLM.from_pretrained(tmp_path)


def test_words_that_do_not_hold_the_numbers():
    stored = {"a.weight_packed": torch.zeros(2, 3, dtype=torch.int32), "a.weight_scale": torch.ones(2, 1)}
    assert decoded(stored).keys() == stored.keys()
    with pytest.raises(ValueError, match=r"\(2, 3\) words does not hold 2 x 8 numbers"):
        decoded(stored | {"a.weight_shape": torch.tensor([2, 8])})
