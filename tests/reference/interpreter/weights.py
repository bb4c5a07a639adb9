"""Values and tensors as one layer's spec asks for them: names on disk, fused and transposed storage, norms."""

import torch
import torch.nn.functional as F

from tests.reference.interpreter.overlays import CHAINS, NAMES, merge
from tests.reference.interpreter.values import Box, Missing, value

KIND_FUSED = {  # how a kind lies on disk, unless the spec says otherwise
    "short_conv": {"in_proj": ["B", "C", "x"]},
    "mamba2": {"in_proj": ["z", "x", "B", "C", "dt"]},
    "mamba1": {"in_proj": ["x", "z"], "x_proj": ["dt", "B", "C"]},
}


def joined(*parts):
    """A path; a name that begins with `..` leaves what stands before it, and lies beside it."""
    first, *others = [part for part in parts if part]
    if others and others[0].startswith(".."):
        first, others = first.rpartition(".")[0], [others[0][2:], *others[1:]]
    return ".".join([first, *others])


class Weights:
    """spec: the flat spec in hand, `S` in what follows. disk: the tensors, of which `used` are the names asked for.

    layer: the index of the layer in hand. dtype: what is computed in; statistics are taken in `wide`.
    """

    def __init__(self, config, disk, dtype=torch.float32):
        self.config, self.disk, self.used = Box(config), disk, set()
        self.dtype = dtype
        self.wide = torch.float64 if dtype == torch.float64 else torch.float32
        self.layer = 0

    # values

    def value(self, written, **names):
        return value(written, {"config": self.config, "layer": self.layer, "weight": self.dtype, **names})

    def chain(self, section, key, chain=None):
        """What is written, else the first default whose fields exist and are not None."""
        if key in section:
            return self.value(section[key])
        for text in CHAINS[chain or key]:
            try:
                found = self.value(text)
            except Missing:
                continue
            if found is not None:
                return found
        raise Missing(f"no default for {key}")

    def word(self, section, key, *words):
        """A word of the catalog, the first by default, or an expression that yields one (true: the second)."""
        written = section.get(key, words[0])
        found = written if written in words and not isinstance(written, bool) else self.value(written)
        return words[int(found)] if isinstance(found, bool) else found

    def flags(self, section, roles, chain, groups=None):
        """`bias`: a flag, or flags by role or group of roles; the role's own name wins, others follow the config."""
        written = section.get("bias")
        if not isinstance(written, dict):
            flag = bool(self.chain(section, "bias", chain))
            return dict.fromkeys(roles, flag)
        found = dict.fromkeys(roles, bool(self.chain({}, "bias", chain)))
        for group in (groups or {}).keys() & written.keys():
            found |= dict.fromkeys(groups[group], bool(self.value(written[group])))
        return found | {role: bool(self.value(flag)) for role, flag in written.items() if role in roles}

    # tensors

    def tensor(self, path):
        if path not in self.disk:
            raise KeyError(f"not on disk: {path}")
        self.used.add(path)
        return self.disk[path].to(self.dtype)

    def name(self, S, role, part=""):
        """`part.role` beats `role`, which beats Llama's name."""
        names = S["checkpoint"]["names"]
        return names.get(f"{part}.{role}", names.get(role, NAMES.get(role, role)))

    def called(self, S, name):
        """Where something that equations call lies on disk."""
        return name if name in NAMES else S["checkpoint"]["names"].get(name, name)

    def local(self, S, part):
        """The spec as one part sees it: its qualified names become plain."""
        own = {key[len(part) + 1 :]: new for key, new in S["checkpoint"]["names"].items() if key.startswith(f"{part}.")}
        return merge(S, {"checkpoint": {"names": own}}) if own else S

    def stored(self, S, base, inside, role, rows, suffix):
        """The weight or bias of a role, out of a tensor that holds several, and turned where it lies [in, out]."""
        checkpoint = S["checkpoint"]
        for name, fused in {**checkpoint["fused"], **KIND_FUSED.get(S["attention"]["kind"], {})}.items():
            fused = fused if isinstance(fused, dict) else {"parts": fused}
            before = name.rpartition(".")[0]
            if role not in fused["parts"] or before != inside or not set(fused["parts"]) <= set(rows or {}):
                continue
            whole = self.tensor(joined(base, name, suffix))
            if suffix == "weight" and name in checkpoint["transposed"]:
                whole = whole.t()
            return self.cut(whole, fused, role, rows)
        if suffix == "bias" and f"{role}_bias" in checkpoint["names"]:
            return self.tensor(joined(base, inside, checkpoint["names"][f"{role}_bias"]))
        path = joined(inside, self.name(S, role))
        found = self.tensor(joined(base, path, suffix))
        return found.t() if suffix == "weight" and path in checkpoint["transposed"] else found

    @staticmethod
    def parts_of(fused):
        return fused["parts"] if isinstance(fused, dict) else fused

    def cut(self, whole, fused, role, rows):
        """The rows are `groups` equal blocks, each [part | part | ...]."""
        groups = self.value(fused.get("groups", 1))
        sizes = [rows[part] // groups for part in fused["parts"]]
        assert groups * sum(sizes) == len(whole), f"{len(whole)} rows on disk, the spec says {rows}"
        place = fused["parts"].index(role)
        blocks = whole.reshape(groups, sum(sizes), *whole.shape[1:])
        return blocks[:, sum(sizes[:place]) : sum(sizes[: place + 1])].reshape(rows[role], *whole.shape[1:])

    def linear(self, S, base, role, x, bias=False, rows=None, inside="", factors=None):
        weight = self.stored(S, base, inside, role, rows, "weight")
        wanted = (rows or {}).get(role, len(weight))
        assert len(weight) == wanted, f"{base} {role}: {len(weight)} rows on disk, the spec says {wanted}"
        y = F.linear(x, weight, self.stored(S, base, inside, role, rows, "bias") if bias else None)
        return y * self.value(factors[role]) if factors and role in factors else y

    # norms

    def norm(self, S, path, x, own=None, rows=False):
        """x [..., D]; `rows`: the weight is [heads, D], x [B, heads, S, D]."""
        settings = merge(S["norm"], own or {})
        kind = self.word(settings, "kind", "rmsnorm", "layernorm")
        has_weight = self.value(settings.get("weight", True))
        has_bias = self.value(settings.get("bias", kind == "layernorm" and has_weight))
        y = x.to(self.wide)
        if kind == "layernorm":
            y = y - y.mean(-1, keepdim=True)
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.chain(settings, "eps"))
        for wanted, leaf in ((has_weight, "weight"), (has_bias, "bias")):
            if wanted:
                held = self.tensor(joined(path, leaf))
                held = held[:, None] if rows else held
                y = y * (held + self.word(settings, "offset", 0, 1)) if leaf == "weight" else y + held
        return y.to(self.dtype)
