"""Routed experts, stacked along the first dimension of their weights."""

from functools import partial
from importlib.util import find_spec

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn import functional as F
from transformers import initialization as init

from nemo_automodel.components.models.common.activations import ACT
from nemo_automodel.components.models.common.nested import follow, place
from nemo_automodel.components.moe.activation import Activation
from nemo_automodel.components.moe.blockwise import blockwise, blockwise_simd
from nemo_automodel.components.moe.fastest import fastest
from nemo_automodel.components.moe.few_tokens import few_tokens, is_few
from nemo_automodel.components.moe.grouped_linear import grouped_linear
from nemo_automodel.components.moe.grouping import sort_choices
from nemo_automodel.components.moe.routed import GATHERED, SUMMED, Routed


class GroupedExperts(nn.Module):
    """E experts of which each token gets k: x [T, D], indices [T, k], weights [T, k] -> [T, D].

    Weights are `gate_up_proj` [E, 2I, D] (rows of gate, then up; plain experts: `up_proj` [E, I, D]) and `down_proj`
    [E, D, I]; biases carry the suffix `_bias`. Ids from the number of experts that are here on belong to others, and
    add nothing. A subclass stores the weights otherwise; `backend.experts` chooses the implementation, of which `loop`
    is the specification of all.
    """

    is_transposed = False  # by which peft tells what an expert's matrix reads

    def __init__(self, config, backend=None):
        super().__init__()
        self.config = config
        self.num_experts = config.n_routed_experts
        self._declare_all()
        self.act_fn = ACT[config.expert_activation]
        self.activate = Activation(config, self.act_fn, getattr(backend, "glu", "torch"))
        name = getattr(backend, "experts", "auto")
        self.implementation = self._implementation(name)

    def _declare_all(self):
        width, is_gated = self.config.moe_inter_dim, self.config.expert_kind == "gated"
        self.up_name, rows = ("gate_up_proj", 2 * width) if is_gated else ("up_proj", width)
        self._declare(self.up_name, rows, self.config.expert_dim)
        self._declare("down_proj", self.config.expert_dim, width)

    def _declare(self, name, rows, columns):
        E, dtype = self.num_experts, self.config.dtype
        self.register_parameter(name, nn.Parameter(torch.empty(self.stored_shape(E, rows, columns), dtype=dtype)))
        bias = nn.Parameter(torch.empty(E, rows, dtype=dtype)) if self.config.expert_bias else None
        self.register_parameter(f"{name}_bias", bias)

    @staticmethod
    def stored_shape(experts, rows, columns):
        return experts, rows, columns

    def matrices(self, name):
        """The experts' matrices [E, rows, columns] of a parameter, no copy."""
        return _local(follow(self, name))

    def weights(self):
        """up [E, 2I, D] and down [E, D, I], and their biases [E, 2I] and [E, D], or None."""
        up_bias, down_bias = (_local(getattr(self, f"{name}_bias")) for name in (self.up_name, "down_proj"))
        return self.matrices(self.up_name), up_bias, self.matrices("down_proj"), down_bias

    def by_expert(self, tensor):
        """What is like a parameter by its experts: [E, ...], no copy."""
        return tensor.unflatten(0, (self.num_experts, -1))

    def _implementation(self, name):
        """A function of (x, indices, weights, up, up_bias, down, down_bias, activate)."""
        learns = any(True for _ in self.act_fn.parameters())
        if name in BY_DEVICE:
            return self._loop if learns else BY_DEVICE[name]
        if name not in EXPERTS:
            raise ValueError(f"backend.experts: {name!r} is not one of {', '.join([*BY_DEVICE, *EXPERTS])}")
        if name in ("blockwise", "simd") and learns:
            raise ValueError(
                f"backend.experts: {name} cannot train the parameters of {self.config.expert_activation}; use loop"
            )
        return self._loop if name == "loop" else EXPERTS[name]

    @property
    def _loop(self):
        """Of the order of sums that the config names."""
        order = self.config.expert_sum
        return loop if order == "in_order" else partial(loop, at_once=order == "at_once", wide=order == "float32")

    def initialize(self, std):
        for name, parameter in self.named_parameters(recurse=False):
            if name.endswith("_bias"):
                init.zeros_(parameter)
            else:
                init.normal_(parameter, mean=0.0, std=std)

    def forward(self, x, indices, weights):
        if self.config.weight_at == "input":
            return self._weighted_inputs(x, indices, weights)
        return self._compute(x, indices, weights)

    def _weighted_inputs(self, x, indices, weights):
        """Each choice becomes a token of its own, which one expert gets with weight 1."""
        inputs = (x[:, None] * weights[..., None]).to(x.dtype).flatten(0, 1)
        ones = torch.ones_like(indices, dtype=x.dtype).view(-1, 1)
        return self._compute(inputs, indices.view(-1, 1), ones).unflatten(0, indices.shape).sum(1)

    def _compute(self, x, indices, weights):
        up, up_bias, down, down_bias = self.weights()
        dtype = x.dtype
        x = x.to(up.dtype)  # autocast does not reach grouped products
        return self.implementation(x, indices, weights, up, up_bias, down, down_bias, self.activate).to(dtype)


