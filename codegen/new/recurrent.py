"""Mixers with a state, in place of attention: their kind, names and sizes, as the tensors of a layer show them."""

from collections.abc import Mapping
from dataclasses import field
from math import prod
from typing import Any

from codegen.frozen import Frozen
from codegen.language.spec import KIND_FUSED, ROLE_NAMES
from codegen.new import modules
from codegen.new.modules import Module
from codegen.new.numbers import Numbers
from codegen.new.values import Values

# What names call the projections of a delta rule, where it is not a letter of its own.
_WORDS = {
    "query": "q",
    "key": "k",
    "value": "v",
    "g": "z",
    "gate": "z",
    "f": "a",
    "decay": "a",
    "alpha": "a",
    "beta": "b",
}
_NO_ROLE = ("in", "proj", "linear", "lin")
_OTHERS = ("conv", "attention", "mlp")  # in names of flags of other biases
_LETTERS = frozenset("qkvzba")


class State(Frozen):
    """A mixer with a state. path: of its module in a layer. section: of the language. names, fused: of its roles on
    disk."""

    path: str
    section: Mapping[str, Any]
    names: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fused: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def kind(self) -> str:
        return str(self.section["kind"])


def state(tensors: Mapping[str, modules.Shape], values: Values) -> State | None:
    """That of a layer with these tensors; None where it has none."""
    found = modules.modules(tensors)
    roots = {path.split(".")[0] for path in found if "." in path and modules.STATE.search(path.rpartition(".")[2])}
    if len(roots) != 1:
        return None
    path = roots.pop()
    inside = modules.relative({name: one for name, one in found.items() if name.startswith(f"{path}.")}, path)
    return _Reader(path, inside, Numbers(values)).read()


