"""Training step of vision-language models of about 60 million parameters, against transformers' own classes.

A llava-shaped model (a square CLIP tower) and a qwen2.5-vl-shaped one (images of several sizes), in fp32 with sdpa, on
two texts with three images. Both implementations have the same weights and step by turns, so that a slow minute hits
both. Prints the ratio of speed (theirs / ours), and of the bytes that autograd keeps for the backward pass (ours /
theirs), with a tower that is trained and with a frozen one.

    python benchmarks/vlm.py [--model llava qwen2_5_vl] [--steps 9] [--threads N] [--json]
"""

import argparse
import json
import statistics
import time

import torch
from memory import kept
from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from nemo_automodel import NeMoAutoModelForImageTextToText

IMAGE = 15_999  # the placeholder
TEXT = {
    "vocab_size": 16_000,
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAVA = {
    "text_config": {**TEXT, "model_type": "llama"},
    "vision_config": {
        "model_type": "clip_vision_model",
        "hidden_size": 384,
        "intermediate_size": 1536,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "image_size": 224,
        "patch_size": 14,
    },
    "image_token_id": IMAGE,
    "tie_word_embeddings": False,
}
QWEN = {
    "text_config": {
        **TEXT,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]},
    },
    "vision_config": {
        "depth": 6,
        "hidden_size": 384,
        "intermediate_size": 1152,
        "num_heads": 6,
        "out_hidden_size": 512,
    },
    "image_token_id": IMAGE,
    "video_token_id": 15_998,
    "vision_start_token_id": 15_997,
    "vision_end_token_id": 15_996,
    "tie_word_embeddings": False,
}
MODELS = {
    "llava": (LlavaForConditionalGeneration, LlavaConfig, LLAVA),
    "qwen2_5_vl": (Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLConfig, QWEN),
}
GRIDS = torch.tensor([[1, 24, 18], [1, 16, 32], [1, 20, 20]])
WORDS = 96  # beside each image


def build(name):
    """(ours, theirs) with equal weights."""
    torch.manual_seed(0)
    reference, config_class, fields = MODELS[name]
    theirs = reference._from_config(config_class(**fields), attn_implementation="sdpa", dtype=torch.float32)
    ours = NeMoAutoModelForImageTextToText.from_config(
        config_class(**fields), attn_implementation="sdpa", dtype=torch.float32
    )
    assert type(ours) is not reference, f"the registry does not know {reference.__name__}: run codegen apply"
    ours.load_state_dict(theirs.state_dict())
    return ours.train(), theirs.train()


def batch(name):
    """Two texts, of one image and of two, padded on the right; keywords of either model's forward."""
    generator = torch.Generator().manual_seed(0)
    if name == "llava":
        counts, images = [256, 256, 256], {"pixel_values": torch.randn(3, 3, 224, 224, generator=generator)}
    else:
        counts = (GRIDS.prod(-1) // 4).tolist()
        pixels = torch.randn(int(GRIDS.prod(-1).sum()), 3 * 2 * 14 * 14, generator=generator)
        images = {"pixel_values": pixels, "image_grid_thw": GRIDS}

    def placeholders(count):
        return torch.full((count,), IMAGE)

    def text(rows):
        words = [torch.randint(3, 15_000, (WORDS,), generator=generator) for _ in range(len(rows) + 1)]
        pieces = [piece for word, count in zip(words, rows, strict=False) for piece in (word, placeholders(count))]
        return torch.cat([*pieces, words[-1]])

    texts = [text(counts[:1]), text(counts[1:])]
    ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(one) for one in texts], batch_first=True)
    given = {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100), **images}
    return given | ({} if name == "llava" else {"mm_token_type_ids": (ids == IMAGE).long()})


def timed(model, given):
    start = time.perf_counter()
    model(**given, use_cache=False).loss.backward()
    spent = time.perf_counter() - start
    model.zero_grad()
    return spent


def freeze(model, name):
    (model.model.visual if name == "qwen2_5_vl" else model.model.vision_tower).requires_grad_(False)


def measure(name, steps, frozen):
    pair, given = build(name), batch(name)
    if frozen:
        for model in pair:
            freeze(model, name)
    bytes_kept = [kept(model, given) for model in pair]
    for model in pair:
        timed(model, given)
    times = ([], [])
    for turn in range(steps):
        for which in (0, 1) if turn % 2 else (1, 0):
            times[which].append(timed(pair[which], given))
    ours, theirs = (statistics.median(t) for t in times)
    return {
        "parameters": sum(parameter.numel() for parameter in pair[0].parameters()),
        "ours_s": ours,
        "theirs_s": theirs,
        "speed": statistics.median(b / a for a, b in zip(*times, strict=True)),
        "ours_kept": bytes_kept[0],
        "theirs_kept": bytes_kept[1],
        "kept": bytes_kept[0] / bytes_kept[1],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--threads", type=int, help="torch's default, if not given")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    results = {}
    for name in options.model:
        for frozen in (False, True):
            result = results[f"{name}{', frozen tower' if frozen else ''}"] = measure(name, options.steps, frozen)
            if not options.json:
                kept_of = f"{result['ours_kept'] / 1e6:.0f} of {result['theirs_kept'] / 1e6:.0f} MB"
                print(
                    f"{name:10} tower {'frozen' if frozen else 'trained':7} {result['parameters'] / 1e6:.0f}M: speed "
                    f"{result['speed']:.3f} (ours {result['ours_s']:.2f} s, theirs {result['theirs_s']:.2f} s), bytes "
                    f"kept {result['kept']:.3f} ({kept_of})"
                )
    if options.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
