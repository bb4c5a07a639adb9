"""Baichuan and Baichuan 2 (arXiv 2309.10305), as their published modelling files compute them, in plain PyTorch.

Both sizes carry one architecture string. 7B: rotary positions. 13B: linear biases (ALiBi) on the scores. Baichuan 2
normalises the rows of its output head. Weights lie as published: q, k and v as the rows of one matrix `W_pack`.
"""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F


class Fields(SimpleNamespace):
    """A config.json's fields as attributes."""

    def to_dict(self):
        return vars(self)


def read_config(folder):
    return Fields(**json.loads((Path(folder) / "config.json").read_text()))


class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        variance = x.float().square().mean(dim=-1, keepdim=True)
        return self.weight * (x.float() * torch.rsqrt(variance + self.eps)).type_as(x)


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.activation = getattr(F, config.hidden_act)

    def forward(self, x):
        return self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x))


def rotate(x, positions):
    """x [B, N, S, D] with dimensions i and i + D/2 turned by position / 10000^(2i/D), in fp32."""
    half = x.shape[-1] // 2
    inverse = 1.0 / 10000.0 ** (torch.arange(half, dtype=torch.float32) * 2 / x.shape[-1])
    angle = positions[:, None, :, None].float() * inverse
    cos, sin = angle.cos(), angle.sin()
    first, second = x[..., :half].float(), x[..., half:].float()
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).type_as(x)


def slopes(heads):
    """[N]: the geometric sequence of the ALiBi paper; between powers of two, every other slope of the next one."""
    closest = 2 ** math.floor(math.log2(heads))
    found = [2 ** (-8 * i / closest) for i in range(1, closest + 1)]
    found += [2 ** (-8 * i / (2 * closest)) for i in range(1, 2 * closest + 1, 2)][: heads - closest]
    return torch.tensor(found)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        self.rotary = uses_rotary(config)
        self.W_pack = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x, positions, visible):
        """x [B, S, H], positions [B, S], visible [B, 1, S, S] -> [B, S, H]."""
        batch, length, size = x.shape
        q, k, v = (
            part.view(batch, length, self.heads, self.width).transpose(1, 2)
            for part in self.W_pack(x).split(size, dim=-1)
        )
        if self.rotary:
            q, k = rotate(q, positions), rotate(k, positions)
        scores = q @ k.transpose(-1, -2) * self.width**-0.5
        bias = torch.zeros(1, 1, 1, length)
        if not self.rotary:  # the bias grows with the key's place: softmax sees differences only
            bias = slopes(self.heads)[:, None, None] * torch.arange(length, dtype=torch.float32)
        lowest = torch.finfo(scores.dtype).min
        scores = scores + bias.expand(batch, -1, length, -1).masked_fill(~visible, lowest).to(scores.dtype)
        y = F.softmax(scores, dim=-1, dtype=torch.float32).to(v.dtype) @ v
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, size))


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x, positions, visible):
        x = x + self.self_attn(self.input_layernorm(x), positions, visible)
        return x + self.mlp(self.post_attention_layernorm(x))


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class NormHead(nn.Linear):
    """A head whose rows are normalised before the product."""

    def forward(self, x):
        return F.linear(x, F.normalize(self.weight))


class BaichuanForCausalLM(nn.Module):
    """ids [B, S] -> logits [B, S, V], without a cache. `config` holds config.json's fields, and `to_dict`."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.model = Model(config)
        head = NormHead if normalises_head(config) else nn.Linear
        self.lm_head = head(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, inputs_embeds=None, labels=None, **_):
        """loss (where there are labels), logits, and hidden_states: before each layer, and after the final norm."""
        x = self.model.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        length = x.shape[1]
        visible = torch.ones(length, length, dtype=torch.bool).tril()[None, None]
        if attention_mask is not None:
            visible = visible & attention_mask.bool()[:, None, None, :]
        positions = torch.arange(length)[None] if position_ids is None else position_ids
        states = []
        for layer in self.model.layers:
            states.append(x)
            x = layer(x, positions, visible)
        states.append(self.model.norm(x))
        logits = self.lm_head(states[-1])
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return SimpleNamespace(loss=loss, logits=logits, hidden_states=tuple(states))

    @torch.no_grad()
    def generate(self, input_ids, attention_mask=None, max_new_tokens=8, **_):
        """Greedy continuation; positions count the tokens that are not padding."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        for _ in range(max_new_tokens):
            positions = (mask.cumsum(-1) - 1).clamp(min=0)
            logits = self(input_ids, mask, positions).logits[:, -1:]
            input_ids = torch.cat((input_ids, logits.argmax(dim=-1)), dim=1)
            mask = torch.cat((mask, torch.ones_like(mask[:, :1])), dim=1)
        return input_ids

    def save_pretrained(self, folder, max_shard_size="5GB"):
        """The published layout: weights under their names in one file or several, and config.json."""
        tensors = dict(self.named_parameters())  # a tied head is stored once
        save_torch_state_dict(tensors, folder, max_shard_size=max_shard_size)
        (Path(folder) / "config.json").write_text(json.dumps(self.config.to_dict(), default=str))

    @classmethod
    def from_pretrained(cls, folder, config=None, dtype=torch.float32, output_loading_info=False):
        """The model, and with `output_loading_info` also which names were missing or unexpected."""
        model = cls(config or read_config(folder))
        stored = {}
        for file in sorted(Path(folder).glob("*.safetensors")):
            stored |= load_file(file)
        own = dict(model.named_parameters())
        info = {
            "missing_keys": sorted(own.keys() - stored.keys()),
            "unexpected_keys": sorted(stored.keys() - own.keys()),
        }
        with torch.no_grad():
            for name in own.keys() & stored.keys():
                own[name].copy_(stored[name])
        model = model.to(dtype).eval()
        return (model, info) if output_loading_info else model


def uses_rotary(config):
    """Whether this is the 7B form: config.json of the 13B form has `model_max_length` in its place."""
    return config.max_position_embeddings is not None


def normalises_head(config):
    """Whether this is Baichuan 2, which its vocabulary tells where the config does not say."""
    return config.vocab_size == 125696 if config.normalize_head is None else config.normalize_head
