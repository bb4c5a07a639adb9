"""Level 3: whole models. Logits, hidden states, loss, gradients; cached and greedy generation; saved checkpoints."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn
from transformers import PreTrainedModel

from nemo_automodel.components.models.common.releases import CACHE
from nemo_automodel.parity.batches import Batch
from nemo_automodel.parity.compare import Check, Measured, compare_bf16, compare_fp32, distance, exact
from nemo_automodel.parity.hidden_states import first_layer
from nemo_automodel.parity.newer import asked_of_older
from nemo_automodel.parity.ours import in_fp32
from nemo_automodel.parity.published import waited_for
from nemo_automodel.parity.reference import Reference, disk_names, truth_in_fp64
from nemo_automodel.parity.routing import Choices, flips, forced, recorded
from nemo_automodel.parity.state_dict import read
from nemo_automodel.parity.tolerances import FP32

LEVEL = "end to end"
NEW_TOKENS = 8


def measure(model: nn.Module, batch: Batch, *, gradients: bool = True) -> dict[str, torch.Tensor]:
    """Hidden states and logits where there are tokens, the loss, and every parameter's gradient under its disk name."""
    with torch.set_grad_enabled(gradients), first_layer(model) as seen:
        out = model(
            **batch.inputs,
            labels=batch.labels,
            use_cache=False,
            output_hidden_states=True,
        )
    measured = {f"hidden states {i}": x.detach()[batch.real] for i, x in enumerate(seen.in_order(out.hidden_states))}
    measured["logits"] = out.logits.detach()[batch.real]
    measured["loss"] = out.loss.detach()
    if gradients:
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        found = torch.autograd.grad(out.loss, list(parameters.values()), allow_unused=True)
        named = {name: value for name, value in zip(parameters, found, strict=True) if value is not None}
        measured.update((f"gradient of {name}", value) for name, value in disk_names(model, named).items())
    return measured


def compare(reference: Reference, ours: nn.Module, batches: Mapping[str, Batch]) -> list[Check]:
    """All of `measure` in fp32, on each batch."""
    checks = []
    for name, batch in batches.items():
        mine, theirs = measure(ours, batch), reference.once("fp32", batch, partial(measure, reference.model, batch))
        others = elsewhere(reference, name)
        checks += compare_fp32(f"{LEVEL}, {name}", mine, theirs, partial(truth, reference, batch), others)
    return checks


def truth(reference: Reference, batch: Batch) -> Measured:
    """What the reference gives in fp64."""

    def measured() -> Measured:
        with truth_in_fp64():
            return measure(reference.in_fp64, batch)

    return reference.once("fp64", batch, measured)


def elsewhere(reference: Reference, form: str) -> Iterator[Callable[[], tuple[Measured, Measured]]]:
    """What measures the reference, and it in fp64, on further batches of the same form."""

    def both(batch: Batch) -> tuple[Measured, Measured]:
        return reference.once("fp32", batch, partial(measure, reference.model, batch)), truth(reference, batch)

    return (partial(both, other) for other in reference.drawing.further(form))


def compare_in_bf16(reference: Reference, ours: PreTrainedModel, batches: Mapping[str, Batch]) -> list[Check]:
    """Logits and hidden states of a bf16 model, against the fp32 reference, with the choices of experts of fp32."""
    checks, wide = [], in_fp32(ours, reference.disk)
    for name, batch in batches.items():
        both = partial(_with_choices, reference.model, reference.in_bf16, batch)
        truth, theirs, their_flips = reference.once("bf16", batch, both)
        _, mine, my_flips = _with_choices(wide, ours, batch)
        checks += compare_bf16(f"bf16, {name}", mine, theirs, truth) + flips(f"bf16, {name}", my_flips, their_flips)
    return checks


def _with_choices(wide: nn.Module, half: nn.Module, batch: Batch) -> tuple[Measured, Measured, Choices]:
    """What a model measures in fp32, and in bf16 where it gets the experts of fp32."""
    with recorded() as choices:
        truth = measure(wide, batch, gradients=False)
    with forced(choices, batch.real) as flipped:
        rounded = measure(half, batch, gradients=False)
    return _tensors(truth), _tensors(rounded), flipped


def _tensors(measured: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name: value for name, value in measured.items() if value.dim()
    }  # the loss is one number: no root mean square


