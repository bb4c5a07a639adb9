"""MoE layers of transformers, with the MoEConfig that should equal each, and their weights under our names."""

from dataclasses import dataclass, field

import torch
from transformers import (
    AriaTextConfig,
    Cohere2MoeConfig,
    DbrxConfig,
    DeepseekV2Config,
    DeepseekV3Config,
    Ernie4_5_MoeConfig,
    GptOssConfig,
    GraniteMoeConfig,
    HunYuanMoEV1Config,
    Llama4TextConfig,
    MiniMaxM2Config,
    Mistral4Config,
    MixtralConfig,
    NemotronHConfig,
    PhimoeConfig,
    Qwen2MoeConfig,
    Qwen3MoeConfig,
)
from transformers.models.aria.modeling_aria import AriaTextMoELayer
from transformers.models.cohere2_moe.modeling_cohere2_moe import Cohere2MoeSparseMoeBlock
from transformers.models.dbrx.modeling_dbrx import DbrxFFN
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Moe
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3MoE
from transformers.models.ernie4_5_moe.modeling_ernie4_5_moe import Ernie4_5_MoeSparseMoeBlock
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssMLP
from transformers.models.granitemoe.modeling_granitemoe import GraniteMoeMoE
from transformers.models.hunyuan_v1_moe.modeling_hunyuan_v1_moe import HunYuanMoEV1Moe
from transformers.models.llama4.modeling_llama4 import Llama4TextMoe
from transformers.models.minimax_m2.modeling_minimax_m2 import MiniMaxM2SparseMoeBlock
from transformers.models.mistral4.modeling_mistral4 import Mistral4MoE
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
from transformers.models.nemotron_h import modeling_nemotron_h as nemotron_h
from transformers.models.phimoe.modeling_phimoe import PhimoeSparseMoeBlock
from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeSparseMoeBlock
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.moe.config import MoEConfig
from nemo_automodel.components.moe.layers import MoE
from nemo_automodel.parity.memory import renamed

D, WIDTH, E, K = 32, 16, 8, 3
SIZES = {"hidden_size": D, "moe_intermediate_size": WIDTH, "intermediate_size": WIDTH, "num_experts_per_tok": K}
GROUPS = {"n_group": 4, "topk_group": 2, "n_shared_experts": 2}


@dataclass
class Reference:
    """build() makes transformers' layer; `moe` are MoEConfig's fields beyond dims; `names`: ours -> theirs."""

    build: object
    moe: dict
    names: dict = field(default_factory=dict)
    convert: dict = field(default_factory=dict)


def transposed(tensor):
    return tensor.transpose(1, 2)


def deinterleaved(tensor):
    """Rows [gate_0, up_0, gate_1, ...] in dimension 1 -> gate, then up."""
    return torch.cat([tensor[:, ::2], tensor[:, 1::2]], dim=1)


DEEPSEEK = {
    "score_func": "sigmoid",
    "gate_dtype": "float32",
    "weights_dtype": "float32",
    "correction_bias": True,
    "n_expert_groups": 4,
    "n_limited_groups": 2,
    "norm_topk_prob": True,
    "route_scale": 2.5,
    "n_shared_experts": 2,
}

