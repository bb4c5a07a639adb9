"""Another number of tokens, where the embedding has more rows than the vocabulary has tokens."""

import torch


class ResizingMixin:
    """Rows beyond the vocabulary (Moshi's one, for the start of a text) stay the last ones, and what they are.

    transformers makes tokens of them and takes their number into `config.vocab_size`, so that what it saves does not
    load again.
    """

    def resize_token_embeddings(self, *args, **kwargs):
        """As transformers'. The weight of the embedding, which is returned, is [tokens + rows beyond, H] afterwards."""
        embedding, size = self.get_input_embeddings(), self.config.get_text_config().vocab_size
        tokens, beyond = embedding.weight.data[:size], embedding.weight.data[size:]
        if not len(beyond):
            return super().resize_token_embeddings(*args, **kwargs)
        set_rows(embedding, tokens)
        embedding = super().resize_token_embeddings(*args, **kwargs)
        set_rows(embedding, torch.cat((embedding.weight.data, beyond)))
        return embedding


def set_rows(embedding, weight):
    embedding.weight.data, embedding.num_embeddings = weight, len(weight)
