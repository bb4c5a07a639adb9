"""What base models and models with a head have in common: their backend, their start values, their projections."""

from dataclasses import replace

import torch
from transformers import PreTrainedModel

from nemo_automodel.components.models.common.attention import Attention
from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.models.common.combined_projection.packing import PackingMixin
from nemo_automodel.components.models.common.hf_checkpointing_mixin import HFCheckpointingMixin
from nemo_automodel.components.models.common.releases import CheckpointedLayer
from nemo_automodel.components.models.common.resizing import ResizingMixin


class Decoder(HFCheckpointingMixin, ResizingMixin, PreTrainedModel):
    """Common to base models and to models with a head."""

    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _skip_keys_device_placement = ["past_key_values", "cache"]
    _can_record_outputs = {"hidden_states": CheckpointedLayer, "attentions": Attention}

    def __init__(self, config, backend=None):
        backend = BackendConfig.of(backend).resolved()
        if backend.attn != "auto":
            config._attn_implementation = backend.attn
        super().__init__(config)
        self.backend = backend

    @torch.no_grad()
    def _init_weights(self, module):
        if hasattr(module, "initialize"):
            config = self.config.get_text_config()
            module.initialize(getattr(config, "initializer_range", 0.02))  # as PreTrainedModel, of OPT too
        else:
            super()._init_weights(module)

    def get_decoder(self):
        """The base model, whatever else a family calls a decoder."""
        return self.base_model

    def _initialize_weights(self, module, is_custom_code=False):
        """A module without tensors of its own may still start those inside it, of which transformers leaves out what
        was loaded."""
        holds = any(True for _ in (*module.parameters(recurse=False), *module.buffers(recurse=False)))
        super()._initialize_weights(module, is_custom_code and holds)

    def post_init(self):
        super().post_init()
        for module in self.modules():
            if hasattr(type(module), "bind"):
                module.bind(self.backend)

    def split_projections(self):
        """Unpacks packed projections, in place: names in memory are those of transformers' class then."""
        for module in self.modules():
            if isinstance(module, PackingMixin) and module.packed:
                module.unpack()
        for module in self.modules():
            if isinstance(module, Decoder):
                module.backend = replace(module.backend, projections="split")

    def add_adapter(self, *args, **kwargs):
        self.split_projections()
        return super().add_adapter(*args, **kwargs)

    def load_adapter(self, *args, **kwargs):
        self.split_projections()
        return super().load_adapter(*args, **kwargs)
