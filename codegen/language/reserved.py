"""Names that a spec may not give: those that generated files and the classes below them use, and those given twice.

`reserved_names.json` lists what the base classes use, because the generator imports neither them nor torch; it is
written by `python -m nemo_automodel.parity.reserved_names`, and a test compares it with the classes.
"""

import ast
import builtins
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from keyword import iskeyword
from pathlib import Path
from typing import Any

from codegen.configs import ConfigClass
from codegen.errors import cut
from codegen.frozen import Frozen
from codegen.language import disk, equations
from codegen.language.attention import Gqa
from codegen.language.keys import Mixer, Section
from codegen.language.spec import FUNCTIONS, KIND_FUSED, MIXERS, ROLE_NAMES, Linear, NormPart, Spec

TABLE = Path(__file__).with_name("reserved_names.json")
PACKAGES = ("common",)  # folders of models that hold no model
CLASSES = ("Attention", "MLP", "DecoderLayer", "Model", "StateDictAdapter")  # behind a model's prefix
HEADS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")  # that are no part of the prefix
OWN = ("attention", "mlp")  # parts that are sections of their own
LOCALS = ("self", "context", "position_ids", "range", "super")  # of the methods that equations become
# What the plan adds to the classes, unless it is a role's own name.
PLANNED = {
    "attention": ("clip", "rotate", "nope", "q_rank", "kv_rank", "rope", "v"),
    "mlp": ("limit", "alpha", "up_offset", "activation_dropout"),
    "layer": ("dropout", "mlp_dropout", "activation_dropout", "act_fn", "rope_kind", "factor"),
    "model": ("dropout", "alibi", "rotary_emb"),
    "head": (),
}
_MULTIPLIER = re.compile(r"[a-z]+_multiplier")
_COUNTED = {"attention": _MULTIPLIER, "mlp": _MULTIPLIER, "layer": re.compile(r"factor_\d+")}
WHAT = {"attention": "attention", "mlp": "MLP", "layer": "layer", "model": "model", "head": "model with a head"}
# Roles of no module: numbers, or tensors within another's.
NO_ATTRIBUTES = ("correction_bias",)

Path_ = tuple[Any, ...]
Found = Iterator[tuple[Path_, str, str]]


class Name(Frozen):
    """An attribute that a spec gives to a class: the role that it is for (or what calls it), and where it stands."""

    name: str
    role: str
    path: Path_


@cache
def reserved(holder: str) -> frozenset[str]:
    """Names that a class uses already: `attention`, `mlp`, `layer`, `model`, `head`; `module` of generated files,
    `config` of declared config classes."""
    found: dict[str, list[str]] = json.loads(TABLE.read_text(encoding="ascii"))
    return frozenset(found[holder]).union(PLANNED.get(holder, ()))


def names(spec: Spec, _: ConfigClass) -> Found:
    """Attributes: each free, and each for one thing."""
    for holder, given in _holders(spec):
        seen: list[Name] = []
        for one in given:
            yield from _taken(holder, one)
            other = next((other for other in seen if other.role != one.role and _meet(other.name, one.name)), None)
            if other is not None:  # told where a name is written, rather than where it is Llama's
                here, there = (one, other) if len(one.path) >= len(other.path) else (other, one)
                message = f"'{cut(here.name)}' is the name of {cut(there.role)} too"
                yield here.path, message, f"give {cut(here.role)} a name of its own"
            seen.append(one)
    yield from _bound(spec)


def classes(architectures: Iterable[str], config: str) -> Iterator[str]:
    """Names among the classes of a generated model that its modules use already, or that stand for two of them."""
    first = next(iter(architectures), "")
    seen: set[str] = set()
    for name in (first, config, *(f"{class_prefix(first)}{tail}" for tail in CLASSES)):
        if name in seen or name in reserved("module") or hasattr(builtins, name):
            yield name
        seen.add(name)


def class_prefix(architecture: str) -> str:
    """`GPTNeoXForCausalLM` -> `GPTNeoX`."""
    for suffix in HEADS:
        if architecture.endswith(suffix):
            return architecture.removesuffix(suffix)
    return architecture


def _taken(holder: str, one: Name) -> Found:
    first = one.name.partition(".")[0]
    own = one.name == ROLE_NAMES.get(one.role)
    counted = _COUNTED.get(holder)
    if not own and (first in reserved(holder) or counted and counted.fullmatch(first)):
        yield one.path, f"'{cut(one.name)}' is used by every {WHAT[holder]} itself", "choose another name"
    if "__" in one.name or first.startswith("_"):
        yield one.path, f"'{cut(one.name)}' looks like a name of Python's own", "choose another name"


