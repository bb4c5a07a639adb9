"""Tensor parallelism: projections cut by columns and rows, as the plan in the model says (`tp_plan`).

Plans are those of transformers' configs, in the names of memory; here their words become PyTorch's styles.
"""

import re
from typing import Any

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_module, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from transformers import PreTrainedModel

from nemo_automodel.components.models.common.combined_projection.packing import PackedLinear


class PackedColumns(ParallelStyle):
    """Columns of a packed projection, whose rows are whole groups of heads: x -> the part of y that is here."""

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        return distribute_module(module, device_mesh, _by_rows, _replicated, _local)


def _by_rows(name: str, module: nn.Module, mesh: DeviceMesh) -> None:
    for own, parameter in list(module.named_parameters(recurse=False)):
        rows = distribute_tensor(parameter.detach(), mesh, [Shard(0)])
        module.register_parameter(own, nn.Parameter(rows, parameter.requires_grad))


def _replicated(module: nn.Module, inputs: Any, mesh: DeviceMesh) -> DTensor:
    return DTensor.from_local(inputs[0], mesh, [Replicate()], run_check=False)


def _local(module: nn.Module, output: DTensor, mesh: DeviceMesh) -> Any:
    return output.to_local()


COLUMNS, GATHERED = ColwiseParallel(), ColwiseParallel(output_layouts=Replicate())
ROWS, CUT = RowwiseParallel(), RowwiseParallel(input_layouts=Replicate())
STYLES: dict[str, ParallelStyle] = {
    "colwise": COLUMNS,
    "colwise_gather_output": GATHERED,
    "colwise_rep": GATHERED,  # an older word for it
    "rowwise": ROWS,
    "rowwise_split_input": CUT,
    "rowwise_rep": CUT,
    "embedding_rowwise": CUT,
    # A norm of heads, some of which are here: its gradient is the sum over all. Heads stand where positions usually do.
    "replicated_with_grad_allreduce": SequenceParallel(sequence_dim=1, use_local_output=True),
}
OUT, IN = "out_features", "in_features"


def styles_of(model: PreTrainedModel, size: int) -> dict[str, ParallelStyle]:
    """{module: style} for all that the plan names and the model has.

    A head and an embedding stay whole where they are tied, or where the vocabulary does not divide.

    Raises:
        ValueError: a word of the plan that has no style here, or a projection that does not divide.
    """
    styles = {}
    for name, module in model.named_modules():
        word = next((word for pattern, word in model.tp_plan.items() if _matches(pattern, name)), None)
        held = any(True for _ in module.parameters())  # here, and not by another stage
        if word is None or not held or _stays_whole(model, module, size):
            continue
        if word not in STYLES:
            raise ValueError(f"the plan cuts {name} by '{word}', which has no counterpart here")
        style = STYLES[word]
        if style in (COLUMNS, ROWS, GATHERED, CUT):
            _check_divides(name, module, style, size)
        styles[name] = PackedColumns() if style is COLUMNS and isinstance(module, PackedLinear) else style
    return styles


def keeps_columns(style: ParallelStyle) -> bool:
    """Whether what follows sees some columns alone."""
    return style is COLUMNS or isinstance(style, PackedColumns)


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", r"\d+"), name) is not None


def _stays_whole(model: PreTrainedModel, module: nn.Module, size: int) -> bool:
    if module not in (model.get_input_embeddings(), model.get_output_embeddings()):
        return False
    return bool(model.all_tied_weights_keys) or module.weight.shape[0] % size != 0


def _check_divides(name: str, module: nn.Module, style: ParallelStyle, size: int) -> None:
    by_columns = style in (COLUMNS, GATHERED)
    weight = module.weight
    features = weight.shape[0 if by_columns or isinstance(module, nn.Embedding) else 1]
    if features % size:
        raise ValueError(f"{name} has {features} {'columns' if by_columns else 'rows'}, which {size} does not divide")


def cut(model: PreTrainedModel, mesh: DeviceMesh) -> None:
    """Apply the plan over a mesh of one axis, in place; parameters that it cuts become DTensors.

    Raises:
        ValueError: as `styles_of`.
    """
    parallelize_module(model, mesh, styles_of(model, mesh.size()))
