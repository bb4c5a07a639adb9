"""Classes and functions that mixers need, by the templates of their kinds."""

from collections.abc import Iterable

import libcst as cst

from codegen.cst.fill import template
from codegen.cst.holes import Holes, comment_lines, statement
from codegen.cst.imports import Import
from codegen.plan.types import ClassPlan, MixerPlan
from codegen.render.code import assigns, code


def render_mixers(plans: Iterable[MixerPlan]) -> list[cst.BaseStatement]:
    """What stands before the layers of a model."""
    return [_filled(plan.made) for plan in plans if plan.made is not None]


def imports_of_mixers(plans: Iterable[MixerPlan]) -> list[Import]:
    """The imports of the templates that they come from."""
    names = dict.fromkeys(plan.made.template for plan in plans if plan.made is not None)
    return [item for name in names for item in template(name).imports]


def _filled(plan: ClassPlan) -> cst.BaseStatement:
    holes = Holes(
        names={plan.definition: plan.name},
        docs=plan.docs,
        when=plan.when,
        exprs={name: code(one) for name, one in plan.codes.items()},
        stmts={
            "attributes": assigns(plan.attributes),
            **{name: [statement(line) for line in lines] for name, lines in plan.statements.items()},
        },
        roles=plan.roles,
        whys={role: why for role, why in plan.whys.items() if why},
    )
    made = template(plan.template).fill(plan.definition, holes)
    return made.with_changes(leading_lines=comment_lines(plan.why)) if plan.why else made