class TransposedExperts(GroupedExperts):
    """Matrices that read rows: `gate_up_proj` [E, D, 2I], `down_proj` [E, I, D] (gpt-oss, Aria)."""

    is_transposed = True

    @staticmethod
    def stored_shape(experts, rows, columns):
        return experts, columns, rows

    def matrices(self, name):
        return super().matrices(name).transpose(1, 2)


class UnmarkedTransposedExperts(TransposedExperts):
    """The same, and adapters take rows for columns: Llama 4's class does not tell peft that it is transposed."""

    is_transposed = False


class FlatExperts(GroupedExperts):
    """Experts that lie below one another, each role in a matrix of its own: [E I, D] (DBRX). Those that are `turned`
    read rows: [E D, I] for gate and up, [E I, D] for down.

    Gate and up are joined for each pass, which copies them.
    """

    @classmethod
    def named(cls, *names, turned=()):
        """Makes experts with these names of gate (if gated), up and down; `turned` are some of them."""
        return partial(cls, names=names, turned=turned)

    def __init__(self, config, backend=None, *, names, turned=()):
        self._names, self._turned = names, turned
        super().__init__(config, backend)

    def _declare_all(self):
        *ups, down = self._names
        for name in ups:
            self._declare_flat(name, self.config.moe_inter_dim, self.config.expert_dim)
        self._declare_flat(down, self.config.expert_dim, self.config.moe_inter_dim)

    def _declare_flat(self, name, rows, columns):
        rows, columns = (columns, rows) if name in self._turned else (rows, columns)
        shape = self.num_experts * rows, columns
        place(self, name, nn.Parameter(torch.empty(shape, dtype=self.config.dtype)))

    def weights(self):
        *ups, down = map(self.matrices, self._names)
        return torch.cat(ups, dim=1), None, down, None

    def matrices(self, name):
        is_down, is_turned = name == self._names[-1], name in self._turned
        rows = self.config.expert_dim if is_down != is_turned else self.config.moe_inter_dim
        matrices = super().matrices(name).unflatten(0, (-1, rows))
        return matrices.transpose(1, 2) if is_turned else matrices


