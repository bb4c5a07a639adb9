"""Context parallelism: each process reads a piece of every sequence, and keys and values of all before it.

PyTorch's `context_parallel` has kernels for GPUs alone: its table of operators lacks the one for CPUs. Here keys and
values are gathered, on any device, and each process attends from its own positions.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
from torch.nn import functional as F
from torch.nn.attention.bias import causal_lower_right
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

IMPLEMENTATION = "gathered_keys"
IGNORED = -100


def spread(model: PreTrainedModel, mesh: DeviceMesh) -> None:
    """Let the model's layers attend over pieces of sequences, in the order of a mesh of one axis."""

    def attention(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Any, **options: Any) -> tuple[Tensor, None]:
        return _attend(module, q, _gathered(k, mesh), _gathered(v, mesh), mesh, options), None

    ALL_ATTENTION_FUNCTIONS.register(IMPLEMENTATION, attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(IMPLEMENTATION, _no_mask)
    model.config._attn_implementation = IMPLEMENTATION
    model.config.get_text_config()._attn_implementation = IMPLEMENTATION


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """Positions say it all: a batch has no padding before its text, and no packed documents (see `piece`)."""


def _gathered(x: Tensor, mesh: DeviceMesh) -> Tensor:
    """[B, K, S, D] of this piece -> of all pieces; the gradient of a key is the sum of what all queries send it."""
    whole = DTensor.from_local(x, mesh, [Shard(2)], run_check=False).redistribute(placements=[Replicate()])
    return whole.to_local(grad_placements=[Partial()])


def _attend(module: Any, q: Tensor, k: Tensor, v: Tensor, mesh: DeviceMesh, options: dict[str, Any]) -> Tensor:
    """q [B, N, S, D], k and v [B, K, T, D] -> [B, S, N, D]. Keys past the last query of this piece are left out."""
    length = q.shape[2]
    end = (mesh.get_local_rank() + 1) * length
    seen: Any = causal_lower_right(length, end)
    if module.window is not None and module.window < end:
        places = torch.arange(end, device=q.device)
        ahead = places[-length:, None] - places
        seen = (ahead >= 0) & (ahead < module.window)
    k, v = (t[:, :, :end].repeat_interleave(module.num_key_value_groups, dim=1) for t in (k, v))
    y = F.scaled_dot_product_attention(
        q, k, v, attn_mask=seen, dropout_p=options.get("dropout", 0.0), scale=options.get("scaling")
    )
    return y.transpose(1, 2).contiguous()


def piece(inputs: dict[str, Any], mesh: DeviceMesh) -> dict[str, Any]:
    """A batch [B, S] as this process's piece of it: ids, positions, and labels that are shifted before they are cut.

    Sequences that do not divide are filled at their end, where nobody looks.

    Raises:
        ValueError: the batch holds something that cannot be cut, packed documents, or padding on the left.
    """
    ids, labels = inputs["input_ids"], inputs["labels"]
    others = set(inputs) - {"input_ids", "labels", "attention_mask", "num_items_in_batch"}
    if others:
        raise ValueError(f"parallel.cp: batches with {', '.join(sorted(others))} cannot be cut into pieces")
    mask = inputs.get("attention_mask")
    if mask is not None and not bool((mask.diff(dim=-1) <= 0).all()):
        raise ValueError("parallel.cp: texts must be padded on the right: a piece does not know what lies before it")
    size, rank = mesh.size(), mesh.get_local_rank()
    missing = -ids.shape[1] % size
    ids, labels = F.pad(ids, (0, missing)), F.pad(labels, (0, missing + 1), value=IGNORED)[:, 1:]
    length = ids.shape[1] // size
    mine = slice(rank * length, (rank + 1) * length)
    positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    kept = {name: value for name, value in inputs.items() if name == "num_items_in_batch"}
    cut = {"input_ids": ids, "position_ids": positions, "shift_labels": labels, "labels": labels}
    return {**kept, **{name: value[:, mine].contiguous() for name, value in cut.items()}}
