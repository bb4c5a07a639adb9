"""Softmax attention: grouped-query and latent."""

import torch

from tests.reference.interpreter.primitives import ACTIVATIONS, alibi_slopes, rotary_table, rotated
from tests.reference.interpreter.values import Box, Missing, softcap
from tests.reference.interpreter.weights import Weights, joined

NORM_KEYS = ("kind", "eps", "weight", "bias", "offset", "cast")


class Attention(Weights):
    """mask [B, S]: 1 where a token stands. positions [B, S]."""

    def gqa(self, S, base, x):
        A, (B, T, _) = S["attention"], x.shape
        heads, kv_heads, width = (self.chain(A, key) for key in ("heads", "kv_heads", "head_dim"))
        v_width = self.value(A["v_head_dim"]) if "v_head_dim" in A else width
        bias = self.flags(A, ("q", "k", "v", "out"), "attention_bias", {"qkv": ("q", "k", "v")})
        rows = {"q": heads * width, "k": kv_heads * width, "v": kv_heads * v_width}
        rows |= self.gate_rows(A, heads, v_width)
        q, k, v = (self.linear(S, base, role, x, bias[role], rows) for role in "qkv")
        q, k = self.qk_norm(S, base, q, k, "projection")
        if limit := self.value(A.get("clip")):
            q, k, v = (t.clamp(-limit, limit) for t in (q, k, v))
        q, k, v = (t.view(B, T, -1, size).transpose(1, 2) for t, size in ((q, width), (k, width), (v, v_width)))
        q, k = self.qk_norm(S, base, q, k, "before_rope")
        q, k = self.turned(S, q, k)
        q, k = self.qk_norm(S, base, q, k, "after_rope")
        q, k, v = self.multiplied(A, q, k, v)
        y = self.attended(S, base, q, k, v, self.value(A.get("scale", width**-0.5), head_dim=width))
        y = self.gated(S, base, x, y, rows, v_width, bias["q"])
        if "inner_norm" in A:
            y = self.norm(S, joined(base, A["inner_norm"]), y)
        return self.linear(S, base, "out", y, bias["out"])

    def mla(self, S, base, x):
        A, (B, T, _) = S["attention"], x.shape
        heads = self.chain(A, "heads")
        q_rank, kv_rank = (self.value(A.get(key, f"config.{key[:-4]}lora_rank")) for key in ("q_rank", "kv_rank"))
        nope, turns = (self.value(A.get(key, f"config.qk_{key}_head_dim")) for key in ("nope", "rope"))
        v_width = self.value(A.get("v", "config.v_head_dim"))
        roles = ("q", "q_a", "q_b", "kv_a", "kv_b", "out")
        bias = self.flags(A, roles, "attention_bias")
        named = A["bias"] if isinstance(A.get("bias"), dict) else {}
        bias |= {role: bias[role] and role in named for role in ("q", "q_b", "kv_b")}  # none unless it is written
        latent = {"eps": 1e-6, **A.get("latent_norm", {})}

        def normed(role, y):
            return self.norm(S, joined(base, self.name(S, role)), y, latent)

        if q_rank is None:
            q = self.linear(S, base, "q", x, bias["q"])
        else:
            q = normed("q_a_norm", self.linear(S, base, "q_a", x, bias["q_a"], {"q_a": q_rank}))
            q = self.linear(S, base, "q_b", q, bias["q_b"])
        q = q.view(B, T, heads, nope + turns).transpose(1, 2)
        c = self.linear(S, base, "kv_a", x, bias["kv_a"], {"kv_a": kv_rank + turns})
        c, k_turned = c[..., :kv_rank], c[..., None, kv_rank:].transpose(1, 2)
        kv = self.linear(S, base, "kv_b", normed("kv_a_norm", c), bias["kv_b"])
        kv = kv.view(B, T, heads, nope + v_width).transpose(1, 2)
        q_turned, k_turned = self.turned(S, q[..., nope:], k_turned)
        q = torch.cat((q[..., :nope], q_turned), -1)
        k = torch.cat((kv[..., :nope], k_turned.expand(-1, heads, -1, -1)), -1)
        q, k, v = self.multiplied(A, q, k, kv[..., nope:])
        plain = "head_dim ** -0.5"
        if S["rope"] != "none":
            plain += " * yarn_mscale(config.rope_parameters) ** 2"
        y = self.attended(S, base, q, k, v, self.value(A.get("scale", plain), head_dim=nope + turns))
        y = self.gated(S, base, x, y, self.gate_rows(A, heads, v_width), v_width, False)
        return self.linear(S, base, "out", y, bias["out"])

    # steps

    def gate(self, A):
        written = A.get("gate")
        return {} if written is True else written or None

    def gate_rows(self, A, heads, v_width):
        gate = self.gate(A)
        if gate is None:
            return {}
        return {"out_gate": heads * v_width if self.word(gate, "per", "element", "head") == "element" else heads}

    def gated(self, S, base, x, y, rows, v_width, q_bias):
        """y [B, S, N * E] times a gate for each element, or for each head; stored with q, it has a bias if q has."""
        gate = self.gate(S["attention"])
        if gate is None:
            return y
        activation = ACTIVATIONS[self.word(gate, "activation", "sigmoid", "softplus")]
        with_q = any("out_gate" in self.parts_of(fused) for fused in S["checkpoint"]["fused"].values())
        by_head = gate.get("bias") == "head"
        bias = q_bias if with_q else not by_head and self.value(gate.get("bias", False))
        factor = self.linear(S, base, "out_gate", x, bias, rows)
        if by_head:
            own = self.tensor(joined(base, self.name(S, "out_gate_bias")))
            factor = factor + own.repeat_interleave(factor.shape[-1] // len(own))
        factor = activation(factor)
        return y * (factor if factor.shape == y.shape else factor.repeat_interleave(v_width, -1))

    def qk_norm(self, S, base, q, k, where):
        written = S["attention"].get("qk_norm")
        if not written or written == "none":
            return q, k
        written = {"over": written} if isinstance(written, str) else written
        over = self.word(written, "over", "head", "projection")
        place = over if over == "projection" else self.word(written, "place", "before_rope", "after_rope")
        if place != where or not self.value(written.get("when", True)):
            return q, k
        own = {key: new for key, new in written.items() if key in NORM_KEYS}
        weights = self.word(written, "weights", "shared", "per_head", "modules")
        return tuple(
            self.head_norm(S, joined(base, self.name(S, role)), x, own, weights)
            for role, x in (("q_norm", q), ("k_norm", k))
        )

    def head_norm(self, S, path, x, own, weights):
        if weights == "modules":
            return torch.stack([self.norm(S, f"{path}.norms.{h}", x[:, h], own) for h in range(x.shape[1])], 1)
        return self.norm(S, path, x, own, rows=weights == "per_head")

    def multiplied(self, A, *tensors):
        """Factors act last, just before the scores."""
        position = self.positions.to(self.wide)[:, None, :, None]
        for role, x in zip("qkv", tensors, strict=True):
            factor = A.get("multipliers", {}).get(role)
            yield x if factor is None else (x * self.value(factor, position=position)).to(self.dtype)

    def turned(self, S, q, k):
        rope = S["rope"]
        if rope in ("none", None):
            return q, k
        parameters = self.chain(rope, "parameters") if "theta" not in rope or "parameters" in rope else {}
        parameters = parameters.inner if isinstance(parameters, Box) else parameters
        theta = self.value(rope["theta"]) if "theta" in rope else parameters["rope_theta"]
        width = self.turned_width(S, rope, parameters, q.shape[-1])
        try:
            longest = self.value("config.max_position_embeddings")
        except Missing:
            longest = None
        length = int(self.positions.max()) + 1
        frequencies, factor = rotary_table(parameters, width, theta, longest, length, self.wide)
        width = 2 * len(frequencies)  # an odd width rotates one dimension more
        angles = self.positions.to(self.wide)[:, None, :, None] * frequencies
        cos, sin = (t.to(self.dtype) * factor for t in (angles.cos(), angles.sin()))
        sin = sin * self.word(rope, "sign", 1, -1)
        interleaved = self.word(rope, "layout", "half", "interleaved") == "interleaved"
        return tuple(torch.cat((rotated(x[..., :width], cos, sin, interleaved), x[..., width:]), -1) for x in (q, k))

    def turned_width(self, S, rope, parameters, whole):
        if "width" in rope:
            return self.value(rope["width"])
        if S["attention"]["kind"] == "mla" or parameters.get("rope_type") == "proportional":
            return whole
        return int(whole * (parameters.get("partial_rotary_factor") or 1.0))

    def attended(self, S, base, q, k, v, scale):
        """-> [B, S, N * E]."""
        A, (B, heads, T, _) = S["attention"], q.shape
        k, v = (t.repeat_interleave(heads // t.shape[1], 1) for t in (k, v))
        scores = softcap(q @ k.transpose(-1, -2) * scale, self.value(A.get("softcap")))
        scores = scores + self.position_bias(A, heads, scale)
        scores = scores.masked_fill(~self.visible(A, T), torch.finfo(scores.dtype).min)
        if self.value(A.get("sinks")):
            sinks = self.tensor(joined(base, self.name(S, "sinks"))).reshape(1, -1, 1, 1).expand(B, -1, T, 1)
            weights = torch.cat((scores, sinks), -1).softmax(-1)[..., :-1]
        else:
            weights = scores.softmax(-1)
        return (weights @ v).transpose(1, 2).flatten(2)

    def position_bias(self, A, heads, scale):
        alibi = A.get("alibi")
        if not alibi or alibi == "none":
            return 0.0
        alibi = {} if alibi is True else alibi
        slopes = alibi_slopes(heads).to(self.dtype)[None, :, None, None]
        if self.word(alibi, "dtype", "float32", "bfloat16") == "bfloat16":
            slopes = slopes.bfloat16()
        counted = ((self.mask.cumsum(-1) - 1) * self.mask)[:, None, None, :]
        if self.word(alibi, "counted", "start", "end") == "end":
            counted = torch.arange(1 - counted.shape[-1], 1)
        bias = (slopes * counted).to(self.dtype)
        return bias * scale if self.value(alibi.get("scaled", False)) else bias

    def visible(self, A, length):
        """[B, 1, S, S]: causal and window and chunk and padding; chunks start at the first token."""
        query, key = torch.arange(length)[:, None], torch.arange(length)[None]
        seen = (key <= query)[None] & self.mask[:, None].bool()
        if window := self.value(A.get("window")):
            seen = seen & (key > query - window)[None]
        if chunk := self.value(A.get("chunk")):
            start = (self.mask.cumsum(-1) == 0).sum(-1)
            block = (key - start[:, None]).div(chunk, rounding_mode="floor")
            seen = seen & (block[:, :, None] == block[:, None, :])
        return seen[:, None]
