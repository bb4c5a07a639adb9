"""References that are transformers' own classes made callable: what theirs do with the installed release."""

import pytest
import torch
import transformers

from nemo_automodel.components.models.common.releases import INSTALLED
from tests.reference.llama4 import CallableLlama4
from tests.unit_tests.models.llama4.test_llama4 import TestLlama4 as Bound

IDS = torch.tensor([[5, 6, 7, 8]])


def test_llama4_raises_from_5_24_on_and_is_the_same_before(tmp_path):
    """Where this fails, transformers' class can be called again: let the spec go without a reference of its own."""
    torch.manual_seed(0)
    whole = transformers.Llama4ForConditionalGeneration(transformers.Llama4Config(**Bound.base)).eval()
    whole.save_pretrained(tmp_path)
    ours, info = CallableLlama4.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    with torch.no_grad():
        logits = ours(input_ids=IDS).logits
        if INSTALLED >= (5, 24):
            with pytest.raises(AttributeError, match="image_outputs"):
                whole(input_ids=IDS)
        else:
            assert torch.equal(whole(input_ids=IDS).logits, logits)
