"""MoonViT and its projector by formula, over tensors as they are published: what our adapter makes of them is the same.

Source: the tower of Kimi-VL (arXiv 2504.07491): queries and keys of one matrix turn in pairs (2i, 2i + 1), in which
columns and rows of the picture take turns.
"""

import torch
from torch.nn import functional as F

from nemo_automodel.components.models.kimivl.config import KimiVLConfig
from nemo_automodel.components.models.kimivl.model import KimiVLForConditionalGeneration
from nemo_automodel.parity.randomise import randomise

WIDTH, HEADS, PATCH, TABLE, LAYERS = 32, 2, 3, 5, 2
SIZES = [(4, 6), (2, 4)]  # height and width of two images, in patches
TOWER = {
    "hidden_size": WIDTH,
    "intermediate_size": 20,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "patch_size": PATCH,
    "init_pos_emb_height": TABLE,
    "init_pos_emb_width": TABLE,
}
TEXT = {
    **{"vocab_size": 32, "hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2},
    **{"q_lora_rank": 4, "kv_lora_rank": 4, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "v_head_dim": 4},
    **{"moe_intermediate_size": 4, "n_routed_experts": 4, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2},
    **{"num_key_value_heads": 2, "first_k_dense_replace": 1},
}


def norm(disk, name, x):
    return F.layer_norm(x, (WIDTH,), disk[f"{name}.weight"], disk[f"{name}.bias"], 1e-5)


def linear(disk, name, x):
    return F.linear(x, disk[f"{name}.weight"], disk[f"{name}.bias"])


def positions(disk, height, width):
    """The learned table [height * width, D], stretched over the picture."""
    table = disk["vision_tower.patch_embed.pos_emb.weight"].permute(2, 0, 1)[None]
    return F.interpolate(table, (height, width), mode="bicubic")[0].flatten(1).t()


def turned(x, height, width):
    """x [P, heads, d]: pair 2k turns by the column and pair 2k + 1 by the row, both at the k-th of d/4 frequencies."""
    size = WIDTH // HEADS
    frequencies = 10000.0 ** (-torch.arange(0, size, 4) / size)
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    angles = torch.stack([column.flatten()[:, None] * frequencies, row.flatten()[:, None] * frequencies], -1).flatten(1)
    cos, sin, a, b = angles.cos()[:, None], angles.sin()[:, None], x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)


def features(disk, pixels, height, width):
    """Rows of one image [height * width / 4, H]."""
    kernel = disk["vision_tower.patch_embed.proj.weight"].flatten(1)
    x = pixels.flatten(1) @ kernel.t() + disk["vision_tower.patch_embed.proj.bias"] + positions(disk, height, width)
    for layer in range(LAYERS):
        path = f"vision_tower.encoder.blocks.{layer}"
        heads = linear(disk, f"{path}.wqkv", norm(disk, f"{path}.norm0", x)).view(len(x), 3, HEADS, -1)
        q, k, v = turned(heads[:, 0], height, width), turned(heads[:, 1], height, width), heads[:, 2]
        scores = torch.einsum("phd,qhd->hpq", q, k) * (WIDTH // HEADS) ** -0.5
        x = x + linear(disk, f"{path}.wo", torch.einsum("hpq,qhd->phd", scores.softmax(-1), v).flatten(1))
        hidden = F.gelu(linear(disk, f"{path}.mlp.fc0", norm(disk, f"{path}.norm1", x)), approximate="tanh")
        x = x + linear(disk, f"{path}.mlp.fc1", hidden)
    x = norm(disk, "vision_tower.encoder.final_layernorm", x)
    x = norm(disk, "multi_modal_projector.pre_norm", x)
    blocks = x.view(height // 2, 2, width // 2, 2, WIDTH).transpose(1, 2).reshape(-1, 4 * WIDTH)
    hidden = F.gelu(linear(disk, "multi_modal_projector.linear_1", blocks))
    return linear(disk, "multi_modal_projector.linear_2", hidden)


@torch.no_grad()
def test_features_of_published_tensors():
    model = KimiVLForConditionalGeneration._from_config(
        KimiVLConfig(text_config=TEXT, vision_config=TOWER, media_placeholder_token_id=31)
    ).eval()
    randomise(model)
    disk = model.state_dict_adapter.to_hf(model.state_dict())
    generator = torch.Generator().manual_seed(3)
    pixels = [torch.randn(height * width, 3, PATCH, PATCH, generator=generator) for height, width in SIZES]
    wanted = torch.cat([features(disk, one, *size) for one, size in zip(pixels, SIZES, strict=True)])
    found = model.get_image_features(pixel_values=torch.cat(pixels), image_grid_hws=torch.tensor(SIZES)).pooler_output
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()
