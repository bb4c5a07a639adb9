"""The documentation page of a model, and its row in the coverage table."""

from typing import TYPE_CHECKING

from codegen.artifacts import IndexRow
from codegen.markdown import escaped
from codegen.plan.types import SpecPlan
from codegen.render.picture import mermaid

if TYPE_CHECKING:
    from codegen.plan.vision.types import ImageTextSpecPlan


def index_row(plan: "SpecPlan | ImageTextSpecPlan") -> IndexRow | None:
    """Architecture, features, an example on the hub; None where the tree has no pages."""
    if not plan.model.places.indexes:
        return None
    index = plan.model.places.indexes[not isinstance(plan, SpecPlan)]
    cells = (", ".join(plan.model.architectures), ", ".join(plan.features), plan.hub)
    return IndexRow(index, f"{plan.model.name}.md", plan.model.name, cells)


def render_page(whole: "SpecPlan | ImageTextSpecPlan", about: tuple[str, ...] = (), example: str = "") -> str:
    """The text of the page, without its header. about: further lines; example: the path of its recipe, or empty."""
    plan = whole.model
    lines = [
        f"# {escaped(plan.name)}",
        "",
        escaped(plan.summary),
        "",
        f"- Architectures: {', '.join(f'`{name}`' for name in plan.architectures)}",
        f"- Config class: `{plan.config.class_name}` (`model_type: {plan.config.model_type}`)",
    ]
    lines += about
    lines += [f"- Example on the hub: {escaped(whole.hub)}"] if whole.hub else []
    lines += ["", "## What it has", "", *(f"- {escaped(feature)}" for feature in whole.features), ""]
    lines += ["## How it is built", "", "```mermaid", f"{mermaid(plan.picture)}```", ""]
    lines += [
        "## Where it stands",
        "",
        f"- Spec: `{whole.spec}`",
        f"- Model: `{plan.places.models}/{plan.name}/model.py`",
        *(
            [f"- Tests that prove it: `{plan.places.tests}/{plan.name}/test_{plan.name}.py`"]
            if plan.places.tests
            else []
        ),
        *([f"- Example: `{example}`"] if example else []),
        "",
        f"Prove it again with `codegen parity {plan.name}`.",
    ]
    lines += ["", f"An exception of the proof: {escaped(whole.exception)}."] if whole.exception else []
    return "\n".join(lines) + "\n"
