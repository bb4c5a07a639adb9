"""Assertions over the comparisons of `nemo_automodel.parity`, with its bounds."""

from nemo_automodel.parity.compare import distance, failures
from nemo_automodel.parity.tolerances import FP32


def all_pass(checks):
    assert checks
    failed = failures(checks)
    assert not failed, "\n".join(map(str, failed[:12]))


def close(ours, reference):
    """Within the fp32 bound: 1e-5 of the reference's largest value."""
    error = distance(ours, reference)
    assert error <= FP32, f"{error:.2e} of the largest value"
