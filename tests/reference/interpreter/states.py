"""Mixers that carry a state, token by token; padding is zeroed on the way in."""

import torch
import torch.nn.functional as F

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

    def mamba2(self, S, base, x):
        A, text = S["attention"], self.mask[..., None].to(x.dtype)
        heads, dim, groups, state = (self.value(A[key]) for key in ("heads", "head_dim", "groups", "state"))
        width, shared, bias = heads * dim, groups * state, bool(self.value(A.get("bias", False)))
        rows, factors = {"z": width, "x": width, "B": shared, "C": shared, "dt": heads}, A.get("multipliers", {})
        parts = {role: self.linear(S, base, role, x * text, bias, rows, factors=factors) for role in rows}
        mixed = torch.cat([parts[role] for role in ("x", "B", "C")], dim=-1)
        taps, has_bias = self.chain(A, "kernel"), bool(self.value(A.get("conv_bias", True)))
        mixed = F.silu(self.convolved(S, base, mixed, taps, has_bias))
        x, B, C = mixed.split((width, shared, shared), dim=-1)
        x, (B, C) = x.unflatten(-1, (heads, dim)), (each.unflatten(-1, (groups, state)) for each in (B, C))
        B, C = (each.repeat_interleave(heads // groups, dim=2) for each in (B, C))
        limits = self.value(A["dt_limit"]) if "dt_limit" in A else (0.0, float("inf"))
        dt = F.softplus(parts["dt"] + self.number(S, base, "dt_bias")).clamp(*limits) * text
        decay = torch.exp(-dt * self.number(S, base, "A_log").exp())
        held, found = torch.zeros_like(x[:, 0, ..., None] * B[:, 0, :, None]), []
        for place in range(x.shape[1]):
            added = (dt[:, place, :, None] * x[:, place])[..., None] * B[:, place, :, None]
            held = held * decay[:, place, :, None, None] + added
            found.append((held * C[:, place, :, None]).sum(-1) + x[:, place] * self.number(S, base, "D")[:, None])
        y = self.gated_norm(S, base, torch.stack(found, dim=1).flatten(-2), parts["z"], A.get("norm"))
        return self.linear(S, base, "out", y, bool(self.value(A["out_bias"])) if "out_bias" in A else bias)

    def number(self, S, base, role):
        """A parameter of one number a head."""
        return self.tensor(joined(base, self.name(S, role)))

    def gated_norm(self, S, base, y, z, own):
        """Over equal groups, with a gate before or after; the gate alone without a norm."""
        if own is None or not self.value(own.get("when", True)):
            return y * F.silu(z)
        first = self.word(own, "gate", "before", "after") == "before"
        y = y * F.silu(z) if first else y
        groups, path = self.value(own.get("groups", 1)), joined(base, self.name(S, "mixer_norm"))
        keys = {key: own[key] for key in own.keys() & {"eps", "kind"}}
        unit = self.norm(S, path, y.unflatten(-1, (groups, -1)), {**keys, "weight": False}).flatten(-2)
        y = unit * self.tensor(f"{path}.weight")
        return y if first else y * F.silu(z)

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
