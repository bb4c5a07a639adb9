"""Plans the language model head: its matrix, its ties, and what happens to the logits."""

import ast

from codegen.language.spec import Linear, Spec
from codegen.plan.body import embedding_name, embedding_width, named_part, shared_flags
from codegen.plan.context import Context
from codegen.plan.equations import Rewriter, called, parse
from codegen.plan.names import attribute, base_model, in_base_model
from codegen.plan.output import before_head_code, finish_parts, head_call, is_top, number, replaced, top_parts
from codegen.plan.scope import METHOD, Scope
from codegen.plan.types import Assign, Code, HeadPlan

TOP = Scope(names={})
TIE = "config.tie_word_embeddings"


def plan_head(context: Context) -> HeadPlan:
    """The class with a head."""
    layers, context = context, context.outer
    spec = context.base
    tie = context.only(lambda s: context.value(s.head, "tie").text, "head.tie", "it")
    if tie not in (TIE, "False"):  # transformers ties by this field alone
        raise context.unready(f"no template yet for {tie}", "head.tie", f"write {TIE} or false")
    embedded, read = embedding_width(context, embedding_name(context)), _width(spec)
    if tie != "False" and embedded != read:
        message = f"the embedding's rows have the width {embedded}, and the head's {read}: they cannot be one matrix"
        raise context.unready(message, "head.tie", "write head: {tie: false}, or a part of `output` that has the width")
    model, head = base_model(spec), attribute(spec, "head")
    embedding = in_base_model(spec, embedding_name(context))
    flags = shared_flags(layers)
    if head != "lm_head":
        flags.append(Assign("_output_embed_layer", repr(head)))
    if tie == "False":
        flags.append(Assign("_tied_weights_keys", "{}"))
    elif (model, embedding, head) != ("model", "embed_tokens", "lm_head"):
        flags.append(Assign("_tied_weights_keys", f"{{'{head}.weight': '{model}.{embedding}.weight'}}"))
    if head != "lm_head":
        flags.append(Assign("_tp_plan", f"{{'{head}': 'colwise_gather_output'}}"))
    before = context.code(before_head_code, METHOD, lazy=True)
    logits = context.code(_logits, METHOD, lazy=True)
    return HeadPlan(
        flags=tuple(flags),
        model_name=model,
        head_name=head,
        parts=_beside(layers),
        before=None if before == "x" else before,
        head=context.code(lambda s: _head(context, s), TOP, lazy=True),
        logits=None if logits == "logits" else logits,
        why=spec.head.why,
    )


def _beside(context: Context) -> tuple[Assign, ...]:
    """Parts that are stored beside the base model."""
    for spec in context.flat.values():
        for name in (*called(spec.input), *called(spec.block), *finish_parts(spec)):
            if is_top(spec, name):
                message, cure = "a part of the base model's own equations lies within it", "leave it out"
                raise context.unready(message, f"parts.{name}.top", cure)
    outer = context.outer
    names = dict.fromkeys(name for spec in outer.flat.values() for name in top_parts(spec))
    return tuple(named_part(outer, name, top_parts) for name in names)


def _head(context: Context, spec: Spec) -> Code:
    bias = TOP.code(context.value(spec.head, "bias"))
    rows = TOP.code(context.value(spec.head, "rows"))
    arguments = f"{_width(spec)}, {rows}, bias={bias}"
    normalized = context.value(spec.head, "normalize")
    if normalized.constant is False:
        return f"nn.Linear({arguments})"
    if normalized.constant is True:
        return f"NormalizedHead({arguments})"
    return f"(NormalizedHead if ({TOP.code(normalized)}) else nn.Linear)({arguments})"


def _width(spec: Spec) -> Code:
    """What the head reads: the width of the linear part before it, else the model's."""
    inside = head_call(spec).args[0]
    part = (spec.parts or {}).get(ast.unparse(inside.func)) if isinstance(inside, ast.Call) else None
    if isinstance(part, Linear) and part.out is not None:
        return TOP.code(part.out)
    return "config.hidden_size"


def _logits(spec: Spec) -> Code:
    """What the output equation does to the head's product."""
    wide = spec.head.logits_dtype == "float32"
    tree = replaced(spec.output[-1].value, head_call(spec), parse("logits.float()" if wide else "logits"))
    return Rewriter(lambda name, arguments: None, number, {}).code(tree)
