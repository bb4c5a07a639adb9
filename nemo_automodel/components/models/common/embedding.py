"""Token embeddings that scale what they look up."""

from torch import nn

from nemo_automodel.components.models.common.functional import cast


class ScaledEmbedding(nn.Embedding):
    """ids [B, S] -> [B, S, H], times `scale` rounded to the weight's dtype (Gemma)."""

    def __init__(self, num_embeddings, embedding_dim, padding_idx=None, *, scale):
        super().__init__(num_embeddings, embedding_dim, padding_idx)
        self.scale = scale

    def forward(self, ids):
        return super().forward(ids) * cast(self.scale, self.weight)
