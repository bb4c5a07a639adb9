"""What mixers that carry a state answer alike: nothing turns, there are no scores, layers call them as attention."""

from collections.abc import Iterator

from codegen.language.spec import KIND_FUSED, Spec
from codegen.plan.context import Context
from codegen.plan.mixers import softmax
from codegen.plan.mixers.projections import inputs_of, role_renames
from codegen.plan.names import attribute, disk_name
from codegen.plan.types import Assign, Code


def class_name(attention: str, kind: str) -> str:
    """The name of a kind's class, from that of an attention; `Mixer` where a family has the kind's name."""
    before = attention.removesuffix("Attention")
    return f"{before}{'Mixer' if before.endswith(kind) else kind}"


def activation(code: Code) -> Code:
    """One that a spec writes by its name is a text in the class; others are read from the config."""
    return repr(code) if code.isidentifier() else code


def call(path: Code, arguments: Code) -> Code:
    """How a layer calls it: as attention, beside which it stands in other layers."""
    return softmax.call(path, arguments)


def turning(context: Context, spec: Spec, part: str) -> tuple[Code, Code | None] | None:
    """Nothing turns."""
    return None


def alibi(context: Context, spec: Spec, part: str) -> Code | None:
    """It has no scores."""
    return None


def rules(context: Context, part: str) -> list[Code]:
    """All of its weights lie in memory as on disk."""
    return []


def flags(context: Context, part: str) -> Iterator[Assign]:
    """Nothing that the model's classes have to say."""
    return iter(())


def one_input_renames(spec: Spec, part: str, kind: str, roles: tuple[str, ...]) -> list[tuple[str, str]]:
    """Paths within the layer, on disk and in memory, of a kind that has projections which are stored as one."""
    before = attribute(spec, part)
    on_disk = f"{before}." if disk_name(spec, part) else ""
    names = [inputs_of(spec, part, kind, parts[0])[0] for parts in KIND_FUSED[kind].values()]
    return [*((f"{on_disk}{name}", f"{before}.{name}") for name in names), *role_renames(spec, part, roles)]
