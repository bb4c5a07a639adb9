"""Template of `config.py`, for architectures that transformers has no config class for."""

from dataclasses import field
from typing import Any

from transformers import PreTrainedConfig

from codegen.templates.holes import hole, stmts


class TemplateConfig(PreTrainedConfig):
    """{summary}"""

    model_type = hole.model_type
    keys_to_ignore_at_inference = ["past_key_values"]
    stmts.fields
