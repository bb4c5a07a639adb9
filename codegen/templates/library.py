"""Template of imports: every name that code of a plan may use, where it lives."""

from math import floor, log, sqrt

import torch
from torch import nn, sigmoid, tanh
from torch.nn.functional import gelu, silu, softplus

from nemo_automodel.components.models.common.activations import ACT
from nemo_automodel.components.models.common.alibi import Alibi
from nemo_automodel.components.models.common.causal_lm import CausalLM, DecoderModel
from nemo_automodel.components.models.common.combined_projection.combined_mlp import CombinedGateUpMLP
from nemo_automodel.components.models.common.combined_projection.combined_qkv import QKVLayout
from nemo_automodel.components.models.common.embedding import (
    Float32ScaledEmbedding,
    ScaledEmbedding,
    SinusoidalPositions,
)
from nemo_automodel.components.models.common.functional import (
    act,
    bfloat16,
    clamped_glu,
    given,
    head_size,
    newer,
    per_layer,
    softcap,
    yarn_mscale,
)
from nemo_automodel.components.models.common.gated_norm import Gate, GatedRMSNorm
from nemo_automodel.components.models.common.head import NormalizedHead
from nemo_automodel.components.models.common.linear import LateBiasLinear
from nemo_automodel.components.models.common.nested import place
from nemo_automodel.components.models.common.norm import (
    Float32LayerNorm,
    Float32RMSNorm,
    OffsetFloat32LayerNorm,
    OffsetFloat32RMSNorm,
    OffsetLayerNorm,
    OffsetRMSNorm,
    PerHeadNorms,
    RMSNorm,
    UnitLayerNorm,
    UnitRMSNorm,
)
from nemo_automodel.components.models.common.rope import RotaryTable, rotate_halves, rotate_pairs, tables_by_layer
from nemo_automodel.components.moe.causal_lm import MoECausalLM, MoEDecoderModel
from nemo_automodel.components.moe.experts import FlatExperts, TransposedExperts, UnmarkedTransposedExperts
from nemo_automodel.components.moe.layers import MoE
