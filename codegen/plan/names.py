"""What a role is called: on disk, and as an attribute in memory."""

import re
from keyword import iskeyword

from codegen.language import disk
from codegen.language.spec import ROLE_NAMES, Spec

GROUPS = {"qkv": ("q", "k", "v")}  # names for several roles at once


def disk_name(spec: Spec, role: str, part: str = "") -> str:
    """The path of a role on disk, relative to its part; `part.role` beats `role`, which beats Llama's name."""
    return disk.name(spec, role, part)


def stored_name(spec: Spec, name: str) -> str:
    """Where something that equations call lies on disk."""
    return disk.stored_name(spec, name)


def name_in_memory(spec: Spec, role: str, part: str = "") -> str:
    """The path of a role in memory, relative to its part: the one on disk, unless transformers' class has another."""
    memory = spec.checkpoint.memory or {}
    found = memory.get(f"{part}.{role}", memory.get(role))
    if found is not None:
        return str(found)
    stored = disk_name(spec, role, part)
    return ROLE_NAMES.get(role, role) if stored.startswith(disk.BESIDE) else stored


def memory_name(disk: str) -> str:
    """A disk path as one attribute: `q_proj.linear` -> `q_proj_linear`, `0` -> `linear_0`."""
    name = re.sub(r"\W", "_", disk)
    return f"linear_{name}" if not name or name[0].isdigit() or iskeyword(name) else name


def layer_path(disk: str) -> str:
    """A path within a layer as one of attributes, the same as on disk; one attribute where it has no such names."""
    return disk if all(name.isidentifier() and not iskeyword(name) for name in disk.split(".")) else memory_name(disk)


def attribute(spec: Spec, role: str, part: str = "") -> str:
    """The attribute that holds a role. A role without a module on disk (`""`) has Llama's name in memory."""
    name = name_in_memory(spec, role, part) or ROLE_NAMES[role]
    return layer_path(name) if role in ("attention", "mlp", *spec.parts) else memory_name(name)


def camel(text: str) -> str:
    """`linear_attention` -> `LinearAttention`."""
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"\W|_", text) if word)
