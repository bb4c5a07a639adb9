"""In half precision matrices lie in memory as the reference's do, which processors without products in bf16 sum by."""

import pytest
import torch

from nemo_automodel.parity.ours import build_ours
from nemo_automodel.parity.project import open_project
from nemo_automodel.parity.reference import Reference
from tests.parity.conftest import ROOT


@pytest.fixture(scope="module")
def transposed():
    project = open_project("gpt2", ROOT)
    return Reference(project.subject(), project.configs["base"])


@pytest.mark.parametrize(
    ("backend", "dtype", "lies_as_stored"),
    [("split", torch.bfloat16, True), ("split", torch.float32, False), ("packed", torch.bfloat16, False)],
)
def test_transposed_matrices_lie_as_stored(transposed, backend, dtype, lies_as_stored):
    ours = build_ours(transposed.subject.model_class, transposed.config, transposed.disk, backend=backend, dtype=dtype)
    stored = {name: tensor for name, tensor in transposed.disk.items() if name.endswith("mlp.c_fc.weight")}
    assert stored
    for name, tensor in stored.items():
        mine = ours.get_parameter(name)
        assert torch.equal(mine.t(), tensor.to(dtype))
        assert mine.t().is_contiguous() == lies_as_stored
