"""Whole models with all kernels, beside PyTorch's: logits, and gradients of every parameter."""

import peft
import pytest
import torch
import transformers as T

from tests.kernels.device import DEVICE  # isort: skip
from nemo_automodel import NeMoAutoModelForCausalLM

KERNELS = {"rms_norm": "triton", "glu": "triton", "rope": "triton"}
PLAIN = dict.fromkeys(KERNELS, "torch")
SIZES = {
    **{"vocab_size": 60, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "pad_token_id": 0},
    **{"num_attention_heads": 4, "num_key_value_heads": 2},
}
HEADS, MIXTURE = {"head_dim": 12}, {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 20}
FAMILIES = {
    "norms of heads": lambda: T.Qwen3Config(**SIZES, **HEADS),
    "an offset, gelu": lambda: T.Gemma2Config(**SIZES, **HEADS, sliding_window=4),
    "pairs, partial, fused": lambda: T.GlmConfig(**SIZES, **HEADS),
    "one matrix each": lambda: T.Phi3Config(**SIZES),
    "a mixture": lambda: T.Qwen3MoeConfig(**SIZES, **HEADS, **MIXTURE),
    "clamps, interleaved": lambda: T.GptOssConfig(**SIZES, **HEADS, num_local_experts=4, num_experts_per_tok=2),
}


def built(config, backend):
    torch.manual_seed(0)
    model = NeMoAutoModelForCausalLM.from_config(config, backend=backend, attn_implementation="eager").to(DEVICE)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def trained(model, ids):
    """Logits and gradients; the loss is of logits as they are."""
    logits = model(ids).logits
    logits.square().mean().backward()
    return {"logits": logits.detach(), **{name: one.grad for name, one in model.named_parameters()}}


@pytest.mark.parametrize("projections", ["split", "packed"])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_gradients_are_pytorchs(family, projections):
    ids = torch.randint(1, 60, (2, 7), generator=torch.Generator().manual_seed(1)).to(DEVICE)
    found = []
    for backend, experts in ((KERNELS, "triton"), (PLAIN, "grouped_mm")):
        config = FAMILIES[family]()
        model = built(config, {**backend, "experts": experts, "projections": projections})
        found.append(trained(model, ids))
    ours, wanted = found
    for name, other in wanted.items():
        if other is not None:
            difference = (ours[name] - other).abs().max()
            assert difference <= 2e-5 * max(other.abs().max(), 1e-3), (name, difference)


def test_adapters_and_checkpointing():
    ids, found = torch.arange(1, 8, device=DEVICE)[None], []
    for backend in (KERNELS, PLAIN):
        model = built(FAMILIES["norms of heads"](), backend)
        torch.manual_seed(3)
        adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules="all-linear", init_lora_weights=False))
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        loss = adapted.train()(input_ids=ids, labels=ids).loss
        loss.backward()
        found.append([loss.detach(), *(one.grad for one in adapted.parameters() if one.requires_grad)])
    for ours, wanted in zip(*found, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)


def test_generation_with_a_cache():
    ids, found = torch.arange(1, 8, device=DEVICE)[None], []
    for backend in (KERNELS, PLAIN):
        model = built(FAMILIES["pairs, partial, fused"](), backend).eval()
        found.append(model.generate(ids, max_new_tokens=6, do_sample=False).tolist())
    assert found[0] == found[1]


def test_what_is_asked_for_runs_and_auto_is_torch():
    """No card has run these kernels yet."""
    model, family = built(FAMILIES["norms of heads"](), KERNELS), FAMILIES["norms of heads"]()
    names = {type(node).__name__ for node in nodes(model(torch.arange(1, 5, device=DEVICE)[None]).logits.grad_fn)}
    assert {"_RMSNormBackward", "_GluBackward", "_TurnedBackward"} <= names
    resolved = built(family, None).backend
    assert {getattr(resolved, field) for field in KERNELS} == {"torch"}


def nodes(start):
    found, left = set(), [start]
    while left:
        node = left.pop()
        if node is not None and node not in found:
            found.add(node)
            left += [other for other, _ in node.next_functions]
    return found
