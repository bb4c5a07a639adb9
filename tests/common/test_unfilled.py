"""Fills that reach no memory: left out where a model is laid out for loading, and nowhere else."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig
from transformers.utils import ContextManagers

from nemo_automodel import NeMoAutoModelForCausalLM
from nemo_automodel.components.models.common.checkpoint.unfilled import FILLS, Unfilled


class Fills(TorchDispatchMode):
    """Within, the operators that fill a tensor are written down."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in ("uniform_", "normal_", "fill_", "zero_"):
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_model_is_laid_out_without_fills() -> None:
    sizes: dict[str, Any] = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    built = NeMoAutoModelForCausalLM.from_config(LlamaConfig(num_hidden_layers=1, **sizes))
    with Fills() as fills, ContextManagers(type(built).get_init_context(torch.float32, False, False, None)):
        laid = type(built)(built.config)
    assert fills.seen == []
    assert {name: one.shape for name, one in laid.state_dict().items()} == {
        name: one.shape for name, one in built.state_dict().items()
    }


@pytest.mark.parametrize("fill", sorted(FILLS, key=lambda one: one.__name__), ids=lambda one: one.__name__)
def test_tensors_with_memory_are_filled(fill: Any) -> None:
    """As without the mode, and random numbers go on from where they were."""
    arguments = {"constant_": (3.0,), "fill_": (3.0,), "sparse_": (0.5,)}.get(fill.__name__, ())

    def filled() -> torch.Tensor:
        torch.manual_seed(0)
        return fill(torch.full((4, 3, 2) if fill is nn.init.dirac_ else (4, 3), 7.0), *arguments)

    wanted = filled()
    with Unfilled():
        assert filled().equal(wanted)
    assert not wanted.eq(7.0).all()
