"""What the `forward` of every token mixer takes: what stands where a template has the parameter `contract`."""


def forward(self, x, rope, mask, past_key_values=None, **kwargs):
    """x [B, S, H]; rope: cos and sin [B, S, R], or none; mask and kwargs: as the attention function wants them."""