REFERENCES = {
    "qwen3_moe": Reference(
        lambda: Qwen3MoeSparseMoeBlock(Qwen3MoeConfig(**SIZES, num_experts=E, norm_topk_prob=True)),
        {"norm_topk_prob": True},
    ),
    "mixtral": Reference(
        lambda: MixtralSparseMoeBlock(MixtralConfig(**SIZES, num_local_experts=E)),
        {"norm_topk_prob": True, "weights_dtype": "float32"},
    ),
    "qwen2_moe": Reference(
        lambda: Qwen2MoeSparseMoeBlock(Qwen2MoeConfig(**SIZES, num_experts=E, shared_expert_intermediate_size=20)),
        {"shared_expert_inter_dim": 20, "shared_expert_gate": True},
        {"shared_experts": "shared_expert"},
    ),
    "deepseek_v3": Reference(
        lambda: DeepseekV3MoE(DeepseekV3Config(**SIZES, **GROUPS, n_routed_experts=E, routed_scaling_factor=2.5)),
        DEEPSEEK,
    ),
    "deepseek_v2": Reference(
        lambda: DeepseekV2Moe(
            DeepseekV2Config(
                **SIZES, **GROUPS, n_routed_experts=E, topk_method="group_limited_greedy", routed_scaling_factor=1.5
            )
        ),
        {
            "gate_dtype": "float32",
            "weights_dtype": "float32",
            "n_expert_groups": 4,
            "n_limited_groups": 2,
            "group_score": "max",
            "route_scale": 1.5,
            "n_shared_experts": 2,
        },
    ),
    "mistral4": Reference(
        lambda: Mistral4MoE(Mistral4Config(**SIZES, **GROUPS, n_routed_experts=E, num_local_experts=E)),
        {
            "gate_dtype": "model",
            "n_expert_groups": 4,
            "n_limited_groups": 2,
            "group_masked": 0.0,
            "norm_topk_prob": True,
            "n_shared_experts": 2,
        },
    ),
    "gpt_oss": Reference(
        lambda: GptOssMLP(GptOssConfig(**SIZES, num_local_experts=E)),
        {
            "router_bias": True,
            "softmax_before_topk": False,
            "gate_dtype": "model",
            "expert_bias": True,
            "glu_limit": 7.0,
            "glu_alpha": 1.702,
            "glu_up_offset": 1,
        },
        {"gate": "router"},
        {
            "experts.gate_up_proj": lambda t: deinterleaved(transposed(t)),
            "experts.gate_up_proj_bias": deinterleaved,
            "experts.down_proj": transposed,
        },
    ),
    "granitemoe": Reference(
        lambda: GraniteMoeMoE(GraniteMoeConfig(**SIZES, num_local_experts=E)),
        {"softmax_before_topk": False},
        {"gate": "router"},
    ),
    "ernie4_5_moe": Reference(
        lambda: Ernie4_5_MoeSparseMoeBlock(
            Ernie4_5_MoeConfig(**SIZES, moe_num_experts=E, moe_k=K, moe_num_shared_experts=2, use_bias=True)
        ),
        {
            "gate_dtype": "float32",
            "gate_pinned": True,
            "correction_bias": True,
            "norm_topk_prob": True,
            "norm_topk_min": 1e-12,
            "n_shared_experts": 2,
            "shared_bias": True,
        },
        {"gate.e_score_correction_bias": "gate.moe_statics.e_score_correction_bias"},
        {"gate.e_score_correction_bias": torch.flatten},
    ),
    "minimax_m2": Reference(
        lambda: MiniMaxM2SparseMoeBlock(MiniMaxM2Config(**SIZES, num_local_experts=E)),
        {"score_func": "sigmoid", "correction_bias": True, "norm_topk_prob": True, "weights_dtype": "float32"},
        {"gate.e_score_correction_bias": "e_score_correction_bias"},
    ),
    "hunyuan_v1_moe": Reference(
        lambda: HunYuanMoEV1Moe(HunYuanMoEV1Config(**SIZES, num_experts=E, moe_topk=K), layer_idx=0),
        {
            "gate_dtype": "float32",
            "gate_pinned": True,
            "norm_topk_prob": True,
            "weights_dtype": "float32",
            "shared_expert_inter_dim": WIDTH,
        },
        {"gate.weight": "gate.wg.weight", "shared_experts": "shared_mlp"},
    ),
    "cohere2_moe": Reference(
        lambda: Cohere2MoeSparseMoeBlock(
            Cohere2MoeConfig(
                **SIZES,
                num_experts=E,
                num_shared_experts=2,
                expert_selection_fn="sigmoid",
                norm_topk_prob=True,
                shared_expert_combination_strategy="average",
            )
        ),
        {
            "score_func": "sigmoid",
            "softmax_before_topk": False,
            "norm_topk_prob": True,
            "n_shared_experts": 2,
            "shared_combine": "mean",
        },
    ),
    "llama4_text": Reference(
        lambda: Llama4TextMoe(Llama4TextConfig(**SIZES, num_local_experts=E)),
        {"score_func": "sigmoid", "softmax_before_topk": False, "weight_at": "input", "shared_expert_inter_dim": WIDTH},
        {"gate": "router", "shared_experts": "shared_expert"},
        {"experts.gate_up_proj": transposed, "experts.down_proj": transposed},
    ),
    "dbrx": Reference(
        lambda: DbrxFFN(
            DbrxConfig(
                d_model=D,
                ffn_config={
                    "hidden_size": D,
                    "ffn_hidden_size": WIDTH,
                    "moe_num_experts": E,
                    "moe_top_k": K,
                    "moe_normalize_expert_weights": 2.0,
                    "ffn_act_fn": {"name": "silu"},
                    "moe_jitter_eps": None,
                },
            )
        ),
        {"gate_dtype": "model", "norm_topk_prob": True, "norm_topk_order": 2.0},
        {
            "gate.weight": "router.layer.weight",
            "experts.gate_up_proj": ("experts.mlp.w1", "experts.mlp.v1"),
            "experts.down_proj": "experts.mlp.w2",
        },
        {
            "experts.gate_up_proj": lambda w1, v1: torch.cat([w1.view(E, WIDTH, D), v1.view(E, WIDTH, D)], dim=1),
            "experts.down_proj": lambda w2: transposed(w2.view(E, WIDTH, D)),
        },
    ),
    "aria_text": Reference(
        lambda: AriaTextMoELayer(AriaTextConfig(**SIZES, moe_num_experts=E, moe_topk=K, moe_num_shared_experts=2)),
        {"softmax_before_topk": False, "n_shared_experts": 2},
        {"gate": "router"},
        {"experts.gate_up_proj": transposed, "experts.down_proj": transposed},
    ),
    "phimoe": Reference(
        lambda: PhimoeSparseMoeBlock(PhimoeConfig(**{**SIZES, "num_experts_per_tok": 2}, num_local_experts=E)).eval(),
        {"score_func": "sparsemixer", "router_jitter": 0.01, "n_activated_experts": 2},
        {"gate": "router"},
    ),
    "nemotron_h": Reference(
        lambda: nemotron_h.NemotronHMoE(
            NemotronHConfig(
                **SIZES,
                **GROUPS,
                n_routed_experts=E,
                moe_shared_expert_intermediate_size=20,
                moe_latent_size=12,
                mlp_bias=True,
                routed_scaling_factor=2.0,
            )
        ),
        {
            "score_func": "sigmoid",
            "gate_dtype": "float32",
            "correction_bias": True,
            "n_expert_groups": 4,
            "n_limited_groups": 2,
            "norm_topk_prob": True,
            "route_scale": 2.0,
            "expert_kind": "plain",
            "expert_activation": "relu2",
            "moe_latent_size": 12,
            "moe_latent_bias": True,
            "shared_kind": "plain",
            "shared_bias": True,
            "shared_expert_inter_dim": 20,
        },
    ),
}


