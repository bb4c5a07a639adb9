"""Template of `model.py` of a model of images and text, around its text model."""

import torch
from torch import nn
from transformers import PreTrainedConfig as TemplateConfig
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.processing_utils import Unpack
from transformers.utils.generic import TransformersKwargs

from codegen.templates.holes import hole, stmts, when
from nemo_automodel.components.models.common.causal_lm import CausalLM as TemplateCausalLM
from nemo_automodel.components.models.common.functional import given, newer, softcap
from nemo_automodel.components.models.common.nested import place
from nemo_automodel.components.models.common.norm import OffsetFloat32RMSNorm, RMSNorm
from nemo_automodel.components.models.common.vision.adapter import (
    ImageTextStateDictAdapter as TemplateStateDictAdapter,
)
from nemo_automodel.components.models.common.vision.batch import flatten, not_, patch_mask, real_images, with_time
from nemo_automodel.components.models.common.vision.causal import ImageTextLM
from nemo_automodel.components.models.common.vision.layers import layers, of_layers
from nemo_automodel.components.models.common.vision.masks import image_blocks, prefix
from nemo_automodel.components.models.common.vision.merging import avg_pool, merge_patches
from nemo_automodel.components.models.common.vision.model import (
    ImageTextModel,
    ImageTextModelWithAxes,
    ImageTextModelWithDeepstack,
)
from nemo_automodel.components.models.common.vision.positions import AxesRotaryTable, merged_boxes
from nemo_automodel.components.models.common.vision.rows import rows, square_grid
from nemo_automodel.components.models.common.vision.tiles import Tiles
from nemo_automodel.components.models.common.vision.tower import build_tower

LIBRARY = (
    *(torch, init, ACT2FN, Unpack, TransformersKwargs, place, OffsetFloat32RMSNorm, RMSNorm, patch_mask, real_images),
    *(
        Tiles,
        flatten,
        not_,
        with_time,
        layers,
        of_layers,
        image_blocks,
        prefix,
        avg_pool,
        merge_patches,
        ImageTextModel,
    ),
    *(ImageTextModelWithAxes, ImageTextModelWithDeepstack, AxesRotaryTable, merged_boxes, rows, square_grid),
    build_tower,
    given,
    newer,
    softcap,
)


class TemplateTextModel:
    """The generated text model."""


class TemplateProjector(nn.Module):
    """Rows in the tower's width -> rows in the text's: x [..., D] -> [..., H]."""

    def __init__(self, config):
        super().__init__()
        stmts.parts

    if when.starts:

        def initialize(self, std):
            stmts.starts

    def forward(self, x, maybe_grid):
        stmts.equations
        return hole.projected


class TemplateModel(ImageTextModel):
    """ids [B, S], images -> x [B, S, H]."""

    config_class = TemplateConfig
    adapter_class = TemplateStateDictAdapter
    stmts.flags

    def __init__(self, config, backend=None):
        super().__init__(config, backend)
        self.image_token = hole.token
        self.role_tower = hole.tower
        if when.projector:
            self.role_projector = hole.projector
        stmts.vectors
        self.role_text = TemplateTextModel(config.text_config, self.backend)
        stmts.positions
        self.post_init()

    if when.vectors:

        def initialize(self, std):
            stmts.starts

    stmts.methods


class TemplateForConditionalGeneration(ImageTextLM, TemplateCausalLM):
    """ids [B, S], images -> logits [B, S, V]."""

    config_class = TemplateConfig
    adapter_class = TemplateStateDictAdapter
    stmts.head_flags

    def __init__(self, config, backend=None):
        super().__init__(config, backend)
        self.model = TemplateModel(config, self.backend)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    stmts.forward

    if when.before_head:

        def before_head(self, x):
            return hole.before

    if when.transform_logits:

        def transform_logits(self, logits):
            return hole.logits
