"""Routers: which experts a token gets, and with what weights. One class for each scoring scheme."""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init

from nemo_automodel.components.models.common import simd
from nemo_automodel.components.models.common.few_rows import is_few
from nemo_automodel.components.models.common.forgetting import forgetting
from nemo_automodel.components.models.common.functional import softcap
from nemo_automodel.components.models.common.nested import place
from nemo_automodel.components.models.common.pinned import keeping


class RouterLinear(nn.Linear):
    """x [T, D] -> logits [T, E], in the dtype of x."""

    def forward(self, x):
        return project(x, self.weight, self.bias)


def project(x, weight, bias):
    """The product in the dtype of x, whatever autocast says."""
    if is_few(x, weight, bias):
        return simd.linear(x, weight, bias)
    with torch.autocast(x.device.type, enabled=False), forgetting(x, nn.Linear):
        return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


class Router(nn.Module):
    """x [T, D] -> logits [T, E], weights [T, k], chosen experts [T, k].

    Parameters `weight` [E, D], `bias` [E] where `router_bias`; with a `projection` they are those of a linear layer of
    that name. `correction_bias` [E], None where the config has none, is a buffer: `e_score_correction_bias`, or what
    `hold_correction_bias` was told. What is pinned to fp32 stays so under `.to(dtype)`. `load` counts the choices of
    each expert while training, None before the first; `update_moe_gate_bias` and metrics read it.
    """

    def __init__(self, config, backend=None, projection=None):
        super().__init__()
        self.config, self.projection = config, projection
        self.num_experts, self.top_k = config.n_routed_experts, config.n_activated_experts
        self.gate_precision = getattr(torch, getattr(backend, "gate_precision", None) or "", None)
        self._declare(torch.float32 if config.gate_pinned else config.dtype)
        self.hold_correction_bias(self, "e_score_correction_bias")
        self.load = None

    def _declare(self, dtype):
        linear = RouterLinear(self.config.dim, self.num_experts, bias=self.config.router_bias, dtype=dtype)
        for parameter in linear.parameters():
            parameter.requires_grad_(self.config.train_gate)
        if self.projection is None:
            self.register_parameter("weight", linear.weight)
            self.register_parameter("bias", linear.bias)
        else:
            self.add_module(self.projection, linear)

    def hold_correction_bias(self, module, path, rows=0):
        """Keeps the correction bias at a path from a module: [E], or [1, E] where checkpoints have a row of it."""
        if hasattr(self, "_correction"):
            holder, name = self._correction
            delattr(holder, name)
        dtype = torch.float32 if self.config.correction_bias_pinned else self.config.dtype
        shape = (rows, self.num_experts) if rows else (self.num_experts,)
        bias = torch.zeros(shape, dtype=dtype) if self.config.correction_bias else None
        self._correction = place(module, path, bias)  # in a tuple, as what holds it may be above

    @property
    def correction_bias(self):
        holder, name = self._correction
        bias = getattr(holder, name)
        return None if bias is None else bias.view(-1)

    def raise_correction_bias(self, dtype):
        """Gives the correction bias another dtype, with the same values."""
        holder, name = self._correction
        setattr(holder, name, getattr(holder, name).to(dtype))

    @property
    def linear(self):
        """What holds weight and bias."""
        return self if self.projection is None else getattr(self, self.projection)

    def initialize(self, std):
        for parameter in (self.linear.weight, self.linear.bias):
            if parameter is not None:
                init.normal_(parameter, mean=0.0, std=std)
        self.start_correction_bias()

    def start_correction_bias(self):
        """Zeroes it, unless it was loaded: which the tensor itself knows, and a view of it does not."""
        holder, name = self._correction
        if getattr(holder, name) is not None:
            init.zeros_(getattr(holder, name))

    def pinned(self):
        """The tensors that are fp32 whatever the model is."""
        found = [self.linear.weight, self.linear.bias] if self.config.gate_pinned else []
        holder, name = self._correction
        found += [getattr(holder, name)] if self.config.correction_bias_pinned else []
        return [tensor for tensor in found if tensor is not None]

    def _apply(self, fn, recurse=True):
        return super()._apply(keeping(fn, self.pinned()), recurse)

    def forward(self, x, padding_mask=None):
        """padding_mask [T], True at tokens: the choices of padding are the id E, which no expert has."""
        logits = self._capped(self.logits(x))
        weights, indices = self.choose(self._scorable(logits))
        weights = self._renormalised(weights) * self.config.route_scale
        if padding_mask is not None:
            indices = indices.masked_fill(~padding_mask[:, None], self.num_experts)
        if self.training:
            self._count(indices)
        return logits, weights if self.config.weights_dtype == "float32" else weights.to(x.dtype), indices

    def logits(self, x):
        """[T, E], in the dtype that `gate_dtype` (or the backend's `gate_precision`) says."""
        wide = torch.float32 if self.config.gate_dtype == "float32" else self.linear.weight.dtype
        x = x.to(self.gate_precision or wide)
        return project(x, self.weight, self.bias) if self.projection is None else self.linear(x)

    def _scorable(self, logits):
        if self.config.gate_dtype == "score" and logits.dtype != torch.float64:
            logits = logits.float()
        return logits

    def _capped(self, logits):
        """What is reported, too (`output_router_logits`, the auxiliary loss); the cap is taken where scores are."""
        cap = self.config.router_softcap
        return logits if cap is None else softcap(self._scorable(logits), cap)

    def score(self, logits):
        """Logits [T, any number] -> scores of the same shape."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it scores")

    def choose(self, logits):
        """Logits [T, E] -> weights [T, k] and experts [T, k], by the best scores or by the best logits."""
        if not self.config.softmax_before_topk:
            best, indices = self._candidates(logits).topk(self.top_k, dim=-1)
            return self.score(best if self._chooses_raw else logits.gather(1, indices)), indices
        scores = self.score(logits)
        if self._chooses_raw:
            return scores.topk(self.top_k, dim=-1)
        indices = self._candidates(scores).topk(self.top_k, dim=-1).indices
        return scores.gather(1, indices), indices

    @property
    def _chooses_raw(self):
        """Whether experts are chosen by nothing but what their weights come from."""
        return self.correction_bias is None and not self.config.grouped

    def _candidates(self, scores):
        """Scores (or logits) to choose by: with the correction bias, and outside of the best groups `group_masked`."""
        if self.correction_bias is not None:
            scores = scores + self.correction_bias
        if not self.config.grouped:
            return scores
        groups = scores.unflatten(1, (self.config.n_expert_groups, -1))
        kept = 1 if self.config.group_score == "max" else 2
        values = groups.topk(kept, dim=-1).values.sum(dim=-1)
        best = values.topk(self.config.n_limited_groups, dim=-1).indices
        outside = torch.ones_like(values, dtype=torch.bool).scatter(1, best, False)
        return groups.masked_fill(outside[..., None], float(self.config.group_masked)).flatten(1)

    def _renormalised(self, weights):
        config = self.config
        if not config.norm_topk_prob:
            return weights
        if config.norm_topk_order is None:
            total = weights.sum(dim=-1, keepdim=True)
        else:
            total = torch.norm(weights, p=config.norm_topk_order, dim=-1, keepdim=True)
        if config.norm_topk_min is not None:
            total = total.clamp(min=config.norm_topk_min)
        return weights / (total + config.norm_topk_eps if config.norm_topk_eps else total)

    @torch.no_grad()
    def _count(self, indices):
        counts = torch.zeros(self.num_experts + 1, device=indices.device)
        counts = counts.scatter_add(0, indices.flatten(), torch.ones(indices.numel(), device=indices.device))[:-1]
        self.load = counts if self.load is None else self.load + counts


class SoftmaxRouter(Router):
    """Probabilities over all experts, or over the chosen (Switch Transformer, arXiv 2101.03961; Mixtral)."""

    def score(self, logits):
        return torch.softmax(logits, dim=-1)


class SigmoidRouter(Router):
    """Each expert by itself (DeepSeek-V3, arXiv 2412.19437, section 2.1.2)."""

    def score(self, logits):
        return torch.sigmoid(logits)


class SparseMixerRouter(Router):
    """k rounds, each a softmax over what is near the best of those that are left (PhiMoE, arXiv 2409.12136).

    Choices are the best ones in training too: the paper's sampling and its gradient estimate are not implemented.
    """

    def choose(self, logits):
        weights, indices, left = [], [], logits
        for _ in range(self.top_k):
            best, index = left.max(dim=-1, keepdim=True)
            far = (best - logits) / logits.abs().clamp(min=best) > 2 * self.config.router_jitter
            weights.append(left.masked_fill(far, float("-inf")).softmax(dim=-1).gather(1, index))
            indices.append(index)
            left = left.scatter(1, index, float("-inf"))
        return torch.cat(weights, dim=1), torch.cat(indices, dim=1)


class _Routers(dict):
    def __missing__(self, name):
        raise KeyError(f"no router scores by {name!r}; known are {', '.join(self)}")


ROUTERS = _Routers(softmax=SoftmaxRouter, sigmoid=SigmoidRouter, sparsemixer=SparseMixerRouter)


def make_router(config, backend=None, projection=None):
    """The router of a MoEConfig. Raises KeyError, with the known names, for an unknown `score_func`."""
    return ROUTERS[config.score_func](config, backend, projection)
