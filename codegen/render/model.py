"""`model.py`: mixers, layers, model, head, top to bottom."""

from textwrap import fill

import libcst as cst

from codegen.cst.fill import template
from codegen.cst.format import Format
from codegen.cst.holes import Holes, docstring, statement
from codegen.cst.imports import Import
from codegen.plan.types import Assign, LayerPlan, ModelPlan
from codegen.render.code import assigns, code, flags, module
from codegen.render.mixers import imports_of_mixers, render_mixers

WIDTH = 117  # of a docstring's line; black wraps none
LEGEND = "Shapes: B batch, S positions, H hidden size, N query heads, K key/value heads, D head size, V vocabulary."


def render_model(plan: ModelPlan, format_all: Format) -> str:
    """The text of `model.py`, without its header."""
    statements = [*render_mixers(plan.mixers), *map(_layer, plan.layers), _body(plan), _head(plan)]
    statements.append(statement(f"ModelClass = {plan.architectures[0]}"))
    doc = docstring(f"{fill(plan.summary, WIDTH)}\n\n{LEGEND}\n")
    library = [*template("library").imports, *template("model").imports, *imports_of_mixers(plan.mixers)]
    return module(plan.places, doc, library, _own(plan), statements, format_all)


def _own(plan: ModelPlan) -> list[Import]:
    """Imports of what the library does not have."""
    return [
        Import(plan.config.module, plan.config.class_name),
        Import(plan.places.module(plan.name, "state_dict_adapter"), f"{plan.prefix}StateDictAdapter"),
        *(Import(path, name) for path, name in plan.overrides),
    ]


def _layer(plan: LayerPlan) -> cst.BaseStatement:
    name = "TemplateWiredDecoderLayer" if plan.base else "TemplateDecoderLayer"
    holes = Holes(
        names={name: plan.class_name, **({"TemplateDecoderLayer": plan.base} if plan.base else {})},
        docs={"layer": plan.doc},
        when={"padding_mask": plan.beside_experts},
        exprs={"block": code(plan.returned)},
        stmts={"parts": assigns(plan.parts), "block": [statement(line) for line in plan.block]},
    )
    return template("model").fill(name, holes)


def _names(plan: ModelPlan) -> dict[str, str]:
    experts = "MoE" if any(mixer.has_experts for mixer in plan.mixers) else ""
    return {
        "TemplateConfig": plan.config.class_name,
        "TemplateForCausalLM": plan.architectures[0],
        "TemplateDecoderModel": f"{experts}DecoderModel",
        "TemplateCausalLM": f"{experts}CausalLM",
    }


def _body(plan: ModelPlan) -> cst.BaseStatement:
    body = plan.body
    holes = Holes(
        prefix=plan.prefix,
        names=_names(plan),
        when={
            "layer_class_is_local": body.layer_class_is_local,
            "embed": body.embedded is not None,
            "finish": body.finish is not None,
        },
        exprs={"layer_class": code(body.layer_class), "embedded": code(body.embedded), "finish": code(body.finish)},
        stmts={
            "flags": flags(body.flags),
            "inputs": assigns(body.inputs),
            "outputs": assigns(body.outputs),
            "embed": [statement(line) for line in body.embed],
            "layer_class": [statement(f"layer_class = {body.layer_class}", body.layers_why)],
        },
        roles={"layers": body.layers_name},
    )
    return template("model").fill("TemplateModel", holes)


def _head(plan: ModelPlan) -> cst.BaseStatement:
    head = plan.head
    holes = Holes(
        prefix=plan.prefix,
        names=_names(plan),
        when={"before_head": head.before is not None, "transform_logits": head.logits is not None},
        exprs={"before": code(head.before), "logits": code(head.logits)},
        stmts={
            "head_flags": flags(head.flags),
            "head": assigns((*head.parts, Assign(head.head_name, head.head, head.why))),
        },
        roles={"model": head.model_name},
    )
    return template("model").fill("TemplateForCausalLM", holes)