def build(name, backend=None):
    """(transformers' layer, ours) in float32, all tensors of the first drawn at random, and copied to the second."""
    reference = REFERENCES[name]
    theirs = reference.build()
    for tensor in theirs.state_dict().values():
        spread = tensor.shape[-1] ** -0.5 if tensor.dim() > 1 else 0.5
        tensor.normal_(0.0, spread)
    ours = MoE(moe_config(**reference.moe), BackendConfig.of(backend))
    source = named(theirs.state_dict())
    ours.load_state_dict({key: pick(reference, source, key) for key in ours.state_dict()})
    return theirs, ours.train(theirs.training)


def moe_config(**fields):
    sizes = {"dim": D, "moe_inter_dim": WIDTH, "n_routed_experts": E, "n_activated_experts": K}
    return MoEConfig(**{**sizes, **fields})


def named(tensors):
    """Tensors of a layer of transformers under the names that its newest release has."""
    return {renamed(name): tensor for name, tensor in tensors.items()}


def pick(reference, source, key):
    """The tensor of `source` (their names) that our `key` stands for, in our layout."""
    found = [ours for ours in reference.names if key == ours or key.startswith(f"{ours}.")]
    ours = found[0] if found else key
    theirs = reference.names.get(ours, key)
    names = (theirs,) if isinstance(theirs, str) else theirs
    tensors = [source[name + key[len(ours) :]] for name in names]
    return reference.convert.get(key, lambda t: t)(*tensors)
