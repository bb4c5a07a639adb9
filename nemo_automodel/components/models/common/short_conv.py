"""The gated short convolution (LFM2)."""

import torch

from nemo_automodel.components.models.common.causal_conv import ConvolvedMixer, convolve
from nemo_automodel.components.models.common.chunk_by_chunk import by_hand
from nemo_automodel.components.models.common.convolution import GatedConvolution


class ShortConv(ConvolvedMixer):
    """What a gated short convolution has beside its projections."""

    def gated(self, conv, B, C, x, mask, cache, **kwargs):
        """C times what the convolution makes of B * x, all [B, S, H]; in training one node that keeps them alone."""
        weight, is_trained = conv.weight.squeeze(1), cache is None and torch.is_grad_enabled()
        if is_trained and self.convolution is convolve and by_hand((B, C, x, weight)):
            documents = None if mask is None else mask.documents
            return GatedConvolution.apply(B, C, x, weight, conv.bias, documents)
        return C * self.convolved(conv, B * x, mask, cache, **kwargs)
