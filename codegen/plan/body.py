"""Plans the model around its layers: embeddings, rotary tables, final norm."""

import ast
import re
from collections.abc import Callable, Iterator

from codegen.language.spec import Linear, NormPart, Sinusoid, Spec
from codegen.language.values import Equation
from codegen.plan.context import Context
from codegen.plan.equations import Rewriter, called, parse
from codegen.plan.layers import Layers, mixers_of, using
from codegen.plan.mixers.kinds import kind, mixer
from codegen.plan.mixers.projections import section_of
from codegen.plan.names import attribute, base_model, in_base_model
from codegen.plan.norms import construction
from codegen.plan.output import finish_code, finish_parts, module_call, number, path_in_model, replaced
from codegen.plan.parts import part_construction
from codegen.plan.positions import alibi, rotary
from codegen.plan.scope import CONFIG, METHOD
from codegen.plan.types import Assign, BodyPlan, Code

WIDTH = "config.hidden_size"


def embedding_name(context: Context) -> str:
    """The part that is called on `ids`."""
    name = context.only(lambda s: next(iter(_on(s, "ids"))), "input", "the token embedding")
    return str(name)


def _on(spec: Spec, name: str) -> list[str]:
    """What the input equations call directly on a name."""
    found: list[str] = []
    for equation in spec.input:
        for node in ast.walk(equation.value):
            if isinstance(node, ast.Call) and any(isinstance(arg, ast.Name) and arg.id == name for arg in node.args):
                found.append(ast.unparse(node.func))
    return found


def plan_body(context: Context, prefix: str, layers: Layers, layer_classes: tuple[str, ...]) -> BodyPlan:
    """The base model."""
    spec, outer = context.base, context.outer
    inputs, embed = _inputs(outer)
    finish_names = [name for one in outer.flat.values() for name in finish_parts(one)]
    taken = {assign.name for assign in inputs}
    outputs = [
        named_part(outer, name, finish_parts)
        for name in dict.fromkeys(finish_names)
        if path_in_model(spec, name) not in taken
    ]
    finish = outer.code(finish_code, METHOD, lazy=True)
    local = not layers.choice.isidentifier() and "layer" not in _words(layers.choice)
    return BodyPlan(
        flags=_flags(context, layer_classes),
        inputs=(*inputs, *rotary(context, layers.rope_kind), *alibi(context)),
        outputs=tuple(outputs),
        layers_name=in_base_model(spec, attribute(spec, "layers")),
        layer_class=layers.choice,
        layer_class_is_local=local,
        layers_why=context.why(lambda s: s.block),
        features=_features(context, tuple(inputs)),
        embed=embed[:-1],
        embedded=embed[-1].removeprefix("x = ") if embed else None,
        finish=None if finish == "self.norm(x)" else finish,
    )


def _features(context: Context, inputs: tuple[Assign, ...]) -> tuple[str, ...]:
    """What is around the layers, in words."""
    spec = context.base
    turns = any(one.rope is not None for one in context.flat.values())
    learned = any("position" in equation.text for equation in spec.input) and not turns
    found = {
        "ALiBi": bool(alibi(context)),
        "learned positions": learned and not any(isinstance(part, Sinusoid) for part in spec.parts.values()),
        "scaled embeddings": any("ScaledEmbedding(" in item.code for item in inputs),
        "LayerNorm": context.word(spec.norm, "kind") == "layernorm",
        "RMSNorm": context.word(spec.norm, "kind") == "rmsnorm",
    }
    return tuple(words for words, has in found.items() if has)


def _words(code: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}


def _flags(context: Context, layer_classes: tuple[str, ...]) -> tuple[Assign, ...]:
    spec = context.outer.base
    found = shared_flags(context)
    layers = in_base_model(spec, attribute(spec, "layers"))
    if layers != "layers":
        found.append(Assign("_layers_name", repr(layers)))
    if context.outer.only(lambda s: s.positions, "positions", "it") == "from_mask":
        found.append(Assign("_positions_from_mask", "True"))
    if drops := spec.checkpoint.drop:
        reasons = "; ".join(f"{drop.match}: {drop.why}" for drop in drops)
        patterns = [glob_regex(drop.match) for drop in drops]
        found.append(Assign("_keys_to_ignore_on_load_unexpected", repr(patterns), reasons))
    found.append(Assign("_no_split_modules", repr(list(layer_classes))))
    return tuple(found)


def shared_flags(context: Context) -> list[Assign]:
    """Flags that the base model and the model with a head both carry."""
    spec = context.base
    found: list[Assign] = []
    prefix, embedding = base_model(spec), in_base_model(spec, embedding_name(context.outer))
    if prefix != "model":
        found.append(Assign("base_model_prefix", repr(prefix)))
    if embedding != "embed_tokens":
        found.append(Assign("_input_embed_layer", repr(embedding)))
    flags = {one.name: one for one in _of_mixers(context)}
    return [*found, *flags.values()]


def _of_mixers(context: Context) -> Iterator[Assign]:
    """What the mixers of all layers have to say."""
    for part in mixers_of(context):
        calling = using(context, part)
        for answer in calling.answers(lambda s, part=part: kind(s, part)):
            group = calling.where(lambda s, part=part: kind(s, part), answer)
            yield from mixer(section_of(group.base, part)).flags(group, part)


def glob_regex(pattern: str) -> str:
    """A shell pattern as the regular expression that transformers' loader searches for."""
    return "^" + re.escape(pattern).replace(r"\*", ".*") + "$"


