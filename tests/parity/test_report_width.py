"""Tables of a proof on a narrow terminal: no figure is cut."""

import io

from rich.console import Console

from nemo_automodel.parity.compare import Check
from nemo_automodel.parity.proof import Result
from nemo_automodel.parity.report import LEVELS, print_proof


def test_figures_are_whole_at_80_columns() -> None:
    checks = tuple(Check(level, "x", 1.2e-07, 1e-5) for level in LEVELS for _ in range(300))
    results = [Result(variant, "packed, grouped_mm", checks, None) for variant in ("base", "rope_longrope")]
    stream = io.StringIO()
    print_proof("deepseek_v3", results, Console(width=80, file=stream))
    text = stream.getvalue()
    assert text.count("1.2e-07") == len(results) * len(LEVELS) and text.count("components") == 2
    assert max(map(len, text.splitlines())) <= 80
