"""Parts that all generated models share."""

from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.models.common.combined_projection.combined_mlp import CombinedGateUpMLP
from nemo_automodel.components.models.common.combined_projection.combined_qkv import CombinedQKVAttentionMixin
from nemo_automodel.components.models.common.hf_checkpointing_mixin import HFCheckpointingMixin

__all__ = ["BackendConfig", "CombinedGateUpMLP", "CombinedQKVAttentionMixin", "HFCheckpointingMixin"]
