"""Named tensors of two implementations, held against the bounds."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

import torch

from nemo_automodel.parity.tolerances import BF16_RATIO, FP32, ROUNDING_TAIL, fp32_bound

Measured = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Check:
    """One comparison. `error` and `bound` share their unit: see the level's bound in `tolerances`."""

    level: str
    what: str
    error: float
    bound: float
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.error <= self.bound  # false for NaN

    def __str__(self) -> str:
        verdict = "ok" if self.passed else "DIFFERS"
        return f"{self.level}: {self.what}: {verdict}, {self.error:.2e} (bound {self.bound:.2e}) {self.note}".rstrip()


def failures(checks: Iterable[Check]) -> list[Check]:
    return [check for check in checks if not check.passed]


def exact(level: str, what: str, problems: Iterable[str]) -> Check:
    """A comparison without tolerance: it passes where there are no problems."""
    problems = list(problems)
    return Check(level, what, float(len(problems)), 0.0, "; ".join(problems[:4]))


def distance(ours: torch.Tensor, reference: torch.Tensor) -> float:
    """Largest difference, as a part of the reference's largest value; infinite where shapes differ."""
    if ours.shape != reference.shape:
        return float("inf")
    if reference.numel() == 0:
        return 0.0
    difference = (ours.double() - reference.double()).abs().max().item()
    scale = reference.double().abs().max().item()
    return difference / scale if scale else (0.0 if difference == 0 else float("inf"))


def compare_fp32(
    level: str,
    ours: Measured,
    reference: Measured,
    in_fp64: Callable[[], Measured],
    elsewhere: Iterable[Callable[[], tuple[Measured, Measured]]] = (),
) -> list[Check]:
    """One check a name. `in_fp64` measures the reference in fp64; it is called only where 1e-5 is exceeded.

    Two that each are rounded may be further apart than either is from what both stand for: as near to that will do.
    How much rounding costs is one draw of chance: `elsewhere` measures the reference, and it in fp64, on other batches.
    What is further off than any chance is not measured again.
    """
    checks = [_fp32_check(level, name, ours, reference) for name in reference]
    if not failures(checks):
        return checks
    truth = in_fp64()
    checks = [check if check.passed else _conditioned(check, ours, reference, truth) for check in checks]
    for measured in elsewhere:
        if not any(check.error <= ROUNDING_TAIL * check.bound for check in failures(checks)):
            break
        other = measured()
        checks = [check if check.passed else _rounded(check, *other) for check in checks]
    return checks


def _fp32_check(level: str, name: str, ours: Measured, reference: Measured) -> Check:
    if name not in ours:
        return Check(level, name, float("inf"), FP32, "ours has none")
    note = "" if ours[name].shape == reference[name].shape else _shapes(ours[name], reference[name])
    return Check(level, name, distance(ours[name], reference[name]), FP32, note)


def _conditioned(check: Check, ours: Measured, reference: Measured, truth: Measured) -> Check:
    if check.what not in truth or check.what not in ours:
        return check
    noise, error = (distance(fp32[check.what], truth[check.what]) for fp32 in (reference, ours))
    note = check.note or f"the reference's fp32 is {noise:.1e} from its fp64"
    return Check(check.level, check.what, min(check.error, error), fp32_bound(noise), note)


def _rounded(check: Check, reference: Measured, truth: Measured) -> Check:
    """With the bound of another batch, where rounding costs the reference more."""
    if check.what not in truth or check.error > ROUNDING_TAIL * check.bound:
        return check
    noise = distance(reference[check.what], truth[check.what])
    if fp32_bound(noise) <= check.bound:
        return check
    note = f"the reference's fp32 is {noise:.1e} from its fp64 on another batch"
    return replace(check, bound=fp32_bound(noise), note=note)


def compare_bf16(level: str, ours: Measured, reference: Measured, truth: Measured) -> list[Check]:
    """Our distance to the fp32 truth beside the reference's own, both in bf16: one check for each kind of tensor.

    The same tensor of all layers is pooled, and so are all vectors: the ratio of a few roundings says nothing.
    """
    groups: dict[str, list[str]] = {}
    for name, true in truth.items():
        kind = re.sub(r"\b\d+\b", "*", name) if true.dim() > 1 else "vectors" + name[name.find(": ") :] * (": " in name)
        groups.setdefault(kind, []).append(name)
    checks = []
    for kind, names in groups.items():
        own, theirs = (_pooled_distance(measured, truth, names) for measured in (ours, reference))
        ratio = own / theirs if theirs else (0.0 if own <= FP32 else float("inf"))  # exact: what stays in fp32
        checks.append(Check(level, kind, ratio, BF16_RATIO))
    return checks


def middle(checks: Sequence[Check]) -> Check:
    """The median of one comparison on several batches; one that is no number is no matter of chance."""
    odd = [check for check in checks if not isfinite(check.error)]
    return odd[0] if odd else sorted(checks, key=lambda check: check.error / check.bound)[len(checks) // 2]


def _pooled_distance(measured: Measured, truth: Measured, names: list[str]) -> float:
    """Root mean square over all elements, each tensor in units of its truth's; infinite where one is missing.

    Where the truth is zero but for fp32's rounding (a bias of keys that do not turn has no gradient), the unit is the
    largest of the pool.
    """
    units = {name: truth[name].double().pow(2).mean().item() for name in names}
    largest = max(units.values())
    total, count = 0.0, 0
    for name in names:
        true = truth[name].double()
        if name not in measured or measured[name].shape != true.shape:
            return float("inf")
        scale = (units[name] if units[name] > FP32**2 * largest else largest) or 1.0
        total += (measured[name].double() - true).pow(2).sum().item() / scale
        count += true.numel()
    return (total / max(count, 1)) ** 0.5


def _shapes(ours: torch.Tensor, reference: torch.Tensor) -> str:
    return f"shape {tuple(ours.shape)}, the reference's is {tuple(reference.shape)}"
