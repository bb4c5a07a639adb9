"""Layers of experts by themselves, on tokens that no text would give: ties, saturated scores, negative values, and
scores of nearly nothing; and the loss that balances them."""

import re
from collections.abc import Mapping, Sequence
from math import log

import torch
from torch import nn
from transformers import PreTrainedModel

from nemo_automodel.components.moe.layers import MoE
from nemo_automodel.parity.batches import Batch
from nemo_automodel.parity.compare import Check, distance
from nemo_automodel.parity.tolerances import FP32

LEVEL = "components"
FAINT = -12.0  # a sigmoid of 6e-6


def mixtures(model: PreTrainedModel) -> dict[int, MoE]:
    """Our layers of experts, by the number of the decoder layer."""
    layers = enumerate(model.base_model.decoder_layers)
    return {number: part for number, layer in layers for part in layer.children() if isinstance(part, MoE)}


def reference_mixtures(model: nn.Module) -> dict[int, nn.Module]:
    """The same layers of a reference: what holds its experts."""
    modules = dict(model.named_modules())
    holders = [path.rpartition(".")[0] for path in modules if path.endswith(".experts")]
    return {int(found.group(1)): modules[path] for path in holders if (found := re.search(r"\.(\d+)\.", path))}


def asked(ours: PreTrainedModel) -> dict[int, torch.Tensor]:
    """What each layer of experts is asked about, by the number of the decoder layer."""
    return {number: tokens(mixture) for number, mixture in mixtures(ours).items()}


def tokens(mixture: MoE, epsilons: Sequence[float] = ()) -> torch.Tensor:
    """[1, T, D] for one layer. epsilons: what may be added to a sum of scores, beside what the config says."""
    own = mixture.config.norm_topk_eps
    return torch.cat((_strong(mixture.config.dim), _faint(mixture, [*([own] if own else []), *epsilons])))[None]


def _strong(width: int, rows: int = 96) -> torch.Tensor:
    """[T, D]: nothing at all (every score ties), the same token twice, small, large and negative values."""
    x = torch.randn(rows, width, generator=torch.Generator().manual_seed(9))
    x[:4], x[4:8], x[8:40] = 0, x[8:12], x[8:40] * 20
    x[40:60] = -x[40:60].abs() * 5
    return x


def _faint(mixture: MoE, epsilons: Sequence[float]) -> torch.Tensor:
    """[T, D]: tokens to which every expert's logit is far below 0, so that what is added to a sum of scores shows: some
    of them of scores like these epsilons, however small."""
    linear = mixture.token_router.linear
    below = torch.arange(mixture.token_router.num_experts).float() / 4
    logits = [faint - order for faint in (FAINT, *map(log, epsilons)) for order in (below, below.flip(0))]
    wanted = torch.stack(logits, dim=1) - (0 if linear.bias is None else linear.bias[:, None].float())
    return torch.linalg.lstsq(linear.weight.float(), wanted).solution.T


@torch.no_grad()
def compare(
    reference: nn.Module, ours: PreTrainedModel, inputs: Mapping[int, torch.Tensor] | None = None
) -> list[Check]:
    """One check for each layer with experts, in fp32. inputs: what to ask, where it is not for `ours` to say."""
    theirs, checks, inputs = reference_mixtures(reference), [], inputs or {}
    for number, mixture in mixtures(ours).items():
        x = inputs[number] if number in inputs else tokens(mixture)
        out = theirs[number](x)
        wanted = (out[0] if isinstance(out, tuple) else out).view_as(x)
        checks.append(Check(LEVEL, f"experts of layer {number} on odd tokens", distance(mixture(x), wanted), FP32))
    return checks


@torch.no_grad()
def balanced_loss(model: nn.Module, batch: Batch) -> torch.Tensor | None:
    """The loss with that which balances experts; None for a model that has none."""
    out = model(**batch.inputs, labels=batch.labels, output_router_logits=True, use_cache=False)
    return None if getattr(out, "aux_loss", None) is None else out.loss