def _inputs(context: Context) -> tuple[list[Assign], tuple[Code, ...]]:
    """Modules of the input equations, and the statements of `embed`."""
    spec = context.base
    token = embedding_name(context)
    context.only(lambda s: s.input, "input", "what embeds the tokens")
    scale, equations = _take_scale(context, spec.input, token)
    padding = context.code(lambda s: context.value(s.embedding, "padding_idx"), CONFIG)
    inner = embedding_width(context, token)
    rows = context.code(lambda s: context.value(s.embedding, "rows"), CONFIG)
    arguments = f"{rows}, {inner}" + ("" if padding == "None" else f", {padding}")
    made = f"nn.Embedding({arguments})"
    if scale:
        kind = "ScaledEmbedding" if ast.unparse(scale.args[1]) == "weight" else "Float32ScaledEmbedding"
        made = f"{kind}({arguments}, scale={CONFIG.tree_code(scale.args[0])})"
    inputs = [Assign(in_base_model(spec, token), made, spec.embedding.why)]
    tables: dict[str, str] = {}

    computed = [name for name, part in (spec.parts or {}).items() if isinstance(part, Sinusoid)]

    def call(name: str, arguments: list[ast.expr]) -> ast.expr | None:
        if name in computed:
            arguments = [*arguments, parse("x.dtype")]
        if tables.get(name) == "0" and spec.positions == "from_mask":  # padding is at -1, which no row is for
            arguments = [parse("position_ids.clamp(min=0)")]
        return parse("x") if name == token else module_call(spec, name, arguments)

    for equation in equations:
        tables |= {name: offset for name, offset in _tables(equation) if name not in computed}
    for name in called(equations):
        if name in tables:
            rows = "config.max_position_embeddings" + (f" + {tables[name]}" if tables[name] != "0" else "")
            inputs.append(Assign(in_base_model(spec, name), f"nn.Embedding({rows}, {WIDTH})"))
        elif name != token:
            inputs.append(named_part(context, name, lambda s: called(s.input)))
    rewriter = Rewriter(call, number, {"positions": "position_ids"})
    statements = tuple(f"{one.target} = {rewriter.code(one.value)}" for one in equations)
    statements = () if statements == ("x = x",) else statements
    dropout = context.code(lambda s: context.value(s.dropout, "embedding"), CONFIG)
    if dropout != "0.0":
        inputs.append(Assign("dropout", f"nn.Dropout({dropout})", spec.dropout.why))
        last = statements[-1].removeprefix("x = ") if statements else "x"
        statements = (*statements[:-1], f"x = self.dropout({last})")
    return inputs, statements


def _take_scale(
    context: Context, equations: tuple[Equation, ...], token: str
) -> tuple[ast.Call | None, tuple[Equation, ...]]:
    """`embed(ids) * cast(s, weight)` is the embedding's own product: inputs_embeds come scaled."""
    scale, rest = None, list(equations)
    for index, equation in enumerate(equations):
        for node in ast.walk(equation.value):
            factor = _own_factor(node, token)
            if factor is not None and isinstance(node, ast.expr):
                tree = replaced(equation.value, node, parse(f"{token}(ids)"))
                scale, rest[index] = factor, Equation(equation.target, ast.unparse(tree), tree, equation.at)
    for equation in rest:
        if "cast" in called([equation], every=True):
            message, cure = "cast has a template as a factor of the embedding only", f"write {token}(ids) * cast(...)"
            raise context.unready(message, "input", cure, equation.at)
    return scale, tuple(rest)


def _own_factor(node: ast.AST, token: str) -> ast.Call | None:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        for embedded, factor in ((node.left, node.right), (node.right, node.left)):
            if ast.unparse(embedded) == f"{token}(ids)" and isinstance(factor, ast.Call):
                return factor if ast.unparse(factor.func) == "cast" else None
    return None


def _tables(equation: Equation) -> list[tuple[str, str]]:
    """Learned position tables: what is called on `positions`, or on `positions + k`."""
    found: list[tuple[str, str]] = []
    for node in ast.walk(equation.value):
        if isinstance(node, ast.Call) and len(node.args) == 1:
            argument = node.args[0]
            if isinstance(argument, ast.Name) and argument.id == "positions":
                found.append((ast.unparse(node.func), "0"))
            elif isinstance(argument, ast.BinOp) and ast.unparse(argument.left) == "positions":
                found.append((ast.unparse(node.func), ast.unparse(argument.right)))
    return found


def embedding_width(context: Context, token: str) -> Code:
    """The width of the token embedding: that of the linear part it feeds, else the model's."""
    spec = context.base
    for equation in spec.input:
        for node in ast.walk(equation.value):
            if isinstance(node, ast.Call) and [ast.unparse(argument) for argument in node.args] == [f"{token}(ids)"]:
                part = (spec.parts or {}).get(ast.unparse(node.func))
                if isinstance(part, Linear) and part.in_ is not None:
                    return CONFIG.code(part.in_)
    return WIDTH


def named_part(context: Context, name: str, users: Callable[[Spec], list[str]]) -> Assign:
    """A part or a norm of the model; where only some variants call it, others hold the identity in its place."""
    section = (context.base.parts or {}).get(name)

    def build(spec: Spec) -> str:
        if name not in users(spec):
            return "nn.Identity()"
        own = (spec.parts or {}).get(name)
        if own is None or isinstance(own, NormPart):
            return construction(context, spec, WIDTH, CONFIG, own)
        return part_construction(context, own, CONFIG)

    why = section.why if section else context.base.norm.why
    return Assign(path_in_model(context.base, name), context.code(build, CONFIG, lazy=True), why)
