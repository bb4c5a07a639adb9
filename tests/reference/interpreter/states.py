"""Mixers that carry a state, token by token; padding is zeroed on the way in."""

import torch

from tests.reference.interpreter.weights import Weights, joined


class States(Weights):
    """mask [B, S]: 1 where a token stands."""

    def short_conv(self, S, base, x):
        A, width = S["attention"], x.shape[-1]
        has_bias, rows = bool(self.value(A.get("bias", False))), dict.fromkeys(("B", "C", "x"), width)
        x = x * self.mask[..., None].to(x.dtype)
        gate, out, inner = (self.linear(S, base, role, x, has_bias, rows) for role in ("B", "C", "x"))
        y = out * self.convolved(S, base, gate * inner, self.value(A["kernel"]), has_bias)
        return self.linear(S, base, "out", y, has_bias)

    def convolved(self, S, base, x, taps, has_bias):
        """Each output is the weighted sum of the last inputs of its channel."""
        path = joined(base, self.name(S, "conv"))
        weight = self.tensor(f"{path}.weight")[:, 0]
        assert weight.shape[-1] == taps, f"{path}: {weight.shape[-1]} taps on disk, the spec says {taps}"
        last, found = [torch.zeros_like(x[:, 0])] * taps, []
        for token in x.unbind(1):
            last = [*last[1:], token]
            found.append(sum(weight[:, tap] * one for tap, one in enumerate(last)))
        y = torch.stack(found, dim=1)
        return y + self.tensor(f"{path}.bias") if has_bias else y
