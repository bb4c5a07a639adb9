"""Blocks of tokens that see each other in both directions: runs of image tokens, or a prefix."""

import torch
from torch.nn import functional as F

from nemo_automodel.components.models.common.mask_kinds import Blocks

NONE = -1


def image_blocks(is_image):
    """Each run of image tokens is a block: is_image [B, S], bool (Gemma 3). A window hides what lies before it."""
    starts = is_image & ~F.pad(is_image, (1, 0))[:, :-1]
    return Blocks(torch.where(is_image, starts.cumsum(-1) - 1, NONE), in_windows=True)


def prefix(token_type_ids):
    """All tokens of type 0 are one block [B, S], whatever a window hides; None where there are no types (PaliGemma)."""
    return None if token_type_ids is None else Blocks(torch.where(token_type_ids == 0, 0, NONE))
