"""Config classes of models of images and text that transformers has none for."""

from typing import Any

from transformers import AutoConfig, PreTrainedConfig


class ImageTextConfig(PreTrainedConfig):
    """A config around those of a text and of a tower, whose classes `sub_configs` names.

    A text of another type is read by the class of that type: that no model is generated over it is said where one is
    built.
    """

    keys_to_ignore_at_inference = ["past_key_values"]
    sub_configs = {}
    text_config: Any = None
    vision_config: Any = None

    def __post_init__(self, **kwargs):
        for name, kind in self.sub_configs.items():
            setattr(self, name, _made(kind, getattr(self, name), is_fixed=name == "vision_config"))
        super().__post_init__(**kwargs)


def _made(kind, given, is_fixed):
    """A config of the class, or of the type that its fields name."""
    if given is None or isinstance(given, PreTrainedConfig):
        return kind() if given is None else given
    fields = dict(given)
    model_type = fields.pop("model_type", None) or kind.model_type
    return kind(**fields) if is_fixed or model_type == kind.model_type else AutoConfig.for_model(model_type, **fields)
