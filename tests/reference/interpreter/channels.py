"""Channel mixers: dense MLPs, and mixtures of experts."""

import math

import torch
import torch.nn.functional as F

from tests.reference.interpreter.overlays import merge
from tests.reference.interpreter.primitives import ACTIVATIONS, xielu
from tests.reference.interpreter.values import softcap
from tests.reference.interpreter.weights import Weights, joined

ROLES = ("gate", "up", "down")


class Channels(Weights):
    """margin: the smallest distance between an expert that was chosen and one that was not, of all choices."""

    margin = math.inf

    def activation(self, S, section, base):
        written = section.get("activation")
        name = written if written in ACTIVATIONS or written in ("xielu", "prelu") else None
        name = name or self.chain(section, "activation")
        if name in ("xielu", "prelu"):
            path = joined(base, self.name(S, "activation"))
            if name == "prelu":
                weight = self.tensor(f"{path}.weight")
                return lambda x: torch.where(x > 0, x, weight * x)
            return xielu(*(self.tensor(f"{path}.{leaf}") for leaf in ("alpha_p", "alpha_n", "beta", "eps")))
        return ACTIVATIONS[name]

    def glu(self, section, activation, gate, up):
        bounds = {key: self.value(new) for key, new in section.get("glu", {}).items() if key != "why"}
        if (limit := bounds.get("limit")) is not None:
            gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
        alpha = bounds.get("alpha")
        shaped = activation(gate) if alpha is None else gate * torch.sigmoid(gate * alpha)
        return shaped * (up + (bounds.get("up_offset") or 0))

    def dense(self, S, base, x, section=None, inside="", width=None):
        section = S["mlp"] if section is None else section
        plain = self.word(section, "kind", "gated", "plain") == "plain"
        bias = self.flags(section, ROLES, "mlp_bias")
        width = width or self.chain(section, "width")
        rows = {"up": width} if plain else {"gate": width, "up": width}
        factors = section.get("multipliers")
        activation = self.activation(S, section, joined(base, inside))
        up = self.linear(S, base, "up", x, bias["up"], rows, inside, factors)
        if plain:
            y = activation(up)
        else:
            gate = self.linear(S, base, "gate", x, bias["gate"], rows, inside, factors)
            y = self.glu(section, activation, gate, up)
        if "inner_norm" in section:
            y = self.norm(S, joined(base, section["inner_norm"]), y)
        return self.linear(S, base, "down", y, bias["down"], None, inside, factors)

    # mixtures

    def moe(self, S, base, x):
        M = S["mlp"]
        experts, shared = M.get("experts", {}), M.get("shared")
        count, top_k = self.chain(experts, "count"), self.chain(experts, "top_k")
        tokens = x.reshape(-1, x.shape[-1])
        chosen, weights = self.route(S, base, tokens, count, top_k)
        latent = self.value(M.get("latent"))
        if latent:
            bias = self.value(M.get("latent_bias", False))
            tokens = self.linear(S, base, "latent_in", tokens, bias, rows={"latent_in": latent})
        y = self.routed(S, base, tokens, chosen, weights, count)
        if latent:
            y = self.linear(S, base, "latent_out", y, bias)
        y = y.view_as(x) * self.value(M.get("scale", 1.0))
        if shared and shared != "none" and self.value(shared.get("when", True)):
            y = y + self.shared(S, base, x, shared)
            if self.word(shared, "combine", "sum", "mean") == "mean":
                y = y / 2
        return y

    def shared(self, S, base, x, section):
        inherited = {key: new for key, new in S["mlp"].items() if key in ("activation", "glu")}
        inside, own = self.name(S, "shared"), self.local(S, "shared")
        y = self.dense(own, base, x, merge(inherited, section), inside)
        if self.word(section, "gate", "none", "sigmoid") == "sigmoid":
            y = torch.sigmoid(self.linear(S, base, "shared_gate", x)) * y
        return y

    def routed(self, S, base, tokens, chosen, weights, count):
        """The weighted sum of what the experts chosen make of each token."""
        M = S["mlp"]
        section = merge({key: new for key, new in M.items() if key in ("activation", "glu")}, M.get("experts", {}))
        held = self.expert_weights(S, base, section, count)
        activation = self.activation(S, section, joined(base, self.name(S, "experts")))
        at_input = self.word(section, "weight_at", "output", "input") == "input"
        y = torch.zeros_like(tokens)
        for expert in range(count):
            token, slot = (chosen == expert).nonzero(as_tuple=True)
            factor = weights[token, slot][:, None]
            z = tokens[token] * factor if at_input else tokens[token]
            gate, up, down = (held[role] for role in ROLES)
            hidden = F.linear(z, up[0][expert], None if up[1] is None else up[1][expert])
            if gate is None:
                hidden = activation(hidden)
            else:
                opening = F.linear(z, gate[0][expert], None if gate[1] is None else gate[1][expert])
                hidden = self.glu(section, activation, opening, hidden)
            out = F.linear(hidden, down[0][expert], None if down[1] is None else down[1][expert])
            y = y.index_add(0, token, out if at_input else out * factor)
        return y

    def expert_weights(self, S, base, section, count):
        """role -> weights [E, out, in] and biases [E, out] or None; no gate where experts are plain."""
        width = self.chain(section, "width", "expert_width")
        plain = self.word(section, "kind", "gated", "plain") == "plain"
        # without a flag of their own experts have no biases, whatever the config says of other MLPs
        bias = self.flags({"bias": False, **section}, ROLES, "mlp_bias") if "bias" in section else {}
        find = self.apart if S["checkpoint"]["experts"] == "per_expert" else self.together
        found = {role: find(S, base, role, count, plain, bias.get(role, False)) for role in ROLES}
        assert found["up"][0].shape[:2] == (count, width), f"{base}: experts {found['up'][0].shape} on disk"
        return found

    def apart(self, S, base, role, count, plain, bias):
        if plain and role == "gate":
            return None
        inside, leaf = self.name(S, "experts"), self.name(S, role, "experts")
        paths = [joined(base, inside, str(expert), leaf) for expert in range(count)]
        assert joined(base, inside, str(count), leaf, "weight") not in self.disk, f"more than {count} experts on disk"
        weights = torch.stack([self.tensor(f"{path}.weight") for path in paths])
        if joined(inside, leaf) in S["checkpoint"]["transposed"]:
            weights = weights.transpose(1, 2)
        return weights, torch.stack([self.tensor(f"{path}.bias") for path in paths]) if bias else None

    def together(self, S, base, role, count, plain, bias):
        """Stacked [E, ...], or flat [E * rows, ...]; perhaps fused, perhaps [in, out]."""
        if plain and role == "gate":
            return None
        checkpoint, inside = S["checkpoint"], self.name(S, "experts")

        def stack(leaf):
            path = joined(inside, leaf)
            w = self.tensor(joined(base, path))
            w = w.reshape(count, -1, w.shape[-1]) if checkpoint["experts"] == "flat" else w
            w = w.transpose(1, 2) if path in checkpoint["transposed"] else w
            return w, self.tensor(joined(base, f"{path}_bias")).reshape(count, -1) if bias else None

        for name, fused in checkpoint["fused"].items():
            fused = fused if isinstance(fused, dict) else {"parts": fused}
            within = name.startswith(f"{inside}.") if inside else "." in name
            if plain or role not in fused["parts"] or not within:
                continue
            blocks, place = self.value(fused.get("groups", 1)), fused["parts"].index(role)
            split = (count, blocks, len(fused["parts"]), -1)
            return tuple(
                None if t is None else t.reshape(*split, *t.shape[2:])[:, :, place].flatten(1, 2)
                for t in stack(name[len(inside) + 1 :] if inside else name)
            )
        return stack(self.name(S, role, "experts"))

    # routers

    def route(self, S, base, x, count, top_k):
        """x [N, H] -> the experts of each token [N, k], and their weights."""
        R = S["mlp"].get("router", {})
        logits = self.linear(S, base, "router", x, self.value(R.get("bias", False)), {"router": count}).to(self.wide)
        logits = softcap(logits, self.value(R.get("softcap")))
        order = self.word(R, "order", "score_first", "topk_first", "sparsemixer")
        if order == "sparsemixer":
            return self.sparsemixer(R, logits, top_k)
        softmax = self.word(R, "score", "softmax", "sigmoid") == "softmax"
        scores = (lambda z: z.softmax(-1)) if softmax else torch.sigmoid
        raw = logits if order == "topk_first" else scores(logits)
        choice = raw
        if self.value(R.get("correction_bias", False)):
            choice = raw + self.tensor(joined(base, self.name(S, "correction_bias"))).reshape(-1)
        choice = self.grouped(R, choice, count)
        chosen = self.best(choice, top_k)
        weights = raw.gather(1, chosen)
        weights = scores(weights) if order == "topk_first" else weights
        return chosen, self.renormalized(R, weights) * self.value(R.get("scale", 1.0))

    def best(self, scores, count):
        """The indices of the largest, and how clear the choice was."""
        values, found = scores.topk(min(count + 1, scores.shape[-1]), -1)
        if values.shape[-1] > count:
            gap = (values[:, count - 1] - values[:, count])[values[:, count] > -math.inf]
            self.margin = min([self.margin, *gap[gap > 0].tolist()])
        return scores.topk(count, -1)[1]

    def grouped(self, R, scores, count):
        """Experts outside of the best groups are out of the choice."""
        groups = R.get("groups")
        number = self.value(groups["count"]) if groups and self.value(groups.get("when", True)) else 1
        if number <= 1:
            return scores
        inner = scores.view(-1, number, count // number)
        top2 = self.word(groups, "score", "top2_sum", "max") == "top2_sum"
        best = inner.topk(2, -1)[0].sum(-1) if top2 else inner.amax(-1)
        kept = torch.zeros_like(best).scatter(1, self.best(best, self.value(groups["keep"])), 1.0).bool()
        return inner.masked_fill(~kept[..., None], float(groups.get("masked", "-inf"))).flatten(1)

    def renormalized(self, R, weights):
        written = R.get("renormalize", False)
        written = written if isinstance(written, dict) else {"when": written}
        if not self.value(written.get("when", True)):
            return weights
        if "norm" in written:
            return weights / torch.norm(weights, p=self.value(written["norm"]), dim=-1, keepdim=True)
        total = weights.sum(-1, keepdim=True)
        if "min" in written:
            return weights / total.clamp(min=self.value(written["min"]))
        return weights / (total + self.value(written.get("eps", 0.0)))

    def sparsemixer(self, R, logits, top_k):
        """Rounds of a softmax over what is near the best that is left (PhiMoE)."""
        chosen, weights, left, jitter = [], [], logits, self.value(R["jitter"])
        for _ in range(top_k):
            index = self.best(left, 1)
            top = left.gather(1, index)
            far = (top - logits) / logits.abs().clamp(min=top) > 2 * jitter
            weights.append(left.masked_fill(far, -math.inf).softmax(-1).gather(1, index))
            chosen.append(index)
            left = left.scatter(1, index, -math.inf)
        return torch.cat(chosen, 1), torch.cat(weights, 1)
