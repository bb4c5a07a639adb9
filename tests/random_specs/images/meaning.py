"""What a spec over Llava's config says of images and logits: its words, run on tensors as they lie on disk.

Equations run as Python over a namespace in which an unknown name is a part; nothing of the generator takes part.
"""

import math

import torch
from torch.nn import functional as F
from transformers.activations import ACT2FN

PROJECTOR, HEAD = "multi_modal_projector", "language_model.lm_head"


class Names(dict):
    """Names of equations: values first, then functions, then parts."""

    def __init__(self, meaning, **values):
        super().__init__(values)
        self.meaning = meaning

    def __missing__(self, name):
        own = getattr(self.meaning, f"do_{name}", None)
        return own if own is not None else ACT2FN[name] if name in ACT2FN else self.meaning.part(name)


class Meaning:
    """One spec, with the tensors of a model on disk; sizes of pictures change as patches are merged."""

    def __init__(self, spec, config, disk):
        self.spec, self.config, self.disk = spec, config, disk

    def value(self, text, **names):
        return eval(str(text), {"config": self.config, "sqrt": math.sqrt, **names})

    def run(self, equations, **values):
        names = Names(self, config=self.config, **{word: word for word in ("raster", "channel_major")}, **values)
        for equation in [equations] if isinstance(equations, str) else equations:
            targets, _, right = equation.partition("=")
            made, targets = eval(right.strip(), {}, names), [one.strip() for one in targets.split(",")]
            names.update(zip(targets, made, strict=True) if len(targets) > 1 else {targets[0]: made})
        return names

    def features(self, tower, pixels):
        """Rows [T, H] of all pictures."""
        vision = self.spec.get("vision", {})
        output = tower(pixels, output_hidden_states=True)
        layer = self.value(vision.get("layer", "config.vision_feature_layer"))
        states = [output.hidden_states[one] for one in ([layer] if isinstance(layer, int) else layer)]
        default = "1 if config.vision_feature_select_strategy == 'default' else 0"
        x = torch.cat(states, -1)[:, self.value(vision.get("skip", default)) :]
        self.side = math.isqrt(x.shape[1])
        return self.run(self.spec["projector"], x=x)["x"].flatten(0, 1)

    def logits(self, x):
        return self.run(self.spec.get("output", "logits = lm_head(x)"), x=x)["logits"]

    def do_lm_head(self, x):
        tied = "language_model.model.embed_tokens.weight"
        return F.linear(x, self.disk.get(f"{HEAD}.weight", self.disk[tied]))

    def do_softcap(self, x, limit):
        return limit * torch.tanh(x / limit)

    def do_act(self, x):
        return ACT2FN[self.config.projector_hidden_act](x)

    def do_chunk(self, x, count):
        return x.chunk(count, -1)

    def do_merge_patches(self, x, n, order="raster"):
        side = self.side
        blocks = x.unflatten(1, (side // n, n, side // n, n))  # [I, h, a, w, b, D]
        axes = (0, 1, 3, 2, 4, 5) if order == "raster" else (0, 1, 3, 5, 2, 4)
        self.side = side // n
        return blocks.permute(axes).flatten(3).flatten(1, 2)

    def part(self, name):
        said = self.spec.get("parts", {}).get(name, {})
        said = {"kind": said} if isinstance(said, str) else said
        if not self.value(said.get("when", True)):
            return lambda x: x
        weight, bias = (self.disk.get(f"{PROJECTOR}.{name}.{one}") for one in ("weight", "bias"))
        if said.get("kind", "linear") == "linear":
            return lambda x: self.linear(said, x, weight, bias)
        if said["kind"] == "layernorm":
            return lambda x: F.layer_norm(x, x.shape[-1:], weight, bias, self.value(said.get("eps", 1e-5)))
        eps = self.value(said.get("eps", "config.text_config.rms_norm_eps"))
        return lambda x: F.rms_norm(x, x.shape[-1:], weight + said.get("offset", 0), eps)

    def linear(self, said, x, weight, bias):
        out = self.value(said.get("out", "config.text_config.hidden_size"), width=x.shape[-1])
        assert weight.shape == (out, x.shape[-1])
        assert (bias is not None) == bool(self.value(said.get("bias", "config.multimodal_projector_bias")))
        return F.linear(x, weight, bias)
