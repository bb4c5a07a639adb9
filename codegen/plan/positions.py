"""Plans what tells layers the positions: rotary tables, and biases on the scores."""

import ast
from collections.abc import Callable

from codegen.errors import SpecError
from codegen.language.attention import Rope
from codegen.language.keys import Mixer
from codegen.language.spec import Spec
from codegen.language.values import Expression
from codegen.plan.context import Context
from codegen.plan.layers import block_calls, mixers_of
from codegen.plan.mixers.kinds import is_mixer, mixer
from codegen.plan.mixers.kinds import kind as kind_of
from codegen.plan.mixers.projections import part_of, section_of
from codegen.plan.scope import CONFIG, Scope, normal
from codegen.plan.types import Assign, Code

NUMBER = Expression("str(layer)", ast.parse("str(layer)", mode="eval").body)  # the key where each layer has its table
EACH = Scope(names={"layer": "layer"})  # code that exists once for the whole model, and goes through its layers


def rope_kind(context: Context) -> Expression | None:
    """The key of a layer's rotary table, where layers have tables of their own; its number, where nothing names it."""
    for spec in context.flat.values():
        parameters = spec.rope.parameters if spec.rope else None
        if parameters is not None and parameters.mentions("layer") and isinstance(parameters.tree, ast.Subscript):
            key = parameters.tree.slice
            found = Expression(ast.unparse(key), key, parameters.at)
            return NUMBER if _differs(context, "kind") else found
    return NUMBER if _differs(context, None) else None


def _differs(context: Context, kind: str | None) -> bool:
    """Whether one table, or one for each kind of layer, will not do."""
    rotating = _where(context, lambda s: _turns(s) and s.rope is not None)
    try:
        if rotating is not None:
            rotating.code(lambda s: _table(rotating, s, kind), CONFIG, lazy=True)
    except SpecError:
        return True
    return False


def rotary(context: Context, kind: Expression | None) -> list[Assign]:
    """The rotary table, or a table for each kind of layer."""
    turning = _where(context, _turns)
    rotating = _where(turning, lambda s: s.rope is not None) if turning is not None else None
    if rotating is None or turning is None:
        return []
    rope = rotating.base.rope
    assert rope is not None
    if kind is NUMBER:
        return [Assign("rotary_emb", _table_of_each(turning, rotating), rope.why)]
    if kind is None:
        made = rotating.code(lambda s: _table(rotating, s, None), CONFIG, lazy=True)
        if not turning.depends_on_layer(lambda s: s.rope is not None):
            always = turning.code(lambda s: s.rope is not None, CONFIG)
            made = made if always in ("True", "False") else normal(f"({made}) if ({always}) else None")
        return [Assign("rotary_emb", made, rope.why)]
    made = rotating.code(lambda s: _table(rotating, s, "kind"), CONFIG, lazy=True)
    kinds = ast.unparse(kind.tree.value) if isinstance(kind.tree, ast.Subscript) else "()"
    depends = context.depends_on_layer(lambda s: _turns(s) and s.rope is not None)
    some = f" if {_parameters(rotating, rope)}.get(kind) is not None" if depends else ""
    return [Assign("rotary_emb", f"nn.ModuleDict({{kind: {made} for kind in sorted(set({kinds})){some}}})", rope.why)]


def _parameters(context: Context, rope: Rope) -> Code:
    """What the parameters of a layer's kind are looked up in."""
    tree = context.value(rope, "parameters").tree
    return CONFIG.tree_code(tree.value if isinstance(tree, ast.Subscript) else tree)


def _table_of_each(turning: Context, rotating: Context) -> Code:
    """Tables of a model whose layers each say what turns them; alike ones are one."""

    def made(spec: Spec) -> Code:
        return "None" if spec.rope is None else _table(rotating, spec, None, EACH)

    try:
        table = turning.code(made, EACH, lazy=True)
    except SpecError:
        message = "differs between layers in a way for which there is no template yet"
        raise rotating.unready(
            message, "rope", "write parameters: config.rope_parameters[<kind of the layer>]"
        ) from None
    return f"tables_by_layer({table} for layer in range(config.num_hidden_layers))"


def _where(context: Context, question: Callable[[Spec], bool]) -> Context | None:
    """Only the combinations for which something holds; None where it never does."""
    return context.where(question, True) if any(map(question, context.flat.values())) else None


def _table(context: Context, spec: Spec, kind: str | None, scope: Scope = CONFIG) -> Code:
    rope = spec.rope
    assert isinstance(rope, Rope)
    turned = _turned(context, spec)
    assert turned is not None
    head_dim, width = turned
    parameters = _of_table(context, rope, kind, scope)
    limit = ", config.max_position_embeddings" if context.config.has("max_position_embeddings") else ""
    options = f", width={width}" if width else ""
    if context.word(rope, "table_dtype") == "float32":
        options += ", dtype=torch.float32"
    return f"RotaryTable({parameters}, {head_dim}{limit}{options})"


def _of_table(context: Context, rope: Rope, kind: str | None, scope: Scope) -> Code:
    """The parameters of a table: a base, a dict of the config, or such a dict with another base."""
    if rope.theta is not None and rope.parameters is None:
        return scope.code(rope.theta)
    parameters = context.value(rope, "parameters")
    code = scope.code(parameters) if kind is None else scope.tree_code(parameters.tree)
    if kind and isinstance(parameters.tree, ast.Subscript):
        code = f"{_parameters(context, rope)}[{kind}]"
    return code if rope.theta is None else f"dict({code}, rope_theta={scope.code(rope.theta)})"


def _turns(spec: Spec) -> bool:
    """Whether a mixer of the block knows rotary positions."""
    sections = (part_of(spec, part) for part in block_calls(spec))
    return any(isinstance(section, Mixer) and section.turns for section in sections)


def _turned(context: Context, spec: Spec) -> tuple[Code, Code | None] | None:
    """The width of a head, and how much of it turns where that is not its rotary factor's share; None: nothing does."""
    called = (part for part in block_calls(spec) if is_mixer(spec, part))
    found = (mixer(section_of(spec, part)).turning(_of_kind(context, spec, part), spec, part) for part in called)
    return next((one for one in found if one is not None), None)


def _of_kind(context: Context, spec: Spec, part: str) -> Context:
    """Only the combinations in which a mixer of the same kind stands there, which is all that it answers for."""
    return context.where(lambda s: is_mixer(s, part) and kind_of(s, part) == kind_of(spec, part), True)


def alibi(context: Context) -> list[Assign]:
    """Position biases on the scores, once for all layers."""

    def build(spec: Spec) -> str:
        calls = [part for part in block_calls(spec) if is_mixer(spec, part)]
        made = (mixer(section_of(spec, part)).alibi(_of_kind(context, spec, part), spec, part) for part in calls)
        return next(filter(None, made), "None")

    code = context.code(build, CONFIG, lazy=True)
    declared = [part_of(spec, part) for spec in context.flat.values() for part in mixers_of(context)]
    sections = [getattr(section, "alibi", None) for section in declared]
    own = next((section.why for section in sections if section is not None), None)
    return [] if code == "None" else [Assign("alibi", code, own or context.why(build))]
