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
        mixed = self.activation(S, A, base)(self.convolved(S, base, mixed, taps, has_bias))
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

    def mamba1(self, S, base, x):
        A, text = S["attention"], self.mask[..., None].to(x.dtype)
        width, state, rank = (self.value(A[key]) for key in ("width", "state", "dt_rank"))
        bias, rows = bool(self.value(A.get("bias", False))), {"x": width, "z": width}
        x, z = (self.linear(S, base, role, x * text, bias, rows) for role in ("x", "z"))
        taps, has_bias = self.chain(A, "kernel"), bool(self.value(A.get("conv_bias", True)))
        x = self.activation(S, A, base)(self.convolved(S, base, x, taps, has_bias)) * text
        rows = {"dt": rank, "B": state, "C": state}
        chosen = [self.linear(S, base, role, x, rows=rows) for role in ("dt", "B", "C")]
        norms = A.get("inner_norms")
        if norms is not None:
            keys = {key: one for key, one in norms.items() if key != "names"}
            pairs = zip(norms["names"], chosen, strict=True)
            chosen = [self.norm(S, joined(base, name), one, keys) for name, one in pairs]
        dt, B, C = chosen
        dt = F.softplus(self.linear(S, base, "dt_proj", dt, True)) * text
        rate, held, found = self.number(S, base, "A_log").exp(), x.new_zeros(len(x), width, state), []
        for place in range(x.shape[1]):
            step = dt[:, place, :, None]
            held = held * torch.exp(-step * rate) + step * x[:, place, :, None] * B[:, place, None]
            found.append((held * C[:, place, None]).sum(-1))
        y = (torch.stack(found, dim=1) + x * self.number(S, base, "D")) * F.silu(z)
        return self.linear(S, base, "out", y, bias)

    def rg_lru(self, S, base, x):
        A, text = S["attention"], self.mask[..., None].to(x.dtype)
        width, heads, taps = self.value(A["width"]), self.value(A["heads"]), self.chain(A, "kernel", "unit_kernel")
        gate = self.activation(S, A, base)(self.linear(S, base, "y", x, True, {"y": width}))
        u = self.convolved(S, base, self.linear(S, base, "x", x, True, {"x": width}) * text, taps, True)
        opened = (torch.sigmoid(self.by_block(S, base, role, u, heads)) for role in ("input_gate", "recurrent_gate"))
        given, rate = opened
        decay = torch.exp(-8 * rate * F.softplus(self.number(S, base, "recurrent_param")))
        begins = (self.mask.cumsum(-1) * self.mask == 1)[..., None]
        added = u * given * torch.where(begins, torch.ones_like(u), torch.sqrt(1 - decay**2))
        held, found = torch.zeros_like(u[:, 0]), []
        for place in range(x.shape[1]):
            going = text[:, place]
            held = held * decay[:, place] * going + added[:, place] * going + held * (1 - going)
            found.append(held)
        return self.linear(S, base, "out", torch.stack(found, dim=1) * gate, True)

    def by_block(self, S, base, role, x, blocks):
        """Each block of the channels through a matrix of its own."""
        weight, bias = (self.number(S, base, f"{role}_{leaf}") for leaf in ("weight", "bias"))
        return (torch.einsum("bsni,nij->bsnj", x.unflatten(-1, (blocks, -1)), weight) + bias).flatten(-2)

    def number(self, S, base, role):
        """A parameter that is no matrix of a projection."""
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
        y = self.weighted(x, self.tensor(f"{path}.weight")[:, 0], taps)
        return y + self.tensor(f"{path}.bias") if has_bias else y

    @staticmethod
    def weighted(x, weight, taps):
        assert weight.shape[-1] == taps, f"{weight.shape[-1]} taps on disk, the spec says {taps}"
        last, found = [torch.zeros_like(x[:, 0])] * taps, []
        for token in x.unbind(1):
            last = [*last[1:], token]
            found.append(sum(weight[:, tap] * one for tap, one in enumerate(last)))
        return torch.stack(found, dim=1)

    def lightning(self, S, base, x):
        A, text = S["attention"], self.mask[..., None].to(x.dtype)
        heads, dim = self.chain(A, "heads"), self.chain(A, "head_dim")
        activate, rows = self.activation(S, A, base), dict.fromkeys("qkv", heads * dim)
        q, k, v = (activate(self.through(S, base, role, x, rows)) * text for role in "qkv")
        q, k, v = (one.unflatten(-1, (heads, dim)) for one in (q, k, v))
        places = torch.arange(1, heads + 1, dtype=torch.float64)
        left = torch.exp(-self.value(A["decay"]) * 2.0 ** (-8.0 * places / heads)).to(x.dtype)[:, None, None]
        held, found = x.new_zeros(len(x), heads, dim, dim), []
        for place in range(x.shape[1]):
            here = text[:, place, None, None]
            held = held * (left * here + 1 - here) + k[:, place, ..., None] * v[:, place, :, None]
            found.append((held * q[:, place, ..., None]).sum(-2))
        path = joined(base, self.name(S, "mixer_norm"))
        y = self.norm(S, path, torch.stack(found, dim=1).flatten(-2), A.get("norm"))
        return self.linear(S, base, "out", y * torch.sigmoid(self.linear(S, base, "out_gate", x)))

    def gated_delta_net(self, S, base, x):
        A, x = S["attention"], x * self.mask[..., None].to(x.dtype)
        keys, heads, width, values = (self.value(A[key]) for key in ("key_heads", "heads", "key_dim", "value_dim"))
        by_channel = A.get("decay", "head") == "channel"
        rows = {"q": keys * width, "k": keys * width, "v": heads * values, "z": heads * values, "b": heads}
        rows["a"] = keys * width if by_channel else heads
        q, k, v, z, b, a = (self.through(S, base, role, x, rows) for role in ("q", "k", "v", "z", "b", "a"))
        q, k, v = (self.activated(S, base, role, one, rows) for role, one in (("q", q), ("k", k), ("v", v)))
        q, k = (one.unflatten(-1, (keys, width)) for one in (q, k))
        q, k = (one * torch.rsqrt((one * one).sum(-1, keepdim=True) + 1e-6) for one in (q, k))
        q, k = ((one * scale).repeat_interleave(heads // keys, dim=2) for one, scale in ((q, width**-0.5), (k, 1)))
        v, beta = v.unflatten(-1, (heads, values)), b.sigmoid() * self.value(A.get("beta", 1.0))
        state, found = torch.zeros(len(x), heads, width, values, dtype=x.dtype), []
        for q_t, k_t, v_t, decay, beta_t in zip(
            *(one.unbind(1) for one in (q, k, v, self.decays(S, base, a, heads), beta)), strict=True
        ):
            state = state * decay[..., None]
            change = (v_t - (state * k_t[..., None]).sum(-2)) * beta_t[..., None]
            state = state + k_t[..., None] * change[..., None, :]
            found.append((state * q_t[..., None]).sum(-2))
        y = self.gated_norm_of_heads(S, base, torch.stack(found, dim=1), z.unflatten(-1, (heads, values)))
        return self.linear(S, base, "out", y.flatten(-2))

    def through(self, S, base, role, x, rows):
        """A projection; one stored as two is the product of both."""
        names = S["checkpoint"]["names"].get(role)
        if not isinstance(names, list | tuple):
            return self.linear(S, base, role, x, False, rows)
        for name in names:
            x = F.linear(x, self.tensor(joined(base, name, "weight")))
        return x

    def activated(self, S, base, role, x, rows):
        A = S["attention"]
        of_convs = {f"conv_{one}": rows[one] for one in "qkv"}
        weight = self.stored(S, base, "", f"conv_{role}", of_convs, "weight")[:, 0]
        taps = self.value(A["kernel"]) if "kernel" in A else self.value("config.linear_conv_kernel_dim")
        return F.silu(self.weighted(x, weight, taps))

    def decays(self, S, base, a, heads):
        """[B, S, heads, 1 or D], between 0 and 1."""
        rate, bias = (self.tensor(joined(base, self.name(S, role))) for role in ("A_log", "dt_bias"))
        rate, step = rate.flatten().exp()[:, None], (a + bias).unflatten(-1, (heads, -1))
        bound = self.value(S["attention"].get("decay_bound"))
        return torch.exp(-rate * F.softplus(step) if bound is None else bound * torch.sigmoid(rate * step))

    def gated_norm_of_heads(self, S, base, y, z):
        own = S["attention"].get("norm", {})
        gate = {"silu": F.silu, "sigmoid": torch.sigmoid}[S["attention"].get("gate_activation", "silu")](z)
        first = own.get("gate", "after") == "before"
        settings = {"offset": 0, **{key: one for key, one in own.items() if key not in ("gate", "groups", "when")}}
        path = joined(base, self.name(S, "mixer_norm"))
        normed = self.norm(S, path, y * gate if first else y, settings)
        return normed if first else normed * gate
