"""What a role is called: on disk, and as an attribute in memory."""

import re
from fnmatch import fnmatch

from codegen.language import disk
from codegen.language.spec import ROLE_NAMES, Spec

GROUPS = {"qkv": ("q", "k", "v")}  # names for several roles at once


def disk_name(spec: Spec, role: str, part: str = "") -> str:
    """The path of a role on disk, relative to its part; `part.role` beats `role`, which beats Llama's name."""
    return disk.name(spec, role, part)


def stored_name(spec: Spec, name: str) -> str:
    """Where something that equations call lies on disk."""
    return disk.stored_name(spec, name)


def stays_float32(spec: Spec, part: str, path: str) -> bool:
    """Whether what lies at a path of a part on disk is fp32 whatever the model is."""
    whole = disk.in_layer(spec, disk.within(disk_name(spec, part), path))
    return any(fnmatch(whole, pattern) for pattern in spec.checkpoint.float32 or ())


def name_in_memory(spec: Spec, role: str, part: str = "") -> str:
    """The path of a role in memory, relative to its part: the one on disk, unless transformers' class has another."""
    memory = spec.checkpoint.memory or {}
    found = memory.get(f"{part}.{role}", memory.get(role))
    if found is not None:
        return str(found)
    stored = disk_name(spec, role, part)
    return ROLE_NAMES.get(role, role) if stored.startswith(disk.BESIDE) else stored


def attribute(spec: Spec, role: str, part: str = "") -> str:
    """The path of a role below what holds it, the same as on disk: `q_proj.linear`, `0`.

    A role without a module on disk (`""`) has Llama's name in memory, but for what lies in the layer itself.
    """
    found = name_in_memory(spec, role, part)
    return found if found or disk.lies_in_layer(spec, role) else ROLE_NAMES[role]


def path_in_layer(spec: Spec, part: str, path: str) -> str:
    """The path below the layer of what lies at `path` in one of its parts."""
    return ".".join(filter(None, (attribute(spec, part), path)))


def base_model(spec: Spec) -> str:
    """The attribute of the model with a head that is its base model: `model` of `model.decoder`."""
    return attribute(spec, "model").partition(".")[0]


def in_base_model(spec: Spec, path: str) -> str:
    """The path below the base model of what lies at `path` in its inmost part: `decoder.layers` of `model.decoder`."""
    return ".".join(filter(None, (attribute(spec, "model").partition(".")[2], path)))


def camel(text: str) -> str:
    """`linear_attention` -> `LinearAttention`."""
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"\W|_", text) if word)