def _meet(one: str, other: str) -> bool:
    """Whether two attributes are the same, or one lies within the other."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def _holders(spec: Spec) -> Iterator[tuple[str, list[Name]]]:
    block = equations.called_names(spec.block)
    for part, section in (("attention", spec.attention), ("mlp", spec.mlp), *spec.parts.items()):
        if part in block and isinstance(section, Mixer) and not disk.lies_in_layer(spec, part):
            yield "attention" if part == "attention" else "mlp", _mixer(spec, part, section)
    inside = [name for name in block if disk.lies_in_layer(spec, name)]
    given = [_part(spec, name, "block") for name in block if name not in inside]
    given += [one for part in inside for one in _mixer(spec, part, spec.parts.get(part, spec.mlp))]
    yield "layer", given + _numbers(spec)
    head = disk.name(spec, "head")
    called = [(name, group) for group in ("input", "output") for name in equations.called_names(getattr(spec, group))]
    above = [(name, group) for name, group in called if name != head]
    within = [_called(spec, name, group) for name, group in above if not _is_top(spec, name)]
    inner = disk.name(spec, "model").partition(".")[2]  # the base model holds all of it in a module of this path
    given = [_role(spec, "layers"), *dict.fromkeys(within)]
    yield "model", [Name(disk.within(inner, one.name), one.role, one.path) for one in given]
    beside = [_called(spec, name, group) for name, group in above if _is_top(spec, name)]
    yield "head", [_outer(spec), _role(spec, "head"), *dict.fromkeys(beside)]


def _mixer(spec: Spec, part: str, section: Section) -> list[Name]:
    """The roles of a mixer; a gated MLP has its activation as an attribute, experts lie where their roles say."""
    found = [role for role in (section.roles() if isinstance(section, Mixer) else ()) if role not in NO_ATTRIBUTES]
    found += ["activation"] if "gate" in found else []
    written = spec.checkpoint.names or {}
    found += ["out_bias"] if isinstance(section, Gqa) and {"out_bias", f"{part}.out_bias"} & {*written} else []
    return _roles(spec, part, found, disk_only="experts" in found)


def _roles(spec: Spec, part: str, roles: list[str], disk_only: bool = False) -> list[Name]:
    """The roles of a part, of which some are stored as one; its inner norm too."""
    fused = {role: str(stored) for stored, one in (spec.checkpoint.fused or {}).items() for role in one.parts}
    found: dict[str, Name] = {}
    for role in roles:
        if role in fused and not disk_only:
            leaf = fused[role].rpartition(".")[2]
            found.setdefault(fused[role], Name(leaf, fused[role], ("checkpoint", "fused", fused[role])))
        elif (one := _role(spec, role, part)).name or not disk_only:
            found[role] = one
    return [*found.values(), *_inner(spec, part)]


def _inner(spec: Spec, part: str) -> Iterator[Name]:
    """What a part names in its own section, and what its kind stores as one under a name of its own."""
    path: Path_ = (part,) if part in OWN else ("parts", part)
    section = getattr(spec, part) if part in OWN else spec.parts[part]
    if inner := getattr(section, "inner_norm", None):
        yield Name(inner, "inner_norm", (*path, "inner_norm"))
    for number, name in enumerate(disk.inner_norms(section)):
        yield Name(name, f"inner norm {number}", (*path, "inner_norms", "names", number))
    written = {role for one in (spec.checkpoint.fused or {}).values() for role in one.parts}
    kind = next((kind for kind, cls in MIXERS.items() if cls is type(section)), "")
    for name, roles in KIND_FUSED.get(kind, {}).items():
        if written.isdisjoint(roles):
            yield Name(name, name, ("checkpoint", "names"))


def _role(spec: Spec, role: str, part: str = "") -> Name:
    written = spec.checkpoint.names or {}
    key = next((name for name in (f"{part}.{role}", role) if name in written), None)
    stored = disk.name(spec, role, part)
    stored = "" if stored.startswith(disk.BESIDE) else stored
    path = ("checkpoint", "names", key) if key is not None else ("checkpoint", "names")
    return Name(stored or ROLE_NAMES.get(role, role), role, path)


def _outer(spec: Spec) -> Name:
    """The base model, which is the first module of its path."""
    whole = _role(spec, "model")
    return Name(whole.name.partition(".")[0], whole.role, whole.path)


def _part(spec: Spec, name: str, group: str) -> Name:
    """What a layer calls: its attention and MLP have paths of their own."""
    if name not in ("attention", "mlp"):
        return Name(str(name), f"what {group} calls {cut(name)}", _where(spec, name, group))
    return Name(disk.name(spec, name) or ROLE_NAMES[name], name, _role(spec, name).path)


def _called(spec: Spec, name: str, group: str) -> Name:
    declared = name in (spec.parts or {})  # one thing, whatever calls it
    role = f"parts.{cut(name)}" if declared else "norm" if name == "norm" else f"what {group} calls {cut(name)}"
    return Name(name, role, _where(spec, name, group))


def _where(spec: Spec, name: str, group: str) -> Path_:
    """The first equation of a group that calls a name."""
    for index, equation in enumerate(getattr(spec, group)):
        if name in equations.called_names([equation]):
            return (group, index)
    return (group,)


def _numbers(spec: Spec) -> list[Name]:
    """Numbers of the config that the equations of a layer read: the layer holds them under their own names."""
    found: dict[str, Name] = {}
    for index, equation in enumerate(spec.block):
        for node in ast.walk(equation.value):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "config":
                found.setdefault(node.attr, Name(node.attr, f"config.{node.attr}", ("block", index)))
    return list(found.values())


def _is_top(spec: Spec, name: str) -> bool:
    part = (spec.parts or {}).get(name)
    return isinstance(part, Linear | NormPart) and part.top is not None and part.top.constant is True


def _bound(spec: Spec) -> Found:
    """Names on the left of equations: locals of a method."""
    for group in equations.GROUPS:
        for index, equation in enumerate(getattr(spec, group)):
            name = equation.target
            if name in LOCALS or name in reserved("module") or iskeyword(name) or name in FUNCTIONS:
                yield (group, index), f"'{cut(name)}' cannot be bound", "choose another name on the left of ="
