"""Norms of recurrent mixers, with a gate before or after."""

from collections.abc import Callable

from codegen.language.mixers import GroupedNorm
from codegen.language.norms import merged
from codegen.language.spec import Spec
from codegen.plan.context import Context
from codegen.plan.scope import ATTENTION
from codegen.plan.types import Code


def gated_norm(context: Context, find: Callable[[Spec], GroupedNorm | None], width: Code, path: str) -> Code:
    """The construction: `GatedRMSNorm(width, eps, ...)`, or `Gate()` where there is no norm."""

    def build(spec: Spec) -> Code:
        own = find(spec)
        if own is None:
            return "Gate()"
        made = _norm(context, spec, own, width, path)
        return made if own.when is None else f"({made}) if ({ATTENTION.code(own.when)}) else Gate()"

    return context.code(build, ATTENTION, lazy=True)


def _norm(context: Context, spec: Spec, own: GroupedNorm, width: Code, path: str) -> Code:
    norm = merged(spec, own)
    plain = norm.weight is None or norm.weight.constant is True
    if context.word(norm, "kind") != "rmsnorm" or not plain or norm.offset:
        raise context.unready("has a template only as an rmsnorm with a weight and no offset", path)
    options = [width, ATTENTION.code(context.value(norm, "eps"))]
    groups = ATTENTION.code(context.value(own, "groups"))
    options += [f"groups={groups}"] if groups != "1" else []
    options += ["gate='after'"] if context.word(own, "gate") == "after" else []
    return f"GatedRMSNorm({', '.join(options)})"
