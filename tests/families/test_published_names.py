"""Names that published checkpoints have where transformers writes others: both are read."""

import re
from pathlib import Path

import pytest
import torch

from codegen.configs import table
from codegen.language.check import read_spec
from codegen.tiny.configs import configs
from nemo_automodel.parity.batches import batches
from nemo_automodel.parity.ours import build_ours
from nemo_automodel.parity.project import Project
from nemo_automodel.parity.reference import Reference

ROOT = Path(__file__).parents[2]
PUBLISHED = {"kimi_linear": (r"block_sparse_moe(?=\.(gate|up|down)_proj)", "mlp")}  # MLPs of dense layers


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_names_are_read(name):
    spec = read_spec(ROOT / f"specs/{name}.yaml", ROOT)
    project = Project(ROOT, spec, configs(spec, table()))
    subject = project.subject()
    reference = Reference(subject, project.configs["base"])
    written, published = PUBLISHED[name]
    disk = {re.sub(written, published, key): tensor for key, tensor in reference.disk.items()}
    assert disk.keys() != reference.disk.keys()
    batch = batches(reference.config.vocab_size)["plain"]
    models = [
        build_ours(subject.model_class, reference.config, tensors, backend="split", attention="eager")
        for tensors in (disk, reference.disk)
    ]
    with torch.no_grad():
        one, other = (model(batch.ids).logits for model in models)
    assert torch.equal(one, other)
