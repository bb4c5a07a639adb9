"""What can go wrong with experts in whole models: on the disk, through the entry points, and in what tokens are given.

Generated models of families whose experts lie on disk one by one (mixtral), beside shared ones and a correction bias
(deepseek_v3), and stacked (mistral4), against transformers' own.
"""

import json
import random
import re
from functools import cache

import pytest
import torch
from safetensors.torch import save_file

from nemo_automodel import NeMoAutoModelForCausalLM
from nemo_automodel.components.moe.balance import routers
from nemo_automodel.components.moe.layers import MoE
from nemo_automodel.parity import proof
from nemo_automodel.parity.__main__ import main
from nemo_automodel.parity.project import open_project
from nemo_automodel.parity.reference import Reference
from nemo_automodel.parity.tolerances import FP32
from tests.moe.test_dispatch import ROOT

FAMILIES = ("mixtral", "deepseek_v3", "mistral4")
IDS = torch.randint(3, 131, (2, 14), generator=torch.Generator().manual_seed(2))


@cache
def project(family):
    return open_project(family, ROOT)


@cache
def reference(family):
    """Randomised, in fp32. Read only."""
    return Reference(project(family).subject(), project(family).configs["base"])


def write(folder, family, tensors, shards=1):
    """A checkpoint of these tensors, in their order, dealt to files whose numbers fall."""
    reference(family).config.save_pretrained(folder)
    tensors, index = list(tensors.items()), {}
    for number in range(shards):
        file = f"model-{shards - number:05}-of-{shards:05}.safetensors" if shards > 1 else "model.safetensors"
        share = {name: tensor.contiguous() for name, tensor in tensors[number::shards]}
        save_file(share, folder / file, {"format": "pt"})
        index.update(dict.fromkeys(share, file))
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def load(folder):
    return NeMoAutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(ids, use_cache=False).logits


def assert_close(ours, theirs):
    assert (ours - theirs).abs().max() <= FP32 * theirs.abs().max()


def of_experts(disk, layer, part):
    """The tensors of a layer's experts: {name: tensor}, of one expert or stacked."""
    pattern = rf"\.{layer}\..*\.experts\.(\d+\.{part}|{part}$)"
    found = {name: tensor for name, tensor in disk.items() if re.search(pattern, name)}
    assert found, f"{part} in {list(disk)}"
    return found


DOWN = {"mixtral": "w2", "deepseek_v3": "down_proj", "mistral4": "down_proj"}


def swapped(disk, family):
    """The last layer's experts 0 and 1 in each other's place, in full."""
    disk = dict(disk)
    for name in [name for name in disk if re.search(r"\.3\..*\.experts\.0\.", name)]:
        other = name.replace(".experts.0.", ".experts.1.")
        disk[name], disk[other] = disk[other], disk[name]
    for name in [name for name in disk if re.search(r"\.3\..*\.experts\.[a-z_]+$", name)]:
        disk[name] = disk[name][[1, 0, *range(2, len(disk[name]))]]
    return disk


def with_nan(disk, family):
    """The last layer's expert 1 with one number that is none."""
    disk = dict(disk)
    found = of_experts(disk, 3, DOWN[family])
    name = next((name for name in found if ".experts.1." in name), next(iter(found)))
    disk[name] = disk[name].clone()
    (disk[name] if ".experts.1." in name else disk[name][1])[0, 0] = float("nan")
    return disk, name


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_and_shards_in_any_order(family, tmp_path):
    tensors = list(reference(family).disk.items())
    random.Random(4).shuffle(tensors)
    write(tmp_path, family, dict(tensors), shards=5)
    assert_close(logits(load(tmp_path)), logits(reference(family).model))


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("family", [*FAMILIES, "llama"])
def test_a_truncated_shard_is_named(family, shards, tmp_path):
    write(tmp_path, family, reference(family).disk, shards)
    last = sorted(tmp_path.glob("*.safetensors"))[-1]
    last.write_bytes(last.read_bytes()[:-9])
    with pytest.raises(ValueError, match=rf"{last.name} is cut short: \d+ of \d+ bytes; fetch or write the file again"):
        NeMoAutoModelForCausalLM.from_pretrained(tmp_path)  # finds its dtype in the files
    assert main([family, "--root", str(ROOT), "--checkpoint", str(tmp_path)]) == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_a_missing_expert_is_listed(family, tmp_path, capsys):
    disk = dict(reference(family).disk)
    for name, tensor in of_experts(disk, 2, DOWN[family]).items():
        if ".experts.3." in name:
            del disk[name]
        elif tensor.dim() == 3:
            disk[name] = tensor[:-1]
    write(tmp_path, family, disk)
    with pytest.raises(ValueError, match=r"layers\.2\..*\.experts(.|\n)*(missing 3$|on disk .*7, .*in the model .*8,)"):
        load(tmp_path)
    assert main([family, "--root", str(ROOT), "--checkpoint", str(tmp_path)]) == 2
    assert "layers.2." in capsys.readouterr().err