def _local(parameter):
    """The shard that is here, where experts are spread over ranks."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def loop(x, indices, weights, up, up_bias, down, down_bias, activate, at_once=False, wide=False):
    """The specification: one expert after the other, each on its tokens; added in this order, or all of a token's at
    once, which in half precision rounds less often; `wide`: in order and in fp32, rounded once."""
    order, counts = sort_choices(indices, len(up))
    counts = counts.tolist()
    choices = order[: sum(counts)].split(counts)
    biases = [[None] * len(up) if bias is None else bias.unbind(0) for bias in (up_bias, down_bias)]
    # unbind once: indexing weights[e] would cost a gradient of the size of all experts for each expert
    parts = zip(choices, up.unbind(0), biases[0], down.unbind(0), biases[1], strict=True)
    dtype = torch.promote_types(x.dtype, torch.float32) if wide else x.dtype
    sums = x.new_zeros(indices.numel() if at_once else x.shape[0], x.shape[1], dtype=dtype)
    for chosen, u, ub, d, db in parts:
        tokens = chosen // indices.shape[1]
        y = _biased(F.linear(activate(_biased(F.linear(x[tokens], u), ub)), d), db)
        sums.index_add_(0, chosen if at_once else tokens, (y * weights.flatten()[chosen, None]).to(dtype))
    return sums.unflatten(0, indices.shape).sum(dim=1) if at_once else sums.to(x.dtype)


def _biased(y, bias):
    """Added by itself: a product that takes the bias rounds once less, and references with biases round twice."""
    return y if bias is None else y + bias


def grouped_mm(x, indices, weights, up, up_bias, down, down_bias, activate, by="torch"):
    """All experts in one grouped product each; nothing waits for the device. by: of `routed`, for rows on their way."""
    routed = Routed.by(indices, len(up))
    experts = routed.experts.clamp(max=len(up) - 1)
    linear = partial(_grouped_linear, offsets=routed.offsets, experts=experts, here=routed.here)
    y = linear(activate(linear(GATHERED[by](x, routed), up, up_bias)), down, down_bias)
    return SUMMED[by](y, weights, routed).to(x.dtype)


def _grouped_linear(x, weight, bias, offsets, experts, here):
    """Rows past the last offset are left unwritten by the product, so they are cleared."""
    x = x.contiguous()
    if torch.compiler.is_compiling() and (x.device.type == "cpu" or x.dtype != torch.bfloat16):
        y = grouped_linear(x, weight, offsets)
    else:
        y = F.grouped_mm(x, weight.transpose(1, 2), offs=offsets)
    if bias is not None:
        y = y + bias[experts]
    return y.masked_fill(~here, 0)


def by_torch(x, *rest):
    """Blocks are measured best on a CPU; a compiler cannot see through their sizes."""
    return (blockwise if _suits_blocks(x) else grouped_mm)(x, *rest)


def by_what_is_fastest(x, indices, weights, up, up_bias, down, *rest):
    """The same, with the products that are measured best for these sizes on this machine."""
    given = (x, indices, weights, up, up_bias, down, *rest)
    if is_few(x, indices, up, down):
        return few_tokens(*given)
    return blockwise(*given, by=fastest(x, *up.shape[1:], *down.shape[1:])) if _suits_blocks(x) else grouped_mm(*given)


def _suits_blocks(x):
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


BY_DEVICE = {"auto": by_what_is_fastest, "torch": by_torch}
EXPERTS = {
    "loop": loop,
    "grouped_mm": grouped_mm,
    "triton": partial(grouped_mm, by="triton"),
    "blockwise": blockwise,
    "simd": blockwise_simd,
}


class GroupedExpertsDeepEP(GroupedExperts):
    """Experts whose tokens DeepEP's kernels exchange between GPUs. Raises ImportError where it is not installed."""

    def __init__(self, config, backend=None):
        _require("deep_ep", "DeepEP", "https://github.com/deepseek-ai/DeepEP", "dispatcher")
        super().__init__(config, backend)


class GroupedExpertsTE(GroupedExperts):
    """Experts as Transformer Engine's grouped linear layers. Raises ImportError where it is not installed."""

    def __init__(self, config, backend=None):
        _require("transformer_engine", "Transformer Engine", "pip install transformer-engine[pytorch]", "experts")
        super().__init__(config, backend)


def _require(package, name, source, field):
    if find_spec(package) is None:
        raise ImportError(f"backend.{field} asks for {name}, which is not installed ({source}); use 'torch'")
    raise NotImplementedError(f"backend.{field}: no tested path through {name} exists yet; use 'torch'")


def make_experts(config, backend=None, storage=GroupedExperts):
    """The experts that a backend names, else those of `storage`: GroupedExperts or a class that lays weights otherwise.

    Raises NotImplementedError, or ImportError, where a backend's experts cannot be had.
    """
    if getattr(backend, "dispatcher", "auto") == "deepep":
        return GroupedExpertsDeepEP(config, backend)
    if getattr(backend, "experts", "auto") == "te":
        return GroupedExpertsTE(config, backend)
    return storage(config, backend)
