"""The whole model: equations over parts, from ids to logits."""

from fnmatch import fnmatch

import torch
import torch.nn.functional as F

from tests.reference.interpreter.attention import NORM_KEYS, Attention
from tests.reference.interpreter.channels import Channels
from tests.reference.interpreter.overlays import WIRINGS, base, overlaid
from tests.reference.interpreter.states import States
from tests.reference.interpreter.values import evaluate, tree
from tests.reference.interpreter.weights import joined


class Interpreter(Attention, States, Channels):
    """A spec (its mapping), a config and the tensors of a checkpoint by their names on disk.

    `Interpreter(spec, config, disk)(ids, mask)` gives logits [B, S, V]; afterwards `leftover()` names the tensors that
    nothing asked for. Raises KeyError where the spec asks for a tensor that is not there, AssertionError where one has
    another number of rows than the spec says.
    """

    def __init__(self, spec, config, disk, dtype=torch.float32):
        super().__init__(config, disk, dtype)
        self.base = base(spec, {"config": self.config})
        self.layers = self.base.pop("layers", [])

    @torch.no_grad()
    def __call__(self, ids, mask=None):
        S, (B, T) = self.base, ids.shape
        self.mask = torch.ones_like(ids) if mask is None else mask
        self.positions, self.layer = torch.arange(T).expand(B, T), 0
        counted = self.mask.cumsum(-1) * self.mask - 1
        given = counted if S["positions"] == "from_mask" else self.positions
        x = self.run(S["input"], {"ids": ids, "positions": given}, self.outer(S, ids, given))["x"]
        for layer in range(self.config.get("num_hidden_layers")):
            self.layer = layer
            x = self.run_layer(x)
        self.layer = 0
        return self.run(S["output"], {"x": x}, self.outer(S, ids, given))["logits"]

    def run_layer(self, x):
        S = overlaid(self.base, self.layers, {"config": self.config, "layer": self.layer})
        prefix = joined(self.name(S, "model"), self.name(S, "layers"), str(self.layer))
        equations = S["block"]
        if isinstance(equations, str) and "=" not in equations:
            equations = WIRINGS[equations]
        return self.run(equations, {"x": x}, lambda name: self.part(S, prefix, name))["x"]

    def run(self, equations, state, call):
        names = {
            "config": self.config,
            "layer": self.layer,
            "weight": self.dtype,
            "float32": torch.float32,
            "__call__": call,
        }
        for equation in [equations] if isinstance(equations, str) else equations:
            target, _, right = equation.partition("=")
            state[target.strip()] = evaluate(tree(right), names | state)
        return state

    def outer(self, S, ids, positions):
        """What `input` and `output` call: tables, further parts, the head."""
        prefix = self.name(S, "model")

        def called(name):
            def table(x):
                path = joined(prefix, self.called(S, name))
                if x is ids:
                    self.embedding = path
                else:
                    rows = self.config.get("max_position_embeddings") + int((x - positions).flatten()[0])
                    assert len(self.tensor(f"{path}.weight")) == rows, "rows of a table of positions"
                return F.embedding(x.clamp(min=0), self.tensor(f"{path}.weight"))  # padding is at -1

            if name == self.name(S, "head"):
                return lambda x: self.head(S, name, x)
            if name in S["parts"]:
                return self.part(S, prefix, name)
            return lambda x: self.part(S, prefix, name)(x) if x.is_floating_point() else table(x)

        return called

    def head(self, S, name, x):
        head = S["head"]
        weight = self.tensor(f"{self.embedding if self.chain(head, 'tie') else name}.weight")
        rows = self.value(head.get("rows", "config.vocab_size"))
        assert len(weight) == rows or "rows" not in head, f"{name}: {len(weight)} rows on disk, the spec says {rows}"
        if self.value(head.get("normalize", False)):
            weight = F.normalize(weight)
        return F.linear(x, weight, self.tensor(f"{name}.bias") if self.value(head.get("bias", False)) else None)

    def part(self, S, prefix, name):
        """The function behind a name: attention, mlp, a further part, else a norm under that name."""
        if name in S["parts"]:
            return self.further(S, prefix, name)
        if name not in ("attention", "mlp"):
            return lambda x: self.norm(S, joined(prefix, self.called(S, name)), x)
        kind = S[name]["kind"]
        function = self.dense if kind in ("gated", "plain") else getattr(self, kind)
        return lambda x: function(self.local(S, name), joined(prefix, self.name(S, name)), x)

    def further(self, S, prefix, name):
        part = S["parts"][name]
        path = self.called(S, name)
        path = path if self.value(part.get("top", False)) else joined(prefix, path)
        if not self.value(part.get("when", True)):
            return lambda x: x
        if part["kind"] in ("gated", "plain"):
            return lambda x: self.dense(self.local(S, name), path, x, part)
        if part["kind"] == "norm":
            own = {key: new for key, new in part.items() if key in NORM_KEYS and key != "kind"}
            return lambda x: self.norm(S, path, x, own)
        if part["kind"] == "linear":
            bias = self.value(part.get("bias", False))

            def linear(x):
                weight = self.tensor(f"{path}.weight")
                assert weight.shape == (self.value(part["out"]), self.value(part["in"])), f"{path}: {weight.shape}"
                return F.linear(x, weight, self.tensor(f"{path}.bias") if bias else None)

            return linear
        if part["kind"] == "sinusoid":
            return lambda positions: self.sinusoid(part, positions)
        raise ValueError(f"no meaning yet for parts of kind {part['kind']}")

    def sinusoid(self, part, positions):
        """Sines of all frequencies, then cosines."""
        half = self.config.get("hidden_size") // 2
        steps = torch.arange(half).to(self.wide)
        last = half if self.word(part, "rule", "base", "tensor2tensor") == "base" else half - 1
        angles = positions.to(self.wide)[..., None] * 10000.0 ** (-steps / last)
        return torch.cat((angles.sin(), angles.cos()), -1).to(self.dtype)

    def leftover(self):
        """Tensors that nothing asked for and no `drop` leaves out."""
        dropped = [drop["match"] for drop in self.base["checkpoint"]["drop"]]
        return sorted(
            name for name in self.disk if name not in self.used and not any(fnmatch(name, glob) for glob in dropped)
        )
