"""Tokens a second, their share of what the cards can do (MFU), and the largest memory, in the log of a run."""

import sys
from time import perf_counter
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from nemo_automodel.recipes.flops import flops_per_token, peak_of_devices

SAMPLE = 64  # rows of which the mean length is taken


class ThroughputCallback(TrainerCallback):
    """Adds to each log of training, since the one before:

    tokens_per_second: of all processes, without padding where batches have a mask; saving and evaluation do not count.
    mfu: of what `flops_per_token` says, in operations of what the cards can do; only where that is known.
    peak_memory_gb: the most that this process held at once since its start, in 1e9 bytes: of the card where there is
        one, else of the process (resident set).
    """

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        peak = peak_of_devices(args, model)
        length = mean_length(kwargs["train_dataloader"].dataset) if peak else None
        self.share = flops_per_token(model, length) / peak if peak and length else 0.0
        self.begun = self.ended = perf_counter()
        self.seen = state.num_input_tokens_seen

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.ended = perf_counter()

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: dict[str, float] | None = None, **kwargs: Any
    ) -> None:
        if logs is None or "loss" not in logs:
            return
        metrics = {**self._speed(state.num_input_tokens_seen), **peak_memory()}
        for entry in (logs, state.log_history[-1]):  # written down before this call
            entry.update(metrics)

    def _speed(self, seen: int) -> dict[str, float]:
        now = perf_counter()
        speed = (seen - self.seen) / (now - self.begun)
        self.begun, self.ended, self.seen = now, now, seen
        if not speed:
            return {}  # trainer.include_num_input_tokens_seen: no
        return {"tokens_per_second": speed} | ({"mfu": speed * self.share} if self.share else {})

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._leave_out()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._leave_out()

    def _leave_out(self) -> None:
        """What passed since the step, or what was left out before."""
        now = perf_counter()
        self.begun, self.ended = self.begun + now - self.ended, now


def peak_memory() -> dict[str, float]:
    """`peak_memory_gb`; empty on systems that do not tell."""
    if torch.accelerator.is_available():
        return {"peak_memory_gb": torch.accelerator.max_memory_allocated() / 1e9}
    try:
        import resource
    except ImportError:  # on Windows
        return {}
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9}


def mean_length(rows: Any) -> float | None:
    """Tokens of a text in the first rows, packed ones by themselves; None where rows are no ids."""
    if not isinstance(rows[0], dict) or "input_ids" not in rows[0]:
        return None
    sample = [rows[index] for index in range(min(SAMPLE, len(rows)))]
    lengths = [length for row in sample for length in row.get("seq_lengths") or [len(row["input_ids"])]]
    return sum(lengths) / len(lengths)
