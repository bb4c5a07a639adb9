"""Blocks of tokens that see each other in both directions: [B, S], the number of a token's block, or -1 for none."""

import torch
from torch.nn import functional as F

NONE = -1


def image_blocks(is_image):
    """Each run of image tokens is a block: is_image [B, S], bool (Gemma 3)."""
    starts = is_image & ~F.pad(is_image, (1, 0))[:, :-1]
    return torch.where(is_image, starts.cumsum(-1) - 1, NONE)


def prefix(token_type_ids):
    """All tokens of type 0 are one block [B, S]; None where there are no types (PaliGemma)."""
    return None if token_type_ids is None else torch.where(token_type_ids == 0, 0, NONE)


def after(blocks, seen):
    """Blocks of the new tokens [B, S] as those of all: the ones that a cache has `seen` are in none."""
    return F.pad(blocks, (seen, 0), value=NONE)
