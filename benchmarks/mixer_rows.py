"""What `mixers.py` compares: layers of real models, and the sums inside two of them. A mixer is one entry of ROWS."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = "nemo_automodel.components.models"


class Pair(NamedTuple):
    """The same by two codes. ours, theirs: functions of inputs and a cache; inputs: length -> tensors [1, length, ...].

    modules, projections: ours and theirs, and the names of linear layers that both have; cache, their_cache: new ones,
    if any.
    """

    ours: Callable[..., torch.Tensor]
    theirs: Callable[..., torch.Tensor]
    inputs: Callable[[int], tuple[torch.Tensor, ...]]
    modules: tuple[nn.Module, ...] = ()
    projections: tuple[str, ...] = ()
    cache: Callable[[], Any] | None = None
    their_cache: Callable[[], Any] | None = None


def with_a_cache(mixer: nn.Module, x: torch.Tensor, cache: Any) -> torch.Tensor:
    """How most of transformers' mixers are called."""
    from nemo_automodel.components.models.common.releases import CACHE

    name = CACHE if type(mixer).__name__ not in ("Mamba2Mixer", "MambaMixer") or CACHE == "cache" else "cache_params"
    found = mixer(x, **{name: cache})
    return found[0] if isinstance(found, tuple) else found


def without_positions(mixer: nn.Module, x: torch.Tensor, cache: Any) -> torch.Tensor:
    """How lightning attention is called: it asks for positions, and reads none."""
    from nemo_automodel.components.models.common.releases import CACHE

    return mixer(x, None, None, **{CACHE: cache})[0]


def with_places(mixer: nn.Module, x: torch.Tensor, cache: Any) -> torch.Tensor:
    """How that of RecurrentGemma is called, which keeps its state itself."""
    places = torch.arange(x.shape[1])[None] + (x.shape[1] == 1)
    return mixer(x, places, None, use_cache=cache is not None)[0]


class Layer(NamedTuple):
    """A mixer of a family. theirs, ours: names of classes; projections: of linear layers that both have.

    scaled: fields of the config as in the model of 1 to 3 billion parameters that `model` names, to be multiplied by a
    share; kept: those that no share changes. call: how transformers' class is called.
    """

    family: str
    theirs: str
    ours: str
    model: str
    projections: tuple[str, ...]
    scaled: dict[str, int]
    kept: dict[str, Any]
    call: Callable[[nn.Module, torch.Tensor, Any], torch.Tensor] = with_a_cache
    their_cache: str | None = None  # the class that transformers' own one needs

    def pair(self, share: float, dtype: torch.dtype) -> Pair:
        from transformers import AutoConfig, DynamicCache

        from nemo_automodel.components.models.common.backend import BackendConfig

        scaled = {name: int(number * share) for name, number in self.scaled.items()}
        config = AutoConfig.for_model(self.family, num_hidden_layers=1, **scaled, **self.kept)
        reference = importlib.import_module(f"transformers.models.{self.family}.modeling_{self.family}")
        theirs = getattr(reference, self.theirs)(config, 0).to(dtype)
        for parameter in theirs.parameters():  # a class alone leaves some as memory was: denormal numbers are slow
            nn.init.normal_(parameter, std=0.02)
        ours = getattr(generated(self.family), self.ours)(config, 0, BackendConfig().resolved()).to(dtype)
        ours.load_state_dict({name: one for name, one in theirs.state_dict().items() if name in ours.state_dict()})
        return Pair(
            lambda x, cache=None: ours(x, None, None, cache)[0],
            lambda x, cache=None: self.call(theirs, x, cache),
            lambda length: (torch.randn(1, length, config.hidden_size, dtype=dtype),),
            (ours, theirs),
            self.projections,
            lambda: DynamicCache(config=config),
            getattr(reference, self.their_cache) if self.their_cache else lambda: DynamicCache(config=config),
        )


def generated(family: str) -> Any:
    """The module of a family's classes."""
    return importlib.import_module(f"{LIBRARY}.{family}.model")


class Sum(NamedTuple):
    """What is inside a mixer, alone: functions of inputs whose shapes are (heads, those after) after the length."""

    ours: Callable[..., torch.Tensor]
    theirs: Callable[..., torch.Tensor]
    inputs: Callable[[int, float], tuple[torch.Tensor, ...]]

    def pair(self, share: float, dtype: torch.dtype) -> Pair:
        return Pair(self.ours, self.theirs, lambda length: tuple(t.to(dtype) for t in self.inputs(length, share)))


