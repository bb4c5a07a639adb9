"""What is added after the first layers, in padded batches of several images: against a sum that is written out."""

import pytest
import torch

from nemo_automodel.testing.asserting import close
from tests.common.vision import configs, shapes

TOKEN, IMAGES = 9, [(2, 1), (), (3,)]  # rows of the images of each text


def batch(left):
    """Ids and mask [3, S] of texts that have images between words."""
    texts = [[5, *(token for rows in images for token in [TOKEN] * rows + [6]), 7] for images in IMAGES]
    length = max(map(len, texts)) + 2
    rows = [(length - len(text), text) for text in texts]
    ids = torch.tensor([[0] * pad + text if left else text + [0] * pad for pad, text in rows])
    mask = torch.tensor([[0] * pad + [1] * len(t) if left else [1] * len(t) + [0] * pad for pad, t in rows])
    return ids, mask


@pytest.fixture
def model(monkeypatch):
    """Its layers and its last norm change nothing, so that the sum alone is left."""
    config = shapes.Qwen3VLConfig(**configs.QWEN3_VL)
    made = shapes.Qwen3VLModel(config).eval()
    made.image_token = TOKEN
    monkeypatch.setattr(made, "given", lambda keywords: {"pixel_values": keywords["pixel_values"]})  # rows already
    for layer in made.decoder_layers:
        monkeypatch.setattr(layer, "forward", lambda x, **context: x)
    monkeypatch.setattr(made.language_model.norm, "forward", lambda x: x)
    monkeypatch.setattr(made, "boxes", lambda **images: torch.tensor([[1, 1, n] for of in IMAGES for n in of]))
    return made


@pytest.mark.parametrize("left", [True, False], ids=["left", "right"])
def test_rows_are_added_at_their_own_places(model, left, monkeypatch):
    ids, mask = batch(left)
    count, hidden = int((ids == TOKEN).sum()), model.config.text_config.hidden_size
    rows, *deep = torch.randn(3, count, hidden, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(model, "image_features", lambda **images: (rows, deep))
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=mask, pixel_values=rows).last_hidden_state
        wanted = model.get_input_embeddings()(ids)
    taken = iter(range(count))
    for text, place in (ids == TOKEN).nonzero().tolist():
        row = next(taken)
        wanted[text, place] = rows[row] + deep[0][row] + deep[1][row]
    close(found[mask.bool()], wanted[mask.bool()])


def test_the_k_th_is_added_after_layer_k(model, monkeypatch):
    """A layer that doubles doubles what was added before it."""
    ids, mask = batch(left=True)
    count, hidden = int((ids == TOKEN).sum()), model.config.text_config.hidden_size
    rows, *deep = torch.randn(3, count, hidden, generator=torch.Generator().manual_seed(2))
    monkeypatch.setattr(model, "image_features", lambda **images: (rows, deep))
    monkeypatch.setattr(model.decoder_layers[1], "forward", lambda x, **context: 2 * x)
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=mask, pixel_values=rows).last_hidden_state
    close(found[ids == TOKEN], 2 * (rows + deep[0]) + deep[1])
