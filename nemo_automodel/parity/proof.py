"""All levels on all variants of one model."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from nemo_automodel.parity import components, end_to_end, memory, mixtures, state_dict
from nemo_automodel.parity.batches import Batch
from nemo_automodel.parity.checkpoint_faults import read_reference
from nemo_automodel.parity.compare import Check, failures
from nemo_automodel.parity.counterparts import without_counterpart
from nemo_automodel.parity.ours import BACKENDS, build_ours
from nemo_automodel.parity.project import Project
from nemo_automodel.parity.reference import Reference
from nemo_automodel.parity.subject import Subject

LENGTH_DEPENDENT = ("dynamic", "longrope")  # tables that change with the length, while cached keys do not
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """The checks of one variant on one backend, and the component that differs first.

    within: components without a counterpart in the reference, and the component as a part of which each is judged.
    """

    variant: str
    backend: str
    checks: tuple[Check, ...]
    first_difference: str | None
    within: Mapping[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not failures(self.checks)


def prove(project: Project, progress: Progress) -> Iterator[Result]:
    """The tiny configs of a spec, each with random weights."""
    subject = project.subject()
    for variant, values in project.configs.items():
        if variant.startswith("dropout"):  # concerns training, which the generated tests compare
            continue
        reference = Reference(subject, values)
        for backend in BACKENDS:
            progress(f"{variant}, {backend}")
            yield compare(subject, reference, variant, backend)


def prove_checkpoint(project: Project, folder: Path, progress: Progress) -> Iterator[Result]:
    """The weights of a checkpoint folder. Raises CheckpointError where they cannot be compared."""
    subject = project.subject()
    reference = read_reference(subject, folder)
    for backend in BACKENDS:
        progress(f"{folder}, {backend}")
        yield compare(subject, reference, "checkpoint", backend)


def compare(subject: Subject, reference: Reference, variant: str, backend: str) -> Result:
    """Every level for one variant on one backend."""
    found = reference.drawing.batches()
    if variant.startswith("value_"):  # sizes may be large there
        found = {"short": found["short"]}
    checks: list[Check] = []
    within: dict[str, str] = {}
    batch = next(iter(found.values()))
    try:
        options: dict[str, Any] = {"backend": backend, "attention": subject.attention}
        ours = build_ours(subject.model_class, reference.config, reference.disk, **options)
        within = without_counterpart(ours, reference.model, batch)
        checks = _levels(reference, ours, found, options)
    except Exception as error:  # a model that cannot be built or run differs, and says how
        checks.append(Check("build", f"{type(error).__name__}: {error}".split("\n")[0], float("inf"), 0.0))
    order = components.order_of(reference.model, batch) if failures(checks) else []
    return Result(variant, backend, tuple(checks), components.first_difference(checks, order), within)


def _depends_on_length(rope: Mapping[str, Any]) -> bool:
    """Whether a table changes with the length: the one of all layers, or that of some kind of layer."""
    tables = [rope, *(one for one in rope.values() if isinstance(one, Mapping))]
    return any(table.get("rope_type") in LENGTH_DEPENDENT for table in tables)


def _levels(
    reference: Reference, ours: PreTrainedModel, found: dict[str, Batch], options: dict[str, Any]
) -> list[Check]:
    batch = next(iter(found.values()))
    checks = state_dict.compare(ours, reference.disk)
    checks += memory.compare(reference.model, ours) if options["backend"] == "split" else []
    checks += components.compare(reference, ours, batch)
    checks += mixtures.compare(reference.model, ours)
    checks += end_to_end.compare(reference, ours, found)
    generating = {name: found[name] for name in ("plain", "left") if name in found}
    checks += end_to_end.compare_generation(reference, ours, generating)
    if not _depends_on_length(getattr(reference.config.get_text_config(), "rope_parameters", None) or {}):
        checks += end_to_end.compare_cache(ours, generating)
    checks += end_to_end.compare_saved(reference, ours, batch)
    half = build_ours(type(ours), reference.config, reference.disk, dtype=torch.bfloat16, **options)
    checks += components.compare_in_bf16(reference, half, batch)
    return checks + end_to_end.compare_in_bf16(reference, half, found)


def first_difference(results: Iterable[Result]) -> str | None:
    """Over all variants."""
    return next((f"{r.first_difference} ({r.variant}, {r.backend})" for r in results if r.first_difference), None)
