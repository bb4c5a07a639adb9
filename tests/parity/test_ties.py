"""Whose flag ties the head: that of the whole config, or what a spec says."""

from itertools import product

import pytest
import torch
from transformers import LlavaConfig

from codegen.generate import plan_any, read_any
from codegen.language.check import of_images
from codegen.render.image_text import model_files
from nemo_automodel.parity.sandbox import installed
from tests.common.vision.configs import LLAVA
from tests.parity.conftest import ROOT


def made(tmp_path, tie):
    """The files of a Llava whose head is tied so."""
    specs = tmp_path / "specs"
    specs.mkdir()
    for path in (ROOT / "specs").glob("*.yaml"):
        if not of_images(path):
            (specs / path.name).symlink_to(path)
    (specs / "llava.yaml").write_text(f"name: llava\nhead: {{tie: {tie}}}\n")
    return model_files(plan_any(read_any(specs / "llava.yaml", tmp_path)).model)


def config(whole, text):
    found = LlavaConfig(**LLAVA)
    found.tie_word_embeddings, found.text_config.tie_word_embeddings = whole, text
    return found


@pytest.mark.parametrize(
    ("tie", "expected"),
    [
        ("config.tie_word_embeddings", lambda whole, text: whole),
        ("config.text_config.tie_word_embeddings", lambda whole, text: text),
        ("config.tie_word_embeddings and config.text_config.tie_word_embeddings", lambda whole, text: whole and text),
        ("false", lambda whole, text: False),
    ],
)
def test_ties(tmp_path, tie, expected):
    """In memory and on disk, whatever the other flag is; and the config stays as it is."""
    files = made(tmp_path, tie)
    with installed("llava", files) as modules:
        kind = modules["model"].ModelClass
        for whole, text in product((True, False), repeat=2):
            model = kind._from_config(config(whole, text))
            is_tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
            assert is_tied == expected(whole, text), (whole, text)
            assert (model.config.tie_word_embeddings, model.config.text_config.tie_word_embeddings) == (whole, text)
            disk = model.state_dict_adapter.to_hf(model.state_dict())
            assert ("language_model.lm_head.weight" in disk) != is_tied
            other = kind._from_config(config(whole, text))
            other.load_state_dict(disk, strict=False)
            for name, tensor in model.state_dict().items():
                assert torch.equal(tensor, other.state_dict()[name]), name
