"""The decoder of tiny.py with routed experts for its MLP: one by one on disk, or turned and interleaved in one."""

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nemo_automodel.components.models.common.checkpoint.adapter import StateDictAdapter
from nemo_automodel.components.models.common.checkpoint.expert_rules import StackExperts, StoredExperts
from nemo_automodel.components.models.common.checkpoint.rules import PackQKV, Rename
from tests.common.tiny import TinyConfig, TinyForCausalLM, TinyModel

EXPERT = "model.blocks.{}.block_sparse_moe.experts.{}.{}.weight"  # layer, expert, projection
DISK = {"model.embed_tokens": "cpu", "model.blocks.0": "cpu", "model.blocks.1": "disk"}
DISK |= {"model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}


class TinyExpertsConfig(TinyConfig):
    """stored: one interleaved tensor [E, D, 2I] with biases, as gpt_oss; else w1, w3, w2 of each expert, as mixtral."""

    model_type = "tiny_experts_of_tests_common"

    num_experts: int = 12
    moe_intermediate_size: int = 32
    stored: bool = False
    pinned: bool = False


class TinyExpertsAdapter(StateDictAdapter):
    def rules(self, config):
        pack = PackQKV("self_attn", config.num_attention_heads // config.num_key_value_heads, config.head_dim)
        gate_up, down = "mlp.experts.gate_up_proj", "mlp.experts.down_proj"
        if config.stored:
            width = config.moe_intermediate_size
            return (
                pack,
                StoredExperts(gate_up, gate_up, groups=width, transposed=True),
                StoredExperts(down, down, transposed=True),
            )
        return (
            Rename("block_sparse_moe", "mlp"),
            pack,
            StackExperts("mlp.experts", ("w1", "w3"), "gate_up_proj"),
            StackExperts("mlp.experts", ("w2",), "down_proj"),
        )


class TinyExperts(nn.Module):
    def __init__(self, config):
        super().__init__()
        experts, width, hidden = config.num_experts, config.moe_intermediate_size, config.hidden_size
        dtype = torch.float32 if config.pinned else None
        self.gate_up_proj = nn.Parameter(torch.empty(experts, 2 * width, hidden, dtype=dtype))
        self.down_proj = nn.Parameter(torch.empty(experts, hidden, width, dtype=dtype))
        if config.stored:
            self.gate_up_proj_bias = nn.Parameter(torch.empty(experts, 2 * width))
            self.down_proj_bias = nn.Parameter(torch.empty(experts, hidden))

    def forward(self, x, weights):
        """x [B, S, H], weights [B, S, E]: every expert sees every token."""
        biases = (self.gate_up_proj_bias[:, None, None], self.down_proj_bias[:, None, None]) if self.stored else (0, 0)
        gate, up = (torch.einsum("bsh,erh->ebsr", x, self.gate_up_proj) + biases[0]).chunk(2, -1)
        y = torch.einsum("ebsi,ehi->ebsh", nn.functional.silu(gate) * up, self.down_proj) + biases[1]
        return torch.einsum("ebsh,bse->bsh", y, weights)

    @property
    def stored(self):
        return hasattr(self, "down_proj_bias")


class TinyMixture(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate = nn.Linear(config.hidden_size, config.num_experts, bias=False)
        self.gate.e_score_correction_bias = nn.Parameter(torch.zeros(config.num_experts, dtype=torch.float32))
        self.experts = TinyExperts(config)

    def forward(self, x):
        scores = (self.gate(x) + self.gate.e_score_correction_bias).softmax(-1)
        return self.experts(x, scores.to(x.dtype))


class TinyExpertsModel(TinyModel):
    config_class = TinyExpertsConfig
    adapter_class = TinyExpertsAdapter
    _keep_in_fp32_modules_strict = ["e_score_correction_bias"]

    def __init__(self, config, backend=None):
        super().__init__(config, backend)
        for block in self.blocks:
            block.mlp = TinyMixture(config)


class TinyExpertsForCausalLM(TinyForCausalLM):
    config_class = TinyExpertsConfig
    adapter_class = TinyExpertsAdapter
    _keep_in_fp32_modules_strict = ["e_score_correction_bias"]

    def __init__(self, config, backend=None):
        super().__init__(config, backend)
        self.model = TinyExpertsModel(config, self.backend)
        self.post_init()


def tiny_experts(projections="split", seed=0, **fields):
    """A model in eval mode, each of its weights unlike the others."""
    torch.manual_seed(seed)
    config = TinyExpertsConfig(**fields)
    model = TinyExpertsForCausalLM._from_config(config, backend={"projections": projections})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def rewrite(path, change):
    """Saves the checkpoint's tensors again as `change` leaves them, in one file."""
    file = path / "model.safetensors"
    tensors = load_file(file)
    tensors = change(tensors) or tensors
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file, {"format": "pt"})
