"""Template of the experts' config."""

from codegen.templates.holes import hole
from nemo_automodel.components.moe.config import MoEConfig


def template_moe_config(config):
    """The experts of a layer, from the model's config."""
    return hole.moe_config


def template_layer_moe_config(config, layer_idx):
    """The experts of one layer, from the model's config."""
    return hole.moe_config
