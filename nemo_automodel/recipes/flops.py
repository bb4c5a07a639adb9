"""Operations of training a model on a token, by a formula, and what a card can do at most."""

from typing import Any

import torch
from torch import nn

from nemo_automodel.components.moe.balance import routers

# Of dense products in 16 bits, a second; from the makers' data sheets. The first name that a card's contains counts.
PEAKS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "MI300X": 1307e12,
}


def peak_of(name: str) -> float | None:
    """Operations a second of a card with this name, in 16 bits; None where it is not known."""
    return next((peak for card, peak in PEAKS.items() if card in name), None)


def flops_per_token(model: Any, length: float) -> float:
    """Of a forward and a backward pass over texts of so many tokens.

    Two operations for each weight of a matrix that a token meets, two for its part in the gradient that goes on, and
    two where it is trained itself; 12 * heads * head size * length for each layer that attends, as if every token saw
    all others (PaLM, arXiv 2204.02311, appendix B). Of experts, as many as a token is sent to. What is computed again
    for the backward pass is not counted.
    """
    share, table = _share_of_experts(model), model.get_input_embeddings().weight
    head = model.get_output_embeddings()
    total = 0.0 if head is None or head.weight is not table else (4 + 2 * table.requires_grad) * table.numel()
    for name, weight in model.named_parameters():
        if weight.dim() > 1 and weight is not table:
            met = share if ".experts." in name else 1.0
            total += (4 + 2 * weight.requires_grad) * met * _numbers(weight)
    return total + 12 * _attended(model.config.get_text_config(), length)


def _numbers(weight: nn.Parameter) -> int:
    """Of four bits there are two in an element."""
    return weight.numel() * (2 if type(weight).__name__ == "Params4bit" else 1)


def _share_of_experts(model: nn.Module) -> float:
    """Of a mixture, which part of the experts a token is sent to."""
    shares = [router.config.n_activated_experts / router.num_experts for router in routers(model).values()]
    return sum(shares) / len(shares) if shares else 1.0


def _attended(config: Any, length: float) -> float:
    """heads * head size * tokens that are seen, of all layers."""
    heads = getattr(config, "num_attention_heads", 0)
    size = getattr(config, "head_dim", None) or config.hidden_size // max(heads, 1)
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    window = min(length, getattr(config, "sliding_window", None) or length)
    seen = {"full_attention": length, "attention": length, "sliding_attention": window}
    return heads * size * sum(seen.get(kind, 0) for kind in kinds)


def peak_of_devices(arguments: Any, model: Any) -> float | None:
    """Operations a second of all cards of a run; None where products are not of 16 bits or a card is not known."""
    half = arguments.bf16 or arguments.fp16 or model.dtype in (torch.bfloat16, torch.float16)
    if not half or arguments.device.type != "cuda":
        return None
    peak = peak_of(torch.cuda.get_device_name(arguments.device))
    return None if peak is None else peak * arguments.world_size
