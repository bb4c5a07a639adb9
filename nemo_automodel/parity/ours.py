"""Builds the generated model with given weights, without the entry points: parity judges the model, not the loader."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from nemo_automodel.components.models.common.checkpoint.rules import Transpose
from nemo_automodel.components.models.common.mask_kinds import TokenMixer

BACKENDS = {"split": {"projections": "split", "experts": "loop"}, "packed": {"projections": "packed"}}


def build_ours(
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    disk: Mapping[str, torch.Tensor],
    *,
    backend: str = "split",
    attention: str = "eager",
    dtype: torch.dtype = torch.float32,
) -> PreTrainedModel:
    """The model in eval mode, with the tensors of a checkpoint. Raises KeyError for missing or unexpected ones.

    backend: `split` does everything as references do, one after the other; `packed` is the default with fused
    projections. In half precision both add up experts as references do: another order of additions would now and then
    make the next router choose another expert, beside which no rounding shows. There `split` also keeps the matrices of
    GPT-2's Conv1D as they are stored: processors without products in bf16 add up in an order that goes by the layout.
    """
    options = BACKENDS[backend] | ({} if dtype == torch.float32 else {"experts": "loop"})
    model = model_class._from_config(config, dtype=dtype, attn_implementation=attention, backend=options)
    load(model, disk)
    if backend == "split" and dtype != torch.float32:
        _lay_as_stored(model, disk)
    return model.eval()


def in_fp32(ours: PreTrainedModel, disk: Mapping[str, torch.Tensor]) -> PreTrainedModel:
    """The same model with the same weights as they were before they were rounded."""
    config, kind = copy.deepcopy(ours.config), type(ours)
    attention = ours.config._attn_implementation
    model = kind._from_config(config, dtype=torch.float32, attn_implementation=attention, backend=ours.backend)
    load(model, disk)
    return model.eval()


def load(model: PreTrainedModel, disk: Mapping[str, torch.Tensor]) -> None:
    """Copies the tensors of a checkpoint into the model, all of them and nothing else."""
    found = model.load_state_dict(dict(disk), strict=False)
    missing = sorted(set(found.missing_keys) - set(model.all_tied_weights_keys))
    if missing or found.unexpected_keys:
        raise KeyError(f"missing in the checkpoint: {missing}; unexpected: {sorted(found.unexpected_keys)}")
    model.tie_weights()


def _lay_as_stored(model: Any, disk: Mapping[str, torch.Tensor]) -> None:
    """Transposed matrices keep the checkpoint's order in memory; their shapes and values stay."""
    for name, source in model.state_dict_adapter.sources(disk).items():
        if isinstance(source.rule, Transpose):
            tensor = model.get_parameter(name)
            tensor.data = tensor.data.t().contiguous().t()


def has_one_order(ours: nn.Module) -> bool:
    """Whether every token mixer sums as transformers' class does, term by term."""
    return all(module.has_one_order for module in ours.modules() if isinstance(module, TokenMixer))
