"""The gated short convolution (LFM2)."""

from nemo_automodel.components.models.common.causal_conv import ConvolvedMixer


class ShortConv(ConvolvedMixer):
    """What a gated short convolution has beside its projections."""
