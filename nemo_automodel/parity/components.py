"""Level 2: every component beside its counterpart, each given what the reference's received.

A run cuts the models at one depth of the module tree, so that an error does not spread from one component to the next,
and inner components are seen apart from those around them.
"""

from collections.abc import Iterable
from functools import partial

import torch
from torch import nn
from transformers import PreTrainedModel

from nemo_automodel.parity.batches import Batch
from nemo_automodel.parity.compare import Check, Measured, compare_bf16, compare_fp32, failures, middle
from nemo_automodel.parity.counterparts import counterparts
from nemo_automodel.parity.ours import has_one_order, in_fp32
from nemo_automodel.parity.reference import Reference, disk_names, truth_in_fp64
from nemo_automodel.parity.routing import flips, forced, recorded
from nemo_automodel.parity.tracing import Trace, align, traced

LEVEL = "components"
SEED = 7
ROWS, SEEDS = 8, (1, 2, 3)  # of batches where one says too little


def compare(reference: Reference, ours: nn.Module, batch: Batch) -> list[Check]:
    """Outputs and gradients of all components in fp32, on a plain batch, in the order of the reference's run."""
    checks = []

    def truth(paths: list[str], batch: Batch, given: Trace) -> Measured:
        with truth_in_fp64():
            return measure(reference.in_fp64, paths, batch, given)[1]

    def both(paths: list[str], batch: Batch) -> tuple[Measured, Measured]:
        given, theirs = measure(reference.model, paths, batch)
        return theirs, truth(paths, batch, given)

    for paths in counterparts(ours, reference.model, batch):
        given, theirs = measure(reference.model, paths, batch)
        _, mine = measure(ours, paths, batch, given)
        elsewhere = (partial(both, paths, other) for other in reference.drawing.further("plain"))
        checks += compare_fp32(LEVEL, mine, theirs, partial(truth, paths, batch, given), elsewhere)
    return checks


def compare_in_bf16(reference: Reference, ours: PreTrainedModel, batch: Batch) -> list[Check]:
    """The same in bf16, where `ours` is a bf16 model: both against the fp32 reference, on the same inputs and with the
    choices of experts that fp32 makes.

    Where ours sums as the reference does, roundings are those of the reference. Where it does not, they are as many but
    others, of which whole models make more or less by chance: the median of several batches is judged.
    """
    checks, wide = [], in_fp32(ours, reference.disk)
    several = [batch] if has_one_order(ours) else reference.drawing.several(ROWS, SEEDS)
    for paths in counterparts(ours, reference.model, batch):
        runs = [_compare_in_bf16(reference, ours, wide, paths, one) for one in several]
        checks += [middle(same) for same in zip(*runs, strict=True)]
    return checks


def _compare_in_bf16(
    reference: Reference, ours: PreTrainedModel, wide: nn.Module, paths: list[str], batch: Batch
) -> list[Check]:
    level = f"{LEVEL} in bf16"
    with recorded() as their_choices:
        given, truth = measure(reference.model, paths, batch)
    with forced(their_choices, batch.real) as their_flips:
        _, theirs = measure(reference.in_bf16, paths, batch, given)
    with recorded() as my_choices, torch.no_grad(), traced(wide, paths, given):
        _forward(wide, batch)
    with forced(my_choices, batch.real) as my_flips:
        _, mine = measure(ours, paths, batch, given)
    return compare_bf16(level, mine, theirs, truth) + flips(level, my_flips, their_flips)


def first_difference(checks: Iterable[Check], order: list[str]) -> str | None:
    """The component that differs first: the innermost, and the earliest in `order` (paths as the reference runs).

    Outputs decide, then gradients of inputs, then those of parameters: a wrong scale of the scores shows in the
    gradients of every projection, but in the output of the attention alone.
    """
    failed = [check.what for check in failures(checks) if check.level == LEVEL]
    for kind in (": output", ": input gradient", ": gradient"):
        paths = {what.removesuffix(kind) for what in failed if what.endswith(kind)}
        if kind == ": gradient":
            paths = {name.rpartition(".")[0] for name in paths}
        innermost = [path for path in order if path in paths and not any(o.startswith(path + ".") for o in paths)]
        if innermost:
            return innermost[0] + kind
    return None


def order_of(model: nn.Module, batch: Batch) -> list[str]:
    """Paths of the modules, in the order in which a forward starts them."""
    started: dict[str, None] = {}
    handles = [
        module.register_forward_pre_hook(lambda module, args, path=path: started.setdefault(path))
        for path, module in model.named_modules()
        if path
    ]
    with torch.no_grad():
        _forward(model, batch)
    for handle in handles:
        handle.remove()
    return list(started)


def _forward(model: nn.Module, batch: Batch) -> None:
    model(**batch.inputs, use_cache=False)


def measure(
    model: nn.Module, paths: list[str], batch: Batch, given: Trace | None = None
) -> tuple[Trace, dict[str, torch.Tensor]]:
    """Runs the model cut at `paths`, on its own inputs or on those of `given`.

    Returns the trace and, by name: outputs, gradients of inputs, and gradients of parameters under their disk names,
    for a fixed random gradient of every output. All in the layout of `given`.
    """
    with torch.enable_grad(), traced(model, paths, given) as trace:
        _forward(model, batch)
    layout = given or trace
    outputs = {
        path: align(value, layout.outputs[path]) for path, value in trace.outputs.items() if path in layout.outputs
    }
    measured = {f"{path}: output": value.detach() for path, value in outputs.items()}
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    inputs, own = _gradients(outputs, trace.inputs, parameters)
    for path, gradient in inputs.items():
        measured[f"{path}: input gradient"] = align(gradient, layout.inputs[path])
    for name, gradient in disk_names(model, own).items():
        measured[f"{name}: gradient"] = gradient
    return trace, measured


def _gradients(
    outputs: dict[str, torch.Tensor], inputs: dict[str, torch.Tensor], parameters: dict[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Gradients of the inputs and parameters that have one."""
    ends = {path: value for path, value in outputs.items() if value.requires_grad}
    leaves = [*inputs.values(), *parameters.values()]
    cotangents = [_cotangent(value) for value in ends.values()]
    found = torch.autograd.grad(list(ends.values()), leaves, cotangents, allow_unused=True)
    named = list(zip([*inputs, *parameters], found, strict=True))
    of_inputs = {path: value for path, value in named[: len(inputs)] if value is not None}
    return of_inputs, {name: value for name, value in named[len(inputs) :] if value is not None}


def _cotangent(output: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(SEED)
    return torch.randn(output.shape, generator=generator, dtype=torch.float32).to(output.dtype)
