"""What mixers that carry a state answer alike: nothing turns, there are no scores, layers call them as attention."""

from collections.abc import Iterator

from codegen.language.spec import Spec
from codegen.plan.context import Context
from codegen.plan.mixers import softmax
from codegen.plan.mixers.projections import inputs_of, role_renames
from codegen.plan.names import attribute, disk_name
from codegen.plan.types import Assign, Code


def class_name(attention: str, kind: str) -> str:
    """The name of a kind's class, from that of an attention; `Mixer` where a family has the kind's name."""
    before = attention.removesuffix("Attention")
    return f"{before}{'Mixer' if before.endswith(kind) else kind}"


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
    """Paths within the layer, on disk and in memory, of a kind whose first projections are stored as one."""
    name, before = inputs_of(spec, part, kind)[0], attribute(spec, part)
    stored = f"{before}.{name}" if disk_name(spec, part) else name
    return [(stored, f"{before}.{name}"), *role_renames(spec, part, roles)]
