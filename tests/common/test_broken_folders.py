"""A folder that was broken loads right, or is refused by one error that names it and speaks the names of the disk."""

import shutil

import pytest
import torch
import transformers as T

from nemo_automodel import NeMoAutoModelForCausalLM
from tests.common.broken_folders import broken
from tests.common.outer_folders import TEXT

WAYS = broken()
IDS = torch.arange(3, 15)[None]
OF_MEMORY = ("qkv_proj", "gate_up_proj", "experts.down_proj")  # what no checkpoint of these families calls a tensor
EXPERTS = {"head_dim": 8, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
FAMILIES = {
    "dense": lambda: T.LlamaForCausalLM(T.LlamaConfig(**TEXT)),
    "mixture": lambda: T.Qwen3MoeForCausalLM(T.Qwen3MoeConfig(**TEXT, **EXPERTS)),
}


def family_of(way):
    return "mixture" if way.startswith(("tensors", "header")) or "experts" in way or "moe_" in way else "dense"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """{family: (folder, logits)}."""
    found = {}
    for family, make in FAMILIES.items():
        torch.manual_seed(0)
        model, folder = make().eval(), tmp_path_factory.mktemp(family)
        model.save_pretrained(folder, max_shard_size="40KB")
        found[family] = folder, model(input_ids=IDS).logits.detach()
    return found


def load(folder, projections="packed"):
    backend = {"projections": projections}
    return NeMoAutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", backend=backend
    )


@pytest.mark.parametrize("way", WAYS)
def test_right_or_refused(way, good, tmp_path):
    source, right = good[family_of(way)]
    folder = tmp_path / "checkpoint"
    shutil.copytree(source, folder)
    WAYS[way](folder)
    try:
        model = load(folder)
    except (ValueError, OSError) as error:
        text = str(error)
        assert str(folder) in text and not any(name in text for name in OF_MEMORY), text
    except ImportError as error:
        assert "quantiz" in str(error)
    else:
        assert (model(input_ids=IDS).logits - right).abs().max() <= 1e-5 * right.abs().max()


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_whole_loads(family, good):
    folder, right = good[family]
    for projections in ("split", "packed"):
        assert (load(folder, projections)(input_ids=IDS).logits - right).abs().max() <= 1e-5 * right.abs().max()


def test_pickled_checkpoints(good, tmp_path):
    """They load as others do, and a broken one is named."""
    folder, right = good["dense"]
    model = load(folder, "split")
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    assert (load(tmp_path)(input_ids=IDS).logits - right).abs().max() <= 1e-5 * right.abs().max()
    data = (tmp_path / "pytorch_model.bin").read_bytes()
    for broken_data in (data[:100], data[: len(data) // 2], b"", b"nonsense" * 10):
        (tmp_path / "pytorch_model.bin").write_bytes(broken_data)
        with pytest.raises(ValueError, match="pytorch_model.bin cannot be read"):
            load(tmp_path)
    torch.save({"a": 3}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="pytorch_model.bin: a is no tensor"):
        load(tmp_path)


@pytest.mark.parametrize(
    "fields", [{"vocab_size": 1 << 40}, {"moe_intermediate_size": 1 << 42}, {"num_hidden_layers": 400}]
)
def test_sizes_of_another_checkpoint_are_told_before_memory_is_taken(fields, good, tmp_path, monkeypatch):
    folder = tmp_path / "checkpoint"
    shutil.copytree(good["mixture"][0], folder)
    monkeypatch.setattr(
        T.PreTrainedModel, "_load_pretrained_model", staticmethod(lambda *_, **__: pytest.fail("it was loaded"))
    )
    with pytest.raises(ValueError, match="would be lost(.|\n)*(on disk|has none)(.|\n)*config.json"):
        NeMoAutoModelForCausalLM.from_pretrained(folder, **fields)
