"""Checkpoints of which no comparison could say anything: broken files, missing experts, numbers that are none."""

from pathlib import Path

from safetensors import SafetensorError

from nemo_automodel._transformers.auto_model import refuse_lost_weights
from nemo_automodel.parity.reference import Reference
from nemo_automodel.parity.subject import Subject


class CheckpointError(Exception):
    """What is wrong with a checkpoint, where, and the cure."""


def read_reference(subject: Subject, folder: Path) -> Reference:
    """The reference with the weights of a folder. Raises CheckpointError where it cannot read them, or not compare."""
    try:
        reference = Reference.from_checkpoint(subject, folder)
    except (RuntimeError, ValueError, SafetensorError) as error:
        raise CheckpointError(_cause(subject, folder) or f"{folder}: {error}") from error
    for name, tensor in reference.disk.items():
        if tensor.is_floating_point() and not tensor.float().isfinite().all():
            raise CheckpointError(f"{folder}: {name} holds NaN or infinity, which equals nothing; write the file again")
    return reference


def _cause(subject: Subject, folder: Path) -> str | None:
    """What our loader says of a folder: it names the file, the experts or the tensors."""
    options = {"dtype": "auto", "output_loading_info": True, "ignore_mismatched_sizes": True}
    try:
        refuse_lost_weights(folder, *subject.model_class.from_pretrained(folder, **options))
    except ValueError as error:
        return str(error)
    return None
