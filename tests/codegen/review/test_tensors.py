"""The tensors that a review names, beside those that transformers writes."""

import re

import pytest
from safetensors import safe_open

from codegen.review.tensors import stored
from tests.codegen.new.images import committed, save

# Plain, fused, per expert and stacked ones, latent, states, tables; of images: a projector, none, names of its own.
TEXTS = ("llama", "gpt2", "deepseek_v3", "gpt_oss", "nemotron_v3", "opt")
IMAGES = ("llava", "qwen3_vl", "gemma3", "kimi_k25_vl", "llava_next")


def matching(tensor):
    """A pattern of names: `*` is a layer, at the end whatever lies below."""
    body = re.escape(tensor.removesuffix("*")).replace(r"\*", r"\d+")
    return re.compile(body + (".+" if tensor.endswith("*") else ""))


@pytest.mark.parametrize("name", TEXTS + IMAGES)
def test_names_are_those_of_a_checkpoint(name, tmp_path):
    save(name, tmp_path / name)
    with safe_open(tmp_path / name / "model.safetensors", "pt") as file:
        written = set(file.keys())
    known = stored(committed(name)).tensors
    patterns = {tensor: matching(tensor) for tensor in known}
    assert not [one for one in sorted(written) if not any(pattern.fullmatch(one) for pattern in patterns.values())]
    always = [tensor for tensor, has in known.items() if has]
    assert not [one for one in always if not any(patterns[one].fullmatch(tensor) for tensor in written)]