@pytest.mark.parametrize("family", FAMILIES)
def test_experts_swapped_on_disk_are_another_model_and_parity_says_where(family, tmp_path):
    write(tmp_path, family, swapped(reference(family).disk, family))
    wanted = logits(reference(family).model)
    assert (logits(load(tmp_path)) - wanted).abs().max() > 1e-3 * wanted.abs().max()
    against = Reference(project(family).subject(), project(family).configs["base"])
    against.disk = swapped(against.disk, family)  # what we read, where the reference has read the other
    result = proof.compare(project(family).subject(), against, "base", "split")
    assert not result.passed
    assert result.first_difference.startswith("model.layers.3")


@pytest.mark.parametrize("family", FAMILIES)
def test_an_expert_with_nan_spoils_its_own_tokens_as_in_transformers(family, tmp_path, capsys):
    disk, name = with_nan(reference(family).disk, family)
    write(tmp_path, family, disk)
    theirs = reference(family).load(tmp_path).eval()
    ours, wanted = logits(load(tmp_path)), logits(theirs)
    spoiled = wanted.isnan().any(-1)
    assert 0 < spoiled.sum() < spoiled.numel()
    assert ours.isnan().any(-1).equal(spoiled)
    assert_close(ours[~spoiled], wanted[~spoiled])
    assert main([family, "--root", str(ROOT), "--checkpoint", str(tmp_path)]) == 2
    assert f"{name} holds NaN or infinity" in capsys.readouterr().err


def gradients(model, ids=IDS):
    model.zero_grad()
    loss = model(ids, labels=ids, use_cache=False).loss
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("chosen", [1, 3])
def test_all_tokens_to_a_few_experts_and_none_to_the_others(chosen, tmp_path):
    """By a correction bias beside which no score counts: all to one expert where each token gets one."""
    subject, values = project("deepseek_v3").subject(), project("deepseek_v3").configs["base"]
    theirs = Reference(subject, {**values, "num_experts_per_tok": chosen, "n_group": 1, "topk_group": 1})
    for name, buffer in theirs.model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer[:chosen] += 9.0
    for dtype, bound in ((torch.float32, FP32), (torch.bfloat16, 0.05)):
        ours = load(theirs.folder).to(dtype).train()
        loss, grads = gradients(ours)
        wanted, expected = gradients(theirs.model.train())
        assert abs(loss - wanted) <= bound * wanted
        for router in routers(ours).values():
            assert router.load.tolist() == [IDS.numel()] * chosen + [0] * (8 - chosen)
        for name, grad in grads.items():
            if ".experts." in name:
                assert grad[chosen:].abs().max() == 0 and grad[:chosen].isfinite().all(), name
        gate = "model.layers.2.mlp.gate.weight"
        assert (grads[gate] - expected[gate]).abs().max() <= 4 * bound * expected[gate].abs().max().clamp(min=1e-4)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", [*FAMILIES, "llama"])
def test_an_empty_batch(family, attention):
    """Of no texts: nothing comes out, and no gradient; of texts without any position: an error that says so."""
    model = NeMoAutoModelForCausalLM.from_pretrained(reference(family).folder, attn_implementation=attention).train()
    loss, grads = gradients(model, torch.empty(0, 7, dtype=torch.long))
    assert loss == 0 and all(grad is None or grad.abs().max() == 0 for grad in grads.values())
    assert logits(model, torch.empty(0, 7, dtype=torch.long)).shape == (0, 7, 131)
    with pytest.raises(ValueError, match="2 texts without any position: give at least one token to each"):
        model(torch.empty(2, 0, dtype=torch.long))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_padding_alone_reaches_no_expert(family):
    model = load(reference(family).folder).train()
    out = model(IDS, attention_mask=torch.zeros_like(IDS), labels=torch.full_like(IDS, -100))
    assert out.logits.isfinite().all()
    assert [m for m in model.modules() if isinstance(m, MoE)]
    assert all(router.load.sum() == 0 for router in routers(model).values())
