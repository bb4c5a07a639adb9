"""`model.py`: attention, MLP, layers, model, head, top to bottom."""

import libcst as cst

from codegen.cst.fill import template
from codegen.cst.format import Format, module_text
from codegen.cst.holes import Holes, docstring, statement
from codegen.cst.imports import Import
from codegen.plan.types import Assign, AttentionPlan, LayerPlan, MlpPlan, ModelPlan
from codegen.render.code import assigns, code, flags, gate_exprs, gate_roles, unless_true
from codegen.render.mixers import layer_names

MODELS = "nemo_automodel.components.models"
LEGEND = "Shapes: B batch, S positions, H hidden size, N query heads, K key/value heads, D head size, V vocabulary."
ATTENTION = (  # expressions of an attention that fill holes of their own names
    *("head_dim", "head_dim_value", "heads", "kv_heads", "bias", "biases", "names", "fused", "layout", "packed"),
    *("sinks", "v_head_dim"),
)


def render_model(plan: ModelPlan, format_all: Format) -> str:
    """The text of `model.py`, without its header."""
    statements = [_attention(one) for one in plan.attentions]
    statements += [_mlp(one) for one in plan.mlps]
    statements += [_layer(one) for one in plan.layers]
    statements += [_body(plan), _head(plan)]
    statements.append(statement(f"ModelClass = {plan.architectures[0]}"))
    return module_text(docstring(f"{plan.summary}\n\n{LEGEND}\n"), _imports(plan), statements, format_all)


def _imports(plan: ModelPlan) -> list[Import]:
    known = [*template("library").imports, *template("model").imports]
    adapter = f"{plan.prefix}StateDictAdapter"
    own = [
        Import(plan.config.module, plan.config.class_name),
        Import(f"{MODELS}.{plan.name}.state_dict_adapter", adapter),
        *(Import(f"{MODELS}.{plan.name}.layers", name) for name in layer_names(plan)),
        *(Import(module, name) for module, name in plan.overrides),
    ]
    return [*known, *own]


def _attention(plan: AttentionPlan) -> cst.BaseStatement:
    norm, rotation, gate = plan.qk_norm, plan.rotation, plan.gate
    place = norm.place if norm else None
    rows = bool(norm and norm.rows)
    holes = Holes(
        names={"TemplateAttention": plan.class_name},
        docs={"attention": plan.doc},
        when={
            "head_dim_is_local": plan.head_dim_value is not None,
            "sinks": plan.sinks == "True",
            "sinks_in_some_layers": plan.sinks not in (None, "True"),
            "qk_norm": norm is not None,
            "inner_norm": plan.inner_norm is not None,
            "whole_projections": plan.clip or place == "projection" or bool(gate and gate.in_q or plan.v_head_dim),
            "v_head_dim": plan.v_head_dim is not None,
            "gate": gate is not None and not gate.in_q,
            "gate_in_q": gate is not None and gate.in_q,
            "gate_head_bias": gate is not None and gate.head_bias is not None,
            "norm_of_projections": place == "projection",
            "clip": plan.clip,
            "norm_before_rope": place == "before_rope" and not rows,
            "row_norm_before_rope": place == "before_rope" and rows,
            "norm_after_rope": place == "after_rope" and not rows,
            "row_norm_after_rope": place == "after_rope" and rows,
            "rope": rotation is not None,
            "rope_in_some_layers": rotation is not None and rotation.some_layers,
        },
        exprs={
            **{name: code(getattr(plan, name)) for name in ATTENTION},
            "q_norm": code(norm.q_code if norm else None),
            "k_norm": code(norm.k_code if norm else None),
            "inner_norm": code(plan.inner_norm.code if plan.inner_norm else None),
            "out_bias": unless_true(plan.out_bias),
            "value_dim": code(plan.v_head_dim or plan.head_dim),
            "gated": code("True" if gate and gate.in_q else None),
            **gate_exprs(gate),
            "rotate": code(rotation.rotate if rotation else None),
            "dtype": code(rotation.dtype if rotation else None),
            "sign": code(rotation.sign if rotation else None),
        },
        stmts={"attributes": assigns(plan.attributes), "multiply": [statement(line) for line in plan.multiply]},
        roles={
            "out": plan.out_name,
            **gate_roles(gate),
            **({"q_norm": norm.q_name, "k_norm": norm.k_name} if norm else {}),
            **({"inner_norm": plan.inner_norm.name} if plan.inner_norm else {}),
        },
    )
    return template("model").fill("TemplateAttention", holes)


def _mlp(plan: MlpPlan) -> cst.BaseStatement:
    plain = plan.kind == "plain"
    name = "TemplatePlainMLP" if plain else "TemplateMLP"
    roles = {"up": plan.up_name, "down": plan.down_name, "activation": plan.activation_name}
    simple = (
        plain and plan.inner_norm is None and not any(item.name.endswith("_multiplier") for item in plan.attributes)
    )
    holes = Holes(
        names={name: str(plan.class_name)},
        docs={"mlp": plan.doc},
        when={
            "inner_norm": plan.inner_norm is not None,
            "padding_mask": plan.beside_experts,
            "single_expression": simple,
            "steps": not simple,
            "width_is_local": plan.width_value is not None,
            "layer_idx": "layer_idx" in plan.construction,
        },
        exprs={
            "width": code(plan.width),
            "width_value": code(plan.width_value),
            "activation": code(plan.activation),
            "bias": code(plan.bias),
            "biases": code(plan.biases),
            "names": code(plan.names),
            "fused": code(plan.fused),
            "groups": code(plan.groups),
            "order": code(plan.order),
            "packed": code(plan.packed),
            "product": code(plan.hidden),
            "hidden": code(plan.hidden),
            "down": code(plan.down),
            "up_bias": unless_true(plan.up_bias),
            "down_bias": unless_true(plan.down_bias),
        },
        stmts={"attributes": assigns(plan.attributes), "multiply": [statement(line) for line in plan.multiply]},
        roles={**roles, **({"inner_norm": plan.inner_norm} if plan.inner_norm else {})},
    )
    return template("model").fill(name, holes)


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
    experts = "MoE" if plan.moes else ""
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
