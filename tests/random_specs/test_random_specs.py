"""A fixed sample of random specs: none is accepted and fails, or means something else than the interpreter says.

`python -m tests.random_specs FIRST LAST` tries others; tests/README.md says how 2,000 are run.
"""

from pathlib import Path

import pytest
import torch

from tests.random_specs.drawing import draw
from tests.random_specs.trial import tried

SEEDS = range(120)
GROUP = 10  # seeds to a test, so that workers share them


@pytest.mark.parametrize("first", SEEDS[::GROUP])
def test_what_is_accepted_is_right(first: int, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        verdicts = {seed: tried(draw(seed), tmp_path) for seed in range(first, first + GROUP)}
    finally:
        torch.set_num_threads(threads)
    faults = {seed: verdict.notes[0] for seed, verdict in verdicts.items() if verdict.word == "faulty"}
    assert not faults, faults


def test_draws_are_of_both_kinds() -> None:
    """Enough is accepted for the sample to tell something, and what is refused is not one kind alone."""
    assert {str(draw(3)), str(draw(3))} == {str(draw(3))}
    assert len({str(draw(seed)) for seed in SEEDS}) == len(SEEDS)
