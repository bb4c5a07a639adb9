"""benchmarks/gpu.py calls every kernel: under the interpreter, no row of Triton's is empty."""

import tests.kernels.device  # noqa: F401  # which says where there is no Triton
from tests.test_gpu_benchmark import tables


def test_rows_of_triton_are_measured():
    _, found = tables("--model", "qwen3_moe", TRITON_INTERPRET="1")
    kernels = {row[0]: row[2:] for row in found["Kernels"] if row[1] == "triton"}
    assert len(kernels) == 6
    assert all(len(cells) == 4 and float(cells[0]) >= 0 for cells in kernels.values())
    for title in ("One layer of qwen3_moe, forward and backward", "A step of qwen3_moe"):
        ours = {row[0].removeprefix("ours, "): row[1] for row in found[title] if row[0].endswith("triton")}
        assert set(ours) == {f"{name} triton" for name in ("rms_norm", "glu", "rope", "experts", "all")}
        assert all(float(median) > 0 for median in ours.values())
