"""What other tools rely on: peft, torch.compile, device placement, tensor-parallel plans."""

import re

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from tests.contract.asserting import close
from tests.contract.binding import Binding


class EcosystemContract(Binding):
    def disk_linears(self):
        """Names on disk of the layers' matrices, as LoRA configs of the family name them."""
        disk = self.given().disk
        return sorted({name.split(".")[-2] for name, t in disk.items() if ".0." in name and t.dim() == 2})

    def test_lora_on_disk_names(self):
        """Adapters made for the reference fit ours: same names, same shapes, same outputs."""
        if not self.in_transformers:
            pytest.skip("peft wraps transformers' models only")
        settings = LoraConfig(r=3, target_modules=self.disk_linears(), init_lora_weights=False, task_type="CAUSAL_LM")
        ours = get_peft_model(self.fresh(), settings)
        theirs = get_peft_model(self.duplicate_reference(), settings)
        mine, wanted = (self.lora_weights(model) for model in (ours, theirs))
        assert {name: tensor.shape for name, tensor in mine.items()} == {
            name: tensor.shape for name, tensor in wanted.items()
        }

    def lora_weights(self, model):
        from peft import get_peft_model_state_dict

        return get_peft_model_state_dict(model)

    def duplicate_reference(self):
        import copy

        return copy.deepcopy(self.given().model)

    def test_layers_compile_without_graph_breaks(self, main):
        model, batch = self.fresh(main), self.batch("left")
        wanted = self.logits(model, batch)
        torch._dynamo.reset()
        for layer in {layer.mask_kind: layer for layer in model.base_model.decoder_layers}.values():
            layer.forward = torch.compile(layer.forward, backend="eager", fullgraph=True)
        close(self.logits(model, batch), wanted)

    def test_no_split_modules_names_the_layers(self, stored):
        """device_map and FSDP read it; nothing else notices where it is wrong."""
        base = self.ours(stored).base_model
        assert {type(layer).__name__ for layer in base.decoder_layers} <= set(base._no_split_modules)
        classes = set(base._no_split_modules)
        module = __import__(self.model_module, fromlist=["_"])
        assert all(isinstance(getattr(module, name), type) for name in classes)

    def test_tensor_parallel_plan_names_what_is_there(self, stored, backend):
        """Plans of configs speak disk names; and without `post_init` in the base model there would be none."""
        model = self.ours(stored, backend)
        if not getattr(model.config, "base_model_tp_plan", None):
            return
        assert model.base_model._tp_plan
        names = {name for name, module in model.named_modules() if isinstance(module, nn.Module)}
        for pattern in model.tp_plan:
            wanted = re.compile(re.escape(pattern).replace(r"\*", r"\d+"))
            assert any(wanted.fullmatch(name) for name in names), pattern
