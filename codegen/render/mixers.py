"""`layers.py`: layers that are no composition of the library's, beside `model.py`."""

import libcst as cst

from codegen.cst.fill import template
from codegen.cst.format import Format, module_text
from codegen.cst.holes import Holes, comment_lines, docstring, expression, statement
from codegen.cst.imports import Import
from codegen.plan.types import LatentPlan, ModelPlan, MoePlan
from codegen.render.code import assigns, code, gate_exprs, gate_roles, unless_true


def has_layers(plan: ModelPlan) -> bool:
    """Whether the model needs the file."""
    return bool(plan.latents or plan.moes)


def layer_names(plan: ModelPlan) -> list[str]:
    """What `model.py` imports from it."""
    return [*(one.class_name for one in plan.latents), *(one.function for one in plan.moes)]


def render_layers(plan: ModelPlan, format_all: Format) -> str:
    """The text of `layers.py`, without its header."""
    statements = [*(_latent(one) for one in plan.latents), *(_moe(one) for one in plan.moes)]
    return module_text(docstring(f"Layers of {plan.title}."), _imports(), statements, format_all)


def _imports() -> list[Import]:
    names = ("library", "mla", "moe")
    return [item for name in names for item in template(name).imports]


def _latent(plan: LatentPlan) -> cst.BaseStatement:
    rotation = plan.rotation
    holes = Holes(
        names={"TemplateLatentAttention": plan.class_name},
        docs={"attention": plan.doc},
        when={
            "rope": rotation is not None,
            "rope_in_some_layers": rotation is not None and rotation.some_layers,
            "gate": plan.gate is not None,
            "gate_head_bias": plan.gate is not None and plan.gate.head_bias is not None,
        },
        exprs={
            **{name: code(getattr(plan, name)) for name in ("heads", "nope", "rope", "v", "q_rank", "kv_rank")},
            **{f"{role}_bias": unless_true(flag) for role, flag in plan.biases.items()},
            **{role: code(made) for role, made in plan.norms.items()},
            **gate_exprs(plan.gate),
            "rotate": code(rotation.rotate if rotation else None),
            "dtype": code(rotation.dtype if rotation else None),
            "sign": code(rotation.sign if rotation else None),
        },
        stmts={"attributes": assigns(plan.attributes), "multiply": [statement(line) for line in plan.multiply]},
        roles={**plan.names, **gate_roles(plan.gate)},
    )
    return template("mla").fill("TemplateLatentAttention", holes)


def _moe(plan: MoePlan) -> cst.BaseStatement:
    name = "template_layer_moe_config" if "layer_idx" in plan.arguments else "template_moe_config"
    fields = ", ".join(f"{field}={value}" for field, value in plan.fields)
    holes = Holes(names={name: plan.function}, exprs={"moe_config": expression(f"MoEConfig({fields})")})
    function = template("moe").fill(name, holes)
    return function.with_changes(leading_lines=comment_lines(plan.why)) if plan.why else function
