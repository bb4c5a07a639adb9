"""What `shard` takes: layers whose parameters are of more than one dtype."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import Glm4MoeConfig, TrainingArguments

from nemo_automodel import NeMoAutoModelForCausalLM
from nemo_automodel.components.moe.balance import routers
from nemo_automodel.recipes.sharding import ShardedTrainer, shard

SIZES = {"hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 16, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 32, "pad_token_id": None}
EXPERTS = {"n_routed_experts": 6, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1}


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A process group of one."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_routers_in_fp32_within_layers_in_bf16(alone: None) -> None:
    """They stay what they are; FSDP takes one dtype of trainable parameters a group."""
    model = NeMoAutoModelForCausalLM.from_config(Glm4MoeConfig(**SIZES, **HEADS, **EXPERTS)).bfloat16()
    for router in routers(model).values():
        router.weight.data = router.weight.data.float()
    ids = torch.arange(12).view(1, 12)
    expected = copy.deepcopy(model)
    expected(input_ids=ids, labels=ids).loss.backward()
    shard(model, "cpu")
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    assert torch.equal(loss, expected(input_ids=ids, labels=ids).loss)
    wanted = dict(expected.named_parameters())
    for name, parameter in model.named_parameters():
        assert parameter.dtype == wanted[name].dtype
        torch.testing.assert_close(parameter.grad.full_tensor(), wanted[name].grad)


def test_layers_within_layers(alone: None) -> None:
    """Some towers name the whole of them beside its layers."""
    model = NeMoAutoModelForCausalLM.from_config(Glm4MoeConfig(**SIZES, **HEADS, **EXPERTS))
    ids = torch.arange(12).view(1, 12)
    expected = model(input_ids=ids, labels=ids).loss
    inner = type(model.model.layers[0].self_attn).__name__
    model._no_split_modules = {*model._no_split_modules, inner}
    shard(model, "cpu")
    assert {
        type(module).__name__.removeprefix("FSDP") for module in model.modules() if isinstance(module, FSDPModule)
    } == {
        *model._no_split_modules,
        "Glm4MoeForCausalLM",
    }
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    assert torch.equal(loss, expected) and model.lm_head.weight.grad is not None


def test_the_state_of_an_optimizer_that_was_kept_by_groups_is_read(alone: None, tmp_path: Path) -> None:
    """As runs kept it before they kept it by names."""

    def trainer() -> ShardedTrainer:
        torch.manual_seed(0)
        model = NeMoAutoModelForCausalLM.from_config(Glm4MoeConfig(**SIZES, **HEADS, **EXPERTS))
        shard(model, "cpu")
        made = ShardedTrainer(model, TrainingArguments(tmp_path / "out", use_cpu=True, report_to="none"))
        made.create_optimizer_and_scheduler(2)
        return made

    saved, read = trainer(), trainer()
    ids = torch.arange(12).view(1, 12)
    saved.model(input_ids=ids, labels=ids).loss.backward()
    saved.optimizer.step()
    saved.lr_scheduler.step()
    state = {"optimizer": get_optimizer_state_dict(saved.model, saved.optimizer)}
    dcp.save(state, checkpoint_id=tmp_path / "optimizer")
    torch.save(saved.lr_scheduler.state_dict(), tmp_path / "scheduler.pt")
    read._load_optimizer_and_scheduler(str(tmp_path))
    for one, other in zip(saved.model.parameters(), read.model.parameters(), strict=True):
        assert one.grad is None or read.optimizer.state[other]["exp_avg"].equal(saved.optimizer.state[one]["exp_avg"])
    assert read.lr_scheduler.get_last_lr() == saved.lr_scheduler.get_last_lr()


@pytest.mark.parametrize(("each", "reduced"), [(False, [False, True] * 2), (True, [True] * 4)])
def test_gradients_are_reduced_with_the_last_batch_of_a_step(
    alone: None, tmp_path: Path, each: bool, reduced: list[bool]
) -> None:
    """Until then they and parameters are whole. What is learned is the same, which other tests hold beside one
    process."""
    model = NeMoAutoModelForCausalLM.from_config(Glm4MoeConfig(**SIZES, **HEADS, **EXPERTS))
    shard(model, "cpu")
    found = []

    class Watched(ShardedTrainer):
        def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
            loss = super().training_step(*args, **kwargs)
            weight = model.lm_head.weight
            found.append({isinstance(weight, DTensor), isinstance(weight.grad, DTensor)})
            return loss

    how = {"gradient_accumulation_kwargs": {"sync_each_batch": each}}
    steps = {"max_steps": 2, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 1}
    arguments = TrainingArguments(tmp_path / "out", use_cpu=True, report_to="none", accelerator_config=how, **steps)
    rows = [{"input_ids": torch.arange(8), "labels": torch.arange(8)} for _ in range(4)]
    Watched(model, arguments, train_dataset=rows).train()
    assert found == [{one} for one in reduced]
