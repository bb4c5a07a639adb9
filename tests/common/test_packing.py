"""A packed matrix stands for linear layers that are there by name, and comes apart when one of them is needed."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from nemo_automodel.components.models.common.combined_projection.packing import PackingMixin, Part
from tests.common.tiny import TinyConfig, TinyForCausalLM

IDS = torch.arange(3, 20)[None]


@pytest.fixture(params=[False, True], ids=["apart", "fused"])
def pair(request):
    """(a packed model, a split one) with the same weights."""
    torch.manual_seed(0)
    packed, split = (TinyForCausalLM(TinyConfig(fused=request.param), {"projections": p}) for p in ("packed", "split"))
    split.load_state_dict(packed.state_dict_adapter.to_hf(packed.state_dict()), strict=False)
    return packed.eval(), split.eval()


def is_packed(model):
    return [module.packed for module in model.modules() if isinstance(module, PackingMixin)]


def same(ours, theirs):
    torch.testing.assert_close(ours(IDS).logits, theirs(IDS).logits, rtol=1e-5, atol=1e-5)


def test_looking_around_unpacks_nothing(pair, tmp_path):
    packed, split = pair
    print(packed)
    packed.save_pretrained(tmp_path)
    twins = copy.deepcopy(packed), TinyForCausalLM.from_pretrained(tmp_path, backend={"projections": "packed"})
    for model in (packed, *twins):
        assert all(is_packed(model))
        same(model, split)
    linear = {name for name, module in split.named_modules() if isinstance(module, nn.Linear)}
    assert {name for name, module in packed.named_modules() if isinstance(module, nn.Linear)} == linear


@pytest.mark.parametrize("touch", ["weight", "call"])
def test_whoever_needs_a_part_unpacks_its_module_alone(pair, touch):
    packed, split = pair
    path = next(name for name, module in packed.named_modules() if isinstance(module, Part))
    part, wanted = packed.get_submodule(path), split.get_submodule(path)
    x = torch.randn(2, part.in_features)
    found = part.weight if touch == "weight" else part(x)
    assert torch.equal(found, wanted.weight if touch == "weight" else wanted(x))
    assert type(part) is nn.Linear and is_packed(packed).count(False) == 1
    same(packed, split)


def test_what_is_written_after_that_is_a_checkpoint_still(pair, tmp_path):
    packed, split = pair
    assert next(module for module in packed.modules() if isinstance(module, Part)).weight is not None
    packed.save_pretrained(tmp_path)
    same(TinyForCausalLM.from_pretrained(tmp_path), split)
    assert packed.state_dict().keys() == split.state_dict().keys()
    packed.load_state_dict(split.state_dict_adapter.to_hf(split.state_dict()), strict=False)
    same(packed, split)


def test_adapters_find_all_linear_layers(pair):
    packed, split = pair
    settings = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    ours, theirs = get_peft_model(packed, settings), get_peft_model(split, settings)
    ours.load_state_dict(theirs.state_dict())
    same(ours, theirs)


def test_a_part_that_was_replaced_is_not_bypassed(pair):
    packed, _ = pair
    path = next(name for name, module in packed.named_modules() if isinstance(module, Part))
    old = packed.get_submodule(path)
    packed.set_submodule(path, nn.Linear(old.in_features, old.out_features))
    with pytest.raises(RuntimeError, match="was replaced by a Linear, which the packed .* would bypass.*'split'"):
        packed(IDS)


def test_a_part_that_is_called_in_training_is_refused(pair):
    """A kernel's patch calls the parts once the optimizer has the packed matrices: they would learn no more."""
    packed, split = pair
    mlp = packed.model.blocks[0].mlp
    for context, training in ((torch.no_grad(), True), (torch.enable_grad(), False)):
        with context:
            whole = copy.deepcopy(packed).train(training)
            part = next(module for module in whole.modules() if isinstance(module, Part))
            part(torch.randn(2, part.in_features))
    part = next(module for module in mlp.modules() if isinstance(module, Part))
    mlp.forward = lambda x, *_: part(x)
    with pytest.raises(RuntimeError, match="use_liger_kernel.*'split'"):
        packed.train()(IDS)


def test_a_folder_in_memorys_format_has_the_names_of_the_split_model(pair, tmp_path):
    packed, split = pair
    packed.save_pretrained(tmp_path, save_original_format=False)
    assert not any(is_packed(packed))
    same(packed, split)
