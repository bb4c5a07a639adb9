"""Projections that are stored as one matrix or as several, behind one interface."""

from nemo_automodel.components.models.common.combined_projection.combined_mlp import CombinedGateUpMLP
from nemo_automodel.components.models.common.combined_projection.combined_qkv import (
    CombinedQKVAttentionMixin,
    QKVLayout,
)
from nemo_automodel.components.models.common.combined_projection.state_dict_adapter import (
    CombinedProjectionStateDictAdapter,
)

__all__ = ["CombinedGateUpMLP", "CombinedProjectionStateDictAdapter", "CombinedQKVAttentionMixin", "QKVLayout"]
