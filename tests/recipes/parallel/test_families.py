"""Every family of text over two processes, along each axis: equal to one process, or refused with the reason."""

from pathlib import Path

import pytest

from tests.forked import in_processes

MODELS = Path(__file__).parents[2] / "unit_tests" / "models"
OF_IMAGES = "ImageText"
AXES = ("tp", "pp", "cp", "ep")
# What each run looks at: biases and dense sums, caps and windows, norms of whole vectors, shared experts, states, MLA
SAMPLE = ("qwen2", "gemma2", "olmo2", "apertus", "deepseek_v3", "qwen2_moe", "mamba", "phi3")
EXPECTED = {
    "qwen2": {"tp": "equal", "pp": "equal", "cp": "equal", "ep": "refused: Qwen2ForCausalLM has no experts"},
    "gemma2": {"tp": "equal", "pp": "equal", "cp": "refused: attention is gathered for sdpa alone"},
    "olmo2": {"tp": "equal", "pp": "equal", "cp": "equal"},
    "apertus": {"tp": "refused: the plan cuts what is around model.layers.0.mlp.act_fn", "pp": "equal"},
    "deepseek_v3": {"tp": "equal", "pp": "equal", "cp": "equal", "ep": "equal"},
    "qwen2_moe": {"tp": "equal", "pp": "equal", "cp": "equal", "ep": "equal"},
    "mamba": {"tp": "refused: MambaConfig declares no", "cp": "refused: a state goes through the whole sequence"},
    "phi3": {"tp": "equal", "pp": "equal"},
}


def families() -> list[str]:
    written = {path: path.read_text() for path in sorted(MODELS.glob("*/test_*.py"))}
    return [path.parent.name for path, text in written.items() if OF_IMAGES not in text]


def outcomes(folder: Path, axes: str, *names: str) -> dict[tuple[str, str], str]:
    script, file = str(Path(__file__).with_name("families_run.py")), folder / "outcomes"
    in_processes(2, script, str(file), axes, *names, CUDA_VISIBLE_DEVICES="")
    lines = [line.split(" ", 2) for line in file.read_text().splitlines()]
    return {(family, axis): said for family, axis, said in lines}


def test_a_family_of_each_kind(tmp_path: Path) -> None:
    found = outcomes(tmp_path, ",".join(AXES), *SAMPLE)
    for family, axes in EXPECTED.items():
        for axis, said in axes.items():
            assert found[family, axis].startswith(said), (family, axis, found[family, axis])


@pytest.mark.full
@pytest.mark.parametrize("axis, equal", [("tp", 60), ("pp", 65), ("cp", 80), ("ep", 40)])
def test_every_family(tmp_path: Path, axis: str, equal: int) -> None:
    """None is wrong (each is compared), and no fewer than these work."""
    found = outcomes(tmp_path, axis, *families())
    assert sum(said == "equal" for said in found.values()) >= equal
