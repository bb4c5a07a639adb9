"""What a training run says of mixtures of experts, beside what the architecture says."""

from dataclasses import replace
from difflib import get_close_matches

import torch

from nemo_automodel.components.moe.config import MoEConfig
from nemo_automodel.components.moe.router import Router

TRAINING = ("gate_bias_update_factor", "aux_loss_coeff", "train_gate")


def configure_training(model, fields):
    """Sets `TRAINING` fields of every MoEConfig in a model, in place.

    A correction bias that is to move becomes fp32, with the same values: in bfloat16 a step of 0.001 is lost above 0.5.
    Raises ValueError for another field, a value that cannot be, and what nothing in the model would heed.
    """
    for name in fields:
        if name not in TRAINING:
            near = "".join(f"; did you mean {match!r}?" for match in get_close_matches(name, TRAINING, 1))
            raise ValueError(f"moe.{name}: not one of {', '.join(TRAINING)}{near}")
    mixtures = [module for module in model.modules() if isinstance(getattr(module, "config", None), MoEConfig)]
    if fields and not mixtures:
        raise ValueError(f"moe: {type(model).__name__} has no mixtures of experts under this config")
    moving = bool(fields.get("gate_bias_update_factor"))
    if moving and not any(module.config.correction_bias for module in mixtures):
        raise ValueError(
            f"moe.gate_bias_update_factor: no router of {type(model).__name__} has a correction bias; "
            "balance it by moe.aux_loss_coeff"
        )
    changes = {**fields, "correction_bias_pinned": True} if moving else fields
    for module in mixtures:
        module.config = replace(module.config, **changes)
        if not isinstance(module, Router):
            continue
        if moving and module.config.correction_bias:
            module.raise_correction_bias(torch.float32)
        for parameter in (module.linear.weight, module.linear.bias) if "train_gate" in fields else ():
            if parameter is not None:
                parameter.requires_grad_(fields["train_gate"])
