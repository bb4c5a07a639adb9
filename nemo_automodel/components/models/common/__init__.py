"""Parts that all generated models share."""

from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.models.common.combined_projection.combined_mlp import CombinedGateUpMLP
from nemo_automodel.components.models.common.combined_projection.combined_qkv import CombinedQKVAttentionMixin
from nemo_automodel.components.models.common.hf_checkpointing_mixin import HFCheckpointingMixin
from nemo_automodel.components.models.common.linear import initialize_linear_module
from nemo_automodel.components.models.common.norm import initialize_rms_norm_module
from nemo_automodel.components.models.common.rope import get_rope_config

__all__ = [
    "BackendConfig",
    "CombinedGateUpMLP",
    "CombinedQKVAttentionMixin",
    "HFCheckpointingMixin",
    "get_rope_config",
    "initialize_linear_module",
    "initialize_rms_norm_module",
]
