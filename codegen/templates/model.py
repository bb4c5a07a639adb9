"""Template of `model.py` of a decoder, around its mixers."""

from torch import nn
from transformers import PreTrainedConfig as TemplateConfig

from codegen.templates.holes import hole, stmts, when
from nemo_automodel.components.models.common.causal_lm import CausalLM as TemplateCausalLM
from nemo_automodel.components.models.common.causal_lm import DecoderLayer
from nemo_automodel.components.models.common.causal_lm import DecoderModel as TemplateDecoderModel
from nemo_automodel.components.models.common.checkpoint.adapter import StateDictAdapter as TemplateStateDictAdapter


class TemplateDecoderLayer(DecoderLayer):
    """{layer}: x [B, S, H] -> x [B, S, H]."""

    def __init__(self, config, layer_idx, backend):
        super().__init__()
        stmts.parts

    def forward(self, x, maybe_padding_mask=None, **context):
        stmts.block
        return hole.block


class TemplateWiredDecoderLayer(TemplateDecoderLayer):
    """{layer}: x [B, S, H] -> x [B, S, H]."""

    def forward(self, x, maybe_padding_mask=None, **context):
        stmts.block
        return hole.block


class TemplateModel(TemplateDecoderModel):
    """ids [B, S] -> x [B, S, H]."""

    config_class = TemplateConfig
    adapter_class = TemplateStateDictAdapter
    stmts.flags

    def __init__(self, config, backend=None):
        super().__init__(config, backend)
        stmts.inputs
        if when.layer_class_is_local:
            stmts.layer_class
            self.role_layers = nn.ModuleList(
                layer_class(config, layer, self.backend) for layer in range(config.num_hidden_layers)
            )
        else:
            self.role_layers = nn.ModuleList(
                hole.layer_class(config, layer, self.backend) for layer in range(config.num_hidden_layers)
            )
        stmts.outputs
        self.post_init()

    if when.embed:

        def embed(self, x, position_ids):
            stmts.embed
            return hole.embedded

    if when.finish:

        def finish(self, x):
            return hole.finish


class TemplateForCausalLM(TemplateCausalLM):
    """ids [B, S] -> logits [B, S, V]."""

    config_class = TemplateConfig
    adapter_class = TemplateStateDictAdapter
    stmts.head_flags

    def __init__(self, config, backend=None):
        super().__init__(config, backend)
        self.role_model = TemplateModel(config, self.backend)
        stmts.head
        self.post_init()

    if when.before_head:

        def before_head(self, x):
            return hole.before

    if when.transform_logits:

        def transform_logits(self, logits):
            return hole.logits