def decaying(length: int, share: float) -> tuple[torch.Tensor, ...]:
    """q, k, v and steps of Mamba-2 as in mamba2-1.3b."""
    heads = int(64 * share)
    q, k, v = (torch.randn(1, length, *shape) for shape in ((1, 128), (1, 128), (heads, 64)))
    return q, k, v, torch.rand(1, length, heads) / 10


def ours_decaying(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, dt: torch.Tensor) -> torch.Tensor:
    from nemo_automodel.components.models.common.chunked_decay import chunked

    return chunked(q, k, v * dt[..., None], -dt)[0]


def theirs_decaying(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, dt: torch.Tensor) -> torch.Tensor:
    from transformers.models.mamba2.modeling_mamba2 import mamba2_chunk_scan

    return mamba2_chunk_scan(v, dt, -torch.ones(v.shape[2]), k, q, chunk_size=256)


def corrected(length: int, share: float) -> tuple[torch.Tensor, ...]:
    """q, k, v, decay and beta of the gated delta rule as in Qwen3-Next."""
    keys, heads = int(16 * share), int(32 * share)
    q, k, v = (torch.randn(1, length, number, 128) for number in (keys, keys, heads))
    return q, k, v, -torch.rand(1, length, heads), torch.rand(1, length, heads)


def ours_corrected(*inputs: torch.Tensor) -> torch.Tensor:
    from nemo_automodel.components.models.common.delta_rule import delta_rule

    return delta_rule(*inputs)[0]


def theirs_corrected(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, decay: torch.Tensor, beta: torch.Tensor) -> Any:
    from transformers.models.qwen3_next.modeling_qwen3_next import torch_chunk_gated_delta_rule

    return torch_chunk_gated_delta_rule(q, k, v, decay, beta, use_qk_l2norm_in_kernel=True)[0]


ROWS: dict[str, Layer | Sum] = {
    "mamba2": Layer(
        *("mamba2", "Mamba2Mixer", "Mamba2Mixer", "mamba2-1.3b", ("in_proj", "out_proj")),
        scaled={"hidden_size": 2048, "num_heads": 64},
        kept={"head_dim": 64, "n_groups": 1, "state_size": 128, "residual_in_fp32": False},
    ),
    "mamba1": Layer(
        *("mamba", "MambaMixer", "MambaMamba1", "mamba-1.4b", ("in_proj", "x_proj", "dt_proj", "out_proj")),
        scaled={"hidden_size": 2048},
        kept={"state_size": 16},
    ),
    "mamba2_sum": Sum(ours_decaying, theirs_decaying, decaying),
    "gated_delta_net": Layer(
        *("qwen3_next", "Qwen3NextGatedDeltaNet", "Qwen3NextDeltaNet", "Qwen3-Next, as wide as Qwen3.5-2B"),
        projections=("in_proj_qkvz", "in_proj_ba", "out_proj"),
        scaled={"hidden_size": 2048, "linear_num_key_heads": 16, "linear_num_value_heads": 32},
        kept={"linear_key_head_dim": 128, "linear_value_head_dim": 128, "layer_types": ["linear_attention"]},
    ),
    "delta_rule": Sum(ours_corrected, theirs_corrected, corrected),
    "lightning": Layer(
        *("minimax", "MiniMaxLightningAttention", "MiniMaxLinearLightningAttention", "MiniMax-Text-01, 2,048 wide"),
        projections=("qkv_proj", "output_gate", "out_proj"),
        scaled={"hidden_size": 2048, "num_attention_heads": 16},
        kept={"head_dim": 128, "layer_types": ["linear_attention"]},
        call=without_positions,
        their_cache="MiniMaxCache",
    ),
    "short_conv": Layer(
        *("lfm2", "Lfm2ShortConv", "Lfm2ShortConv", "LFM2-1.2B", ("in_proj", "out_proj")),
        scaled={"hidden_size": 2048},
        kept={"conv_L_cache": 3, "layer_types": ["conv"]},
    ),
    "rg_lru": Layer(
        *("recurrent_gemma", "RecurrentGemmaRecurrentBlock", "RecurrentGemmaRecurrentRgLru", "recurrentgemma-2b"),
        projections=("linear_x", "linear_y", "linear_out"),
        scaled={"hidden_size": 2560, "lru_width": 2560, "num_attention_heads": 10},
        kept={"block_types": ["recurrent"]},
        call=with_places,
    ),
}