def greedy(model: nn.Module, batch: Batch, **options: object) -> torch.Tensor:
    """[B, 8]: what the model writes after the batch, the end-of-text token left out of play.

    The mask is always given: without one, `generate` takes every padding token in the text for padding.
    """
    arguments = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "do_sample": False, **options}
    arguments |= {**batch.images, **({"suppress_tokens": [*batch.unsaid]} if batch.unsaid else {})}
    with torch.no_grad():
        return model.generate(batch.ids, attention_mask=batch.real.long(), **arguments)[:, batch.ids.shape[1] :]


def reference_greedy(reference: Reference, batch: Batch, **options: object) -> torch.Tensor:
    """What the reference writes: after each text alone, where it would count the padding before it as positions.

    Without a cache: transformers' caches keep keys of an older table where a dynamic one grows, and before 5.20 where a
    longrope one switches.
    """
    options = {"use_cache": False, **options}
    with asked_of_older(type(reference.model)):
        if reference.subject.positions == "given":
            return greedy(reference.model, batch, **options)
        return torch.cat([greedy(reference.model, text, **options) for text in batch.alone()])


def forget_lengths(model: nn.Module) -> None:
    """transformers' dynamic tables keep the angles of the longest text so far, until a short one comes."""
    with torch.no_grad():
        model(input_ids=torch.zeros(1, 1, dtype=torch.long), use_cache=False)


def compare_generation(reference: Reference, ours: nn.Module, batches: Mapping[str, Batch]) -> list[Check]:
    """Greedy generation equals the reference's, token by token."""
    checks = []
    for name, batch in batches.items():
        forget_lengths(reference.model)
        theirs = reference.once("greedy", batch, partial(reference_greedy, reference, batch))
        mine = greedy(ours, batch)
        rows = [
            f"row {i}: {a} instead of {b}"
            for i, (a, b) in enumerate(zip(mine.tolist(), theirs.tolist(), strict=True))
            if a != b
        ]
        checks.append(exact(f"{LEVEL}, {name}", "greedy generation", rows))
    return checks


@torch.no_grad()
def stepwise(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Logits [B, S, V] where the first positions fill a cache and the others come one by one."""
    positions = batch.given_positions
    cache, logits, places = None, [], range(batch.prefix, batch.ids.shape[1])
    for start, end in [(0, batch.prefix), *((i, i + 1) for i in places)]:
        out = model(
            input_ids=batch.ids[:, start:end],
            attention_mask=None if batch.mask is None else batch.mask[:, :end],
            position_ids=None if positions is None else positions[:, start:end],
            use_cache=True,
            **{CACHE: cache},
            **({} if start else batch.images_until(end)),
        )
        cache = out[CACHE]
        logits.append(out.logits)
    return torch.cat(logits, dim=1)


@torch.no_grad()
def at_once(model: nn.Module, batch: Batch) -> torch.Tensor:
    """The same logits from one forward without a cache."""
    return model(**batch.inputs, position_ids=batch.given_positions, use_cache=False).logits


def compare_cache(ours: nn.Module, batches: Mapping[str, Batch]) -> list[Check]:
    """Logits with a cache equal those without."""
    checks = []
    for name, batch in batches.items():
        error = distance(stepwise(ours, batch)[batch.real], at_once(ours, batch)[batch.real])
        checks.append(Check(f"{LEVEL}, {name}", "cached logits equal uncached ones", error, FP32))
    return checks


def compare_saved(reference: Reference, ours: PreTrainedModel, batch: Batch) -> list[Check]:
    """What ours saves, the reference class loads: no missing or unexpected key, equal logits."""
    with TemporaryDirectory() as folder:
        ours.save_pretrained(folder)
        back, problems = load_elsewhere(reference, Path(folder))
        others = waited_for(reference.model, read(Path(folder))) if reference.subject.disk == "read" else []
    checks = [exact(LEVEL, "saved, then loaded by the reference: keys", problems)]
    checks += [exact(LEVEL, "saved under the names that the reference reads", others)] if others else []
    theirs, mine = measure(back, batch, gradients=False), measure(ours, batch, gradients=False)
    error = distance(mine["logits"], theirs["logits"])
    return [*checks, Check(LEVEL, "saved, then loaded by the reference: logits", error, FP32)]


def load_elsewhere(reference: Reference, folder: Path) -> tuple[nn.Module, list[str]]:
    """A folder through the reference class, with the names of what was lost or left over."""
    model, info = reference.load(folder, output_loading_info=True)
    problems = [
        f"{what.replace('_keys', '')}: {key}" for what in sorted(info) for key in sorted(map(str, info[what] or ()))
    ]
    return model.eval(), problems
