"""The modules of one layer by what their names say: token mixer, channel mixer, norms."""

import re
from collections.abc import Mapping
from dataclasses import replace

from codegen.frozen import Frozen
from codegen.language.disk import BESIDE
from codegen.new.headers import Shape

# Names that published checkpoints give to projections, the most common first.
QUERY = ("q_proj", "query", "q", "wq", "Wq", "q_lin", "query_proj")
KEY = ("k_proj", "key", "k", "wk", "Wk", "k_lin", "key_proj")
VALUE = ("v_proj", "value", "v", "wv", "Wv", "v_lin", "value_proj")
QKV = ("qkv_proj", "query_key_value", "c_attn", "Wqkv", "W_pack", "qkv", "wqkv", "in_proj_qkv", "attn_qkv", "to_qkv")
LATENT = ("kv_a_proj_with_mqa",)
OUT = ("o_proj", "out_proj", "c_proj", "dense", "Wo", "wo", "out", "o", "proj", "out_lin", "linear_out", "attn_out")
GATE = ("gate_proj", "w1", "gate", "wg", "wi_0", "c_fc_0")
UP = ("up_proj", "w3", "c_fc_1", "c_fc", "fc1", "fc_in", "dense_h_to_4h", "up", "v1", "wi", "wi_1", "linear_in", "lin1")
GATE_UP = ("gate_up_proj", "Wi", "gate_up", "w13", "up_gate_proj", "input_linear")
DOWN = ("down_proj", "w2", "c_proj", "fc2", "fc_out", "dense_4h_to_h", "down", "wo", "Wo", "linear_out", "lin2", "proj")
HEAD_GATE = ("gate_proj", "g_proj", "out_gate")
STATE = re.compile(r"(^|_)conv(_?1d)?$|^A_log$|^recurrent_param$")  # what only mixers with a state have
_NORM = re.compile(r"norm|(^|_)ln(_|\d|$)|layer_?norm", re.IGNORECASE)


class Module(Frozen):
    """Parameters of one module: whether they are there, and their shapes where known."""

    path: str
    shape: Shape = None
    weight: bool = False
    bias: bool = False
    bare: bool = False  # a parameter without a module (`sinks`)

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def is_norm(self) -> bool:
        return _NORM.search(self.name) is not None or self.weight and self.shape is not None and len(self.shape) == 1


def modules(tensors: Mapping[str, Shape]) -> dict[str, Module]:
    """Tensors as modules, by path."""
    found: dict[str, Module] = {}
    for name, shape in tensors.items():
        path, _, parameter = name.rpartition(".")
        if parameter not in ("weight", "bias"):
            found[name] = Module(name, shape, bare=True)
            continue
        old = found.get(path, Module(path))
        weight, bias = old.weight or parameter == "weight", old.bias or parameter == "bias"
        found[path] = Module(path, shape if parameter == "weight" else old.shape, weight, bias)
    for path in [path for path, one in found.items() if one.bias and not one.weight]:  # a parameter of that name
        del found[path]
        found[f"{path}.bias"] = Module(f"{path}.bias", tensors[f"{path}.bias"], bare=True)
    return dict(sorted(found.items()))


class Layer(Frozen):
    """The modules of a layer, by path; those of a mixer by path inside it, which is None where none was recognised."""

    attention: str | None
    mlp: str | None
    mixing: Mapping[str, Module]  # the token mixer's
    channel: Mapping[str, Module]  # the channel mixer's
    norms: Mapping[str, Module]
    beside: Mapping[str, Module]  # of an MLP for every token that lies beside the channel mixer, by whole path


def layer(tensors: Mapping[str, Shape]) -> Layer:
    """Sort a layer's modules. A mixer with a state, which stands in some layers in place of attention, is set apart."""
    found = modules(tensors)
    states = _states(found)
    found = {path: module for path, module in found.items() if path.split(".")[0] not in states}
    mixer = _mixer(found)
    mixing = {} if mixer is None else _inside(found, mixer)
    rest = {path: module for path, module in found.items() if path not in mixing}
    norms = {path: module for path, module in rest.items() if module.is_norm and "expert" not in path}
    channel = {path: module for path, module in rest.items() if path not in norms}
    beside = _beside(channel)
    channel = {path: module for path, module in channel.items() if path not in beside}
    matrices = [path for path, one in channel.items() if not (one.bare and _is_vector(one))]
    common = _common(matrices or list(channel))
    inner = {path: module for path, module in norms.items() if common and path.startswith(f"{common}.")}
    channel |= inner
    norms = {path: module for path, module in norms.items() if path not in inner}
    return Layer(mixer, common if channel else None, relative(mixing, mixer), relative(channel, common), norms, beside)


def split_at(path: str, names: tuple[str, ...]) -> tuple[str, str] | None:
    """A path cut before the first component that is one of the names."""
    components = path.split(".")
    for index, component in enumerate(components):
        if component in names:
            return ".".join(components[:index]), ".".join(components[index:])
    return None


def named(found: Mapping[str, Module], names: tuple[str, ...]) -> Module | None:
    """The matrix whose path starts with the first of the names that there is."""
    for name in names:
        for path, module in found.items():
            if path.split(".")[0] == name and module.weight and not _is_vector(module):
                return module
    return None


def kind_of(layer: "Layer") -> str:
    """The kind of attention that a layer has, by its tensors."""
    return "mla" if named(layer.mixing, LATENT) is not None else "gqa"


def _mixer(found: Mapping[str, Module]) -> str | None:
    for names in (LATENT, QUERY, QKV):
        for path in found:
            cut = split_at(path, names)
            if cut is not None and "expert" not in path:
                return cut[0]
    return None


def _states(found: Mapping[str, Module]) -> set[str]:
    """Where a layer keeps mixers with a state, if it has attention beside them."""
    states = {path.split(".")[0] for path in found if "." in path and STATE.search(path.rpartition(".")[2])}
    return states if _mixer({path: one for path, one in found.items() if path.split(".")[0] not in states}) else set()


def _inside(found: Mapping[str, Module], mixer: str) -> dict[str, Module]:
    if not mixer:
        known = {*QUERY, *KEY, *VALUE, *QKV, *LATENT, *OUT}
        return {path: module for path, module in found.items() if path.split(".")[0] in known}
    return {path: module for path, module in found.items() if path.startswith(f"{mixer}.")}


def relative(found: Mapping[str, Module], base: str | None) -> dict[str, Module]:
    """By paths below what holds them; what lies beside it by one that leaves it."""
    begin = f"{base}." if base else ""
    paths = {path: path.removeprefix(begin) if path.startswith(begin) else f"{BESIDE}{path}" for path in sorted(found)}
    return {path: replace(found[whole], path=path) for whole, path in paths.items()}


def _common(paths: list[str]) -> str:
    """The deepest module that holds all of these; experts are below it."""
    if not paths:
        return ""
    parts = [path.split(".")[:-1] for path in paths]
    shared: list[str] = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1 or level[0] in ("experts", "*"):
            break
        shared.append(level[0])
    return ".".join(shared)


def _beside(channel: Mapping[str, Module]) -> dict[str, Module]:
    """A shared MLP in a module of its own, where others lie elsewhere in the layer."""
    roots = {path.split(".")[0] for path in channel if "." in path}
    shared = {root for root in roots if "shared" in root}
    return {path: one for path, one in channel.items() if path.split(".")[0] in shared} if roots > shared else {}


def _is_vector(module: Module) -> bool:
    return module.shape is not None and len(module.shape) < 2
