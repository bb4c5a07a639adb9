"""Further parts that equations may call: linear maps and sinusoidal positions."""

from codegen.language.keys import Section
from codegen.language.spec import Linear, Sinusoid
from codegen.plan.context import Context
from codegen.plan.scope import Scope
from codegen.plan.types import Code


def part_construction(context: Context, part: Section, scope: Scope) -> Code:
    """The call that builds a part; the identity where its `when` is false."""
    if isinstance(part, Sinusoid):
        rule = context.word(part, "rule")
        return f"SinusoidalPositions(config.hidden_size{'' if rule == 'base' else f', rule={rule!r}'})"
    if not isinstance(part, Linear):
        raise context.unready(f"a {type(part).__name__.lower()} part has no template yet", "parts")
    inner, outer, bias = (scope.code(context.value(part, name)) for name in ("in", "out", "bias"))
    made = f"nn.Linear({inner}, {outer}, bias={bias})"
    return made if part.when is None else f"{made} if ({scope.code(part.when)}) else nn.Identity()"
