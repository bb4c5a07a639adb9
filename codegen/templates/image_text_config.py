"""Template of `config.py`, for models of images and text that transformers has no config class for."""

from dataclasses import field
from typing import Any

from transformers import PreTrainedConfig
from transformers import PreTrainedConfig as TemplateTextConfig

from codegen.templates.holes import hole, stmts
from nemo_automodel.components.models.common.vision.config import ImageTextConfig

LIBRARY = (field, Any, PreTrainedConfig, TemplateTextConfig, ImageTextConfig)


class TemplateVisionConfig(PreTrainedConfig):
    """The tower."""

    model_type = hole.tower_type
    base_config_key = "vision_config"
    stmts.tower_fields


class TemplateConfig(ImageTextConfig):
    """{summary}"""

    model_type = hole.model_type
    sub_configs = {"text_config": TemplateTextConfig, "vision_config": TemplateVisionConfig}
    stmts.fields
