"""What other tools rely on: peft, torch.compile, device placement, tensor-parallel plans."""

import copy
import re
from importlib import import_module

import torch
from peft import (
    LoraConfig,
    get_peft_model,
    get_peft_model_state_dict,
    inject_adapter_in_model,
    set_peft_model_state_dict,
)
from torch import nn
from transformers.pytorch_utils import Conv1D

from nemo_automodel.components.models.common.mask_kinds import TokenMixer
from nemo_automodel.components.moe.layers import MoE
from nemo_automodel.parity import memory
from nemo_automodel.parity.compare import compare_fp32
from nemo_automodel.parity.reference import in_fp64, truth_in_fp64
from nemo_automodel.parity.tolerances import FP32
from nemo_automodel.testing import adapters
from nemo_automodel.testing.asserting import all_pass, close
from nemo_automodel.testing.binding import Binding

LINEAR = (nn.Linear, Conv1D)


class EcosystemContract(Binding):
    def layer_matrices(self, variant):
        """Names in memory of the layers' matrices. What is beside or instead of experts is left out: for families with
        experts peft rewrites such targets to parameters of its own choice."""
        modules = dict(self.ours(variant).named_modules())
        mixtures = {path.rpartition(".")[2] for path, module in modules.items() if isinstance(module, MoE)}
        token_mixers = tuple(f"{path}." for path, module in modules.items() if isinstance(module, TokenMixer))
        linear = [path for path, module in self.given(variant).model.named_modules() if isinstance(module, LINEAR)]
        linear = [path for path in linear if re.search(r"\.\d+\.", path)]
        linear = [path for path in linear if path.startswith(token_mixers) or not mixtures & set(path.split("."))]
        model = self.given(variant).model
        return [path for path in linear if adapters.is_allowed(model, path) and not adapters.is_rewritten(model, path)]

    def test_lora_by_names(self, main):
        """Adapters made for the reference fit ours: same names, same shapes, same outputs."""
        targets = {adapters.target(path) for path in self.layer_matrices(main)}
        settings = LoraConfig(r=3, target_modules=targets, init_lora_weights=False)
        ours = inject_adapter_in_model(settings, self.fresh(main))
        theirs = inject_adapter_in_model(settings, copy.deepcopy(self.given(main).model))
        made = get_peft_model_state_dict(theirs)
        assert set(self.layer_matrices(main)) <= {name.rpartition(".lora_")[0] for name in made}
        found = set_peft_model_state_dict(ours, made)
        assert not found.unexpected_keys

        batch = self.batch()

        def truth():
            with truth_in_fp64():
                return {"logits": self.logits(in_fp64(theirs), batch)}

        mine, wanted = ({"logits": self.logits(model, batch)} for model in (ours, theirs))
        all_pass(compare_fp32("adapters", mine, wanted, truth))
        assert not torch.equal(self.logits(ours, batch), self.logits(self.ours(main), batch))

    def test_adapters_go_both_ways(self, backend):
        """Files of adapters, each on one part of the model or on all of it: ours on transformers' class, and theirs on
        ours. Where peft or transformers' class refuses, nothing is compared."""
        if not adapters.has_counterpart(self):
            return  # the test above
        doors = ("get_peft_model", "PeftModel.from_pretrained")
        wanted = dict.fromkeys(adapters.PARTS if backend == "split" else ("all linear layers",), doors)
        results = list(adapters.exchanges(self, backend, wanted))
        assert not [result for result in results if isinstance(result[-1], float) and not result[-1] <= FP32]
        assert backend == "packed" or {"attention"} <= {part for part, *_, apart in results if isinstance(apart, float)}

    def test_adapters_learn_the_same_under_checkpointing(self):
        """Gradients of every adapter's weights on a padded batch, where layers run again for the backward pass."""
        if not adapters.has_counterpart(self):
            return
        models = self.fresh(), copy.deepcopy(self.given().model)
        common = set.intersection(*(set(adapters.linear_layers(model)) for model in models))  # peft refuses others
        wanted = adapters.settings({"target_modules": sorted(common)})
        ours, theirs = (adapters.stirred(get_peft_model(model, copy.deepcopy(wanted))) for model in models)

        def truth(batch):
            with truth_in_fp64():
                return self.learned(in_fp64(theirs), batch, again=False)

        batch = self.batch("left")
        others = self.given().drawing.further("left")
        elsewhere = (lambda other=other: (self.learned(theirs, other), truth(other)) for other in others)
        mine, wanted = self.learned(ours, batch), self.learned(theirs, batch)
        all_pass(compare_fp32("adapters", mine, wanted, lambda: truth(batch), elsewhere))

    def learned(self, adapted, batch, again=True):
        """Gradients of a model's adapters, by name. Layers run again for the backward pass, but for the truth: what
        autograd runs is out of its reach."""
        adapted.train().zero_grad()
        if adapted.supports_gradient_checkpointing:  # ours always, CTRL of transformers not
            adapted.enable_input_require_grads()
            if again:
                adapted.gradient_checkpointing_enable({"use_reentrant": False})
            else:
                adapted.gradient_checkpointing_disable()
        adapted(**batch.inputs, labels=batch.labels, use_cache=False).loss.backward()
        return {name: p.grad.clone() for name, p in adapted.named_parameters() if p.grad is not None}

    def test_memory_is_the_references(self, stored):
        """Names, shapes, order of rows and values of every tensor, and what adapters see in the modules: files of
        adapters are written and read by them."""
        all_pass(memory.compare(self.given(stored).model, self.ours(stored)))

    def test_layers_compile_without_graph_breaks(self, backend):
        model, batch = self.fresh(backend=backend), self.batch("left")
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
        module = import_module(self.model_module)
        assert all(isinstance(getattr(module, name), type) for name in classes)

    def test_tensor_parallel_plan_names_what_is_there(self, stored, backend):
        """Plans of configs speak disk names; and without `post_init` in the base model there would be none."""
        model, theirs = self.ours(stored, backend), module_names(self.given(stored).model)
        plan = getattr(model.config.get_text_config(), "base_model_tp_plan", None)
        assert bool(model.base_model._tp_plan) == bool(plan)
        for pattern in model.tp_plan:
            wanted = re.compile(re.escape(pattern).replace(r"\*", r"\d+"))
            known_to_the_reference = pattern in getattr(self.given(stored).model, "_tp_plan", {})
            if known_to_the_reference and not any(map(wanted.fullmatch, theirs)):
                continue  # transformers adds patterns that fit nothing even in its own class
            assert any(map(wanted.fullmatch, module_names(model))), pattern


def module_names(model):
    return [name for name, _ in model.named_modules()]
