"""Template of `state_dict_adapter.py`."""

from codegen.templates.holes import hole
from nemo_automodel.components.models.common.checkpoint.adapter import StateDictAdapter
from nemo_automodel.components.models.common.checkpoint.expert_rules import StackExperts, StoredExperts
from nemo_automodel.components.models.common.checkpoint.rules import (
    JoinRows,
    PackGateUp,
    PackQKV,
    Rename,
    ReorderGateUp,
    ReorderQKV,
    Transpose,
    Unsqueeze,
)
from nemo_automodel.components.models.common.combined_projection.state_dict_adapter import (
    CombinedProjectionStateDictAdapter,
)
from nemo_automodel.components.models.common.functional import head_size


class TemplateStateDictAdapter(StateDictAdapter):
    """Rules in the order in which they are tried."""

    def rules(self, config):
        return hole.rules


class TemplateDefaultStateDictAdapter(CombinedProjectionStateDictAdapter):
    """Llama's layout: q, k, v and gate, up stand apart on disk."""


class TemplatePlainStateDictAdapter(StateDictAdapter):
    """Memory and disk are alike."""
