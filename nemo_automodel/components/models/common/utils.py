"""Thin re-exports, at the path under which model files of the wider NeMo family look for them."""

from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.models.common.linear import initialize_linear_module
from nemo_automodel.components.models.common.norm import initialize_rms_norm_module
from nemo_automodel.components.models.common.rope import get_rope_config

__all__ = ["BackendConfig", "get_rope_config", "initialize_linear_module", "initialize_rms_norm_module"]