class _Reader(Frozen):
    """Reads one mixer. found: its modules, by their paths in it."""

    path: str
    found: Mapping[str, Module]
    numbers: Numbers

    def read(self) -> State | None:
        if self.ending("recurrent_param"):
            return self.rg_lru()
        decay = self.ending("A_log")
        if decay is None:
            return self.short_conv()
        if self.ending("D") is None:
            return self.gated_delta_net(decay)
        return self.mamba1(decay) if self.ending("dt_proj") is not None else self.mamba2(decay)

    def ending(self, name: str) -> Module | None:
        return next((one for path, one in self.found.items() if path.rpartition(".")[2] == name), None)

    @property
    def convolutions(self) -> list[Module]:
        return [one for one in self.found.values() if one.weight and modules.STATE.search(one.name)]

    @property
    def out(self) -> Module | None:
        return modules.named(self.found, modules.OUT)

    @property
    def read_width(self) -> int | None:
        """How wide what the last projection reads is."""
        return None if self.out is None or not self.out.shape else self.out.shape[-1]

    def state_of(self, section: Mapping[str, Any], roles: Mapping[str, Module | None]) -> State:
        """With the names that are not the usual ones."""
        named = {role: one.path for role, one in roles.items() if one is not None}
        names = {role: path for role, path in named.items() if ROLE_NAMES.get(role, role) != path}
        return State(self.path, {key: value for key, value in section.items() if value is not None}, names)

    def usual(self) -> dict[str, Module | None]:
        """The roles that all of them have."""
        convolution = next(iter(self.convolutions), None)
        return {"conv": convolution, "out": self.out, "A_log": self.ending("A_log"), "D": self.ending("D")}

    def biases(self) -> dict[str, Any]:
        """Of the convolution and of the projections."""
        convolution = next(iter(self.convolutions), None)
        first = next((self.found[name] for name in ("in_proj",) if name in self.found), self.out)
        return {
            "conv_bias": self.numbers.flag(convolution is not None and convolution.bias, True, "conv", "bias"),
            "bias": self.numbers.flag(
                first is not None and first.bias, False, "bias", without=("conv", "attention", "mlp")
            ),
        }

    def kernel(self, kind: str) -> dict[str, Any]:
        """The taps, where no field holds them that is known for it."""
        taps = next((one.shape[-1] for one in self.convolutions if one.shape), None)
        return self.numbers.unless_default(kind, "kernel", taps, "conv", "kernel", "cache")

    def short_conv(self) -> State | None:
        """Three rows of each channel, and one convolution of all."""
        wide, narrow = self.found.get(next(iter(KIND_FUSED["short_conv"]))), next(iter(self.convolutions), None)
        if wide is None or narrow is None or len(self.found) != 3:
            return None
        bias = self.numbers.flag(wide.bias, False, "conv", "bias")
        section = {"kind": "short_conv", **self.kernel("short_conv"), "bias": bias}
        return self.state_of(section, {"conv": narrow, "out": self.out})

    def mamba1(self, decay: Module) -> State:
        width, size = decay.shape if decay.shape and len(decay.shape) == 2 else (None, None)
        step = self.ending("dt_proj")
        rank = step.shape[-1] if step is not None and step.shape else None
        section = {
            "kind": "mamba1",
            "width": self.numbers.field(width, "intermediate", "inner", "width"),
            "state": self.numbers.field(size, "state"),
            "dt_rank": self.numbers.field(rank, "rank", "dt"),
            **self.kernel("mamba1"),
            **self.biases(),
        }
        return self.state_of(section, {**self.usual(), "dt_proj": step})

    def mamba2(self, decay: Module) -> State:
        heads, width = _size(decay), self.read_width
        convolved = next((one.shape[0] for one in self.convolutions if one.shape), None)
        rest = None if convolved is None or width is None else (convolved - width) // 2
        head_dim = width // heads if heads and width else None
        groups, size = self.numbers.pair(rest, ("group",), ("state",))
        section = {
            "kind": "mamba2",
            "heads": self.numbers.field(heads, "head", "num", "n_"),
            "head_dim": self.numbers.field(head_dim, "head", "dim", "d_"),
            "groups": groups,
            "state": size,
            **self.kernel("mamba2"),
            **self.biases(),
            "dt_limit": self.numbers.bounds("limit"),
            "norm": {"groups": groups} if self.norm is not None else None,
        }
        return self.state_of(section, {**self.usual(), "dt_bias": self.ending("dt_bias"), "mixer_norm": self.norm})

    @property
    def norm(self) -> Module | None:
        return next((one for one in self.found.values() if one.is_norm and not one.bare), None)

    def rg_lru(self) -> State:
        gate, own = self.ending("input_gate_weight"), self.ending("recurrent_param")
        heads = gate.shape[0] if gate is not None and gate.shape else None
        section = {
            "kind": "rg_lru",
            "width": self.numbers.field(_size(own) if own is not None else None, "width", "lru"),
            "heads": self.numbers.field(heads, "head", "block"),
            **self.kernel("rg_lru"),
        }
        bare = {one.name: one for one in self.found.values() if one.bare}
        letters = {role: one for one in self.matrices() if (role := one.name.rpartition("_")[2]) in ("x", "y")}
        return self.state_of(section, {**bare, **letters, "conv": next(iter(self.convolutions), None), "out": self.out})

    def matrices(self) -> list[Module]:
        """Projections of what the mixer reads, or of one another."""
        apart = [*self.convolutions, self.out, self.norm]
        return [one for one in self.found.values() if one.weight and one not in apart]

    def gated_delta_net(self, decay: Module) -> State:
        heads, norm, bias = _size(decay), self.norm, self.ending("dt_bias")
        value_dim = _size(norm) if norm is not None else None
        rows = [one.shape[0] for one in self.convolutions if one.shape]
        values = heads * value_dim if heads and value_dim else 0
        queries = rows[0] if len(rows) > 1 else (rows[0] - values) // 2 if rows else None
        key_heads, key_dim = self.numbers.pair(queries, ("key", "head", "num"), ("key", "head", "dim"))
        section = {
            "kind": "gated_delta_net",
            "key_heads": key_heads,
            "heads": self.numbers.field(heads, "value", "head", "num"),
            "key_dim": key_dim,
            "value_dim": self.numbers.field(value_dim, "value", "head", "dim"),
            **self.kernel("gated_delta_net"),
            "decay": "channel" if bias is not None and _size(bias) not in (heads, None) else None,
        }
        names, fused = self.projected(key_heads)
        made = self.state_of(section, {"A_log": decay, "dt_bias": bias, "mixer_norm": norm, "out": self.out})
        return State(self.path, made.section, {**made.names, **names}, fused)

    def projected(self, groups: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Names of the projections and convolutions of a delta rule; what lies together, in the order of its name's
        letters."""
        names, fused = dict[str, Any](), dict[str, Any]()
        for one in self.matrices():
            words = [_WORDS.get(word, word) for word in one.name.split("_") if word not in _NO_ROLE]
            if len(words) == 2 and words[1] in ("a", "b"):  # two in a row, of a low rank
                names.setdefault(words[0], []).append(one.path)
            elif len(words) == 1 and len(words[0]) == 1:
                names |= {words[0]: one.path} if ROLE_NAMES.get(words[0], words[0]) != one.path else {}
            elif len(words) == 1 and set(words[0]) <= _LETTERS:
                parts = [*words[0]]
                fused[one.path] = {"parts": parts, "groups": groups} if {"z", "b"} & {*parts} else parts
        convolutions = self.convolutions
        if len(convolutions) == 1:
            fused[convolutions[0].path] = ["conv_q", "conv_k", "conv_v"]
        else:
            names |= {f"conv_{one.name[0]}": one.path for one in convolutions}
        return names, fused


def _size(module: Module) -> int | None:
    return None if module.shape is None else prod(module.shape)
