"""The bounds of every proof, in one place. They are never loosened to pass."""

FP32 = 1e-5  # of the reference's largest value
CONDITIONING = 4.0  # times the reference's own distance between fp32 and fp64, where that is larger
ROUNDING_TAIL = 100.0  # no further batch moves a bound so far: of the noise of one tensor, 20 times was the most seen
BF16_RATIO = 1.25  # times the reference's own distance between bf16 and the fp32 truth

FEW_FLIPS = 6  # choices that rounding turns by chance, beyond the ratio


def flips_bound(theirs: int) -> float:
    """How many choices rounding may turn in ours, where it turns `theirs` in the reference."""
    return BF16_RATIO * theirs + FEW_FLIPS


def fp32_bound(noise: float) -> float:
    """The bound where the reference itself differs by `noise` between fp32 and fp64."""
    return max(FP32, CONDITIONING * noise)
