"""Everything that a plan makes, of either kind of model: apart from what plans, which may happen elsewhere."""

from typing import TYPE_CHECKING

from codegen.artifacts import Generated
from codegen.plan.types import SpecPlan
from codegen.render.files import render

if TYPE_CHECKING:  # at run time only where a spec is one of images and text
    from codegen.plan.vision.types import ImageTextSpecPlan


def rendered(plan: "SpecPlan | ImageTextSpecPlan") -> Generated:
    """Everything that a plan makes, in memory."""
    if isinstance(plan, SpecPlan):
        return render(plan)
    from codegen.render.image_text import render_image_text

    return render_image_text(plan)
