"""Plans the projector: its equations as code, and its parts with their widths."""

import ast
from dataclasses import dataclass, field

from codegen.language.values import Expression
from codegen.language.vision.equations import ACTIVATIONS, ORDERS, REGROUPS, Projected, packing
from codegen.language.vision.sections import LayerNormPart, LinearPart, ProjectorModule, RmsNormPart
from codegen.members import member
from codegen.plan.types import Assign, Code, unless_true
from codegen.plan.vision.asked import IN_INIT, IN_METHOD, Asked
from codegen.plan.vision.tower import class_of, tensor, width
from codegen.plan.vision.types import ModulePlan, ProjectorPlan

TARGET = "merged"  # what regrouped rows are called where `x` is still needed


def plan_module(asked: Asked) -> ModulePlan:
    """A projector of transformers."""
    projector = asked.loaded.spec.projector
    assert isinstance(projector, ProjectorModule)
    cure = "write family.Class: aria.AriaProjector"
    module, name = class_of(asked, projector.class_ or "", "projector.class", cure)
    config = "config" if projector.config is None else IN_INIT.code(projector.config)
    given = ((key, tensor(value.tree)) for key, value in (projector.inputs or {}).items())
    return ModulePlan(module, name, config, tuple(f"{key}={code}" for key, code in given))


def plan_equations(asked: Asked) -> ProjectorPlan | None:
    """The projector as equations; None where the tower has its own."""
    equations = asked.loaded.spec.equations
    if not equations:
        return None
    walk = _Walk(asked, {"x": width(asked)})
    *others, end = equations
    packs = [call for _, call in packing(equations)]
    end = Projected(end.targets, packs[0].args[0], end.at) if packs else end
    *before, last = [walk.equation(one) for one in (*others, end)]
    statements = [line for lines, assignment in before for line in (*lines, assignment)] + list(last[0])
    returned = last[1].partition(" = ")[2] if last[1].startswith("x = ") else "x"
    if returned == "x":
        statements.append(last[1])
    return ProjectorPlan(
        tuple(walk.parts.values()),
        tuple(walk.starts),
        tuple(statements),
        returned,
        walk.regroups,
        _vectors(asked),
        _packs(packs),
    )


def _vectors(asked: Asked) -> tuple[Assign, ...]:
    """The parts that are bare vectors."""
    parts = asked.loaded.spec.parts
    widths = {name: asked.value(parts[name], "out", f"parts.{name}") for name in asked.loaded.spec.parameters}
    return tuple(
        Assign(name, f"nn.Parameter(torch.empty({IN_INIT.code(out)}))", parts[name].why) for name, out in widths.items()
    )


def _packs(calls: list[ast.Call]) -> tuple[Code, ...]:
    return tuple(IN_METHOD.tree_code(argument) for call in calls for argument in call.args[1:])


@dataclass
class _Walk:
    """Follows the equations, and knows how wide everything is."""

    asked: Asked
    widths: dict[str, Code]
    parts: dict[str, Assign] = field(default_factory=dict[str, Assign])
    starts: list[Code] = field(default_factory=list[Code])
    regroups: bool = False
    lines: list[Code] = field(default_factory=list[Code])

    def equation(self, equation: Projected) -> tuple[list[Code], Code]:
        """Statements that come first, and the assignment."""
        self.lines = []
        reads = [node.id for node in ast.walk(equation.value) if isinstance(node, ast.Name)]
        self.target = "x" if equation.targets == ("x",) and reads.count("x") == 1 else TARGET
        value, width = self.code(equation.value)
        if len(equation.targets) == 2:
            width = f"{width} // 2"
        self.widths.update(dict.fromkeys(equation.targets, width))
        return self.lines, f"{', '.join(equation.targets)} = {value}"

    def code(self, node: ast.expr) -> tuple[Code, Code]:
        """Code of an expression in `forward`, and its width in `__init__`; "" for a number."""
        if isinstance(node, ast.Name):
            if node.id in self.asked.loaded.spec.parameters:
                message = "no template yet for a vector that is no newline"
                raise self.asked.unready(message, f"parts.{node.id}", "give it to pack_tiles")
            return node.id, self.widths[node.id]
        if isinstance(node, ast.BinOp):
            (left, width), (right, other) = self.code(node.left), self.code(node.right)
            tree = ast.BinOp(_tree(left), node.op, _tree(right))
            return ast.unparse(tree), width or other
        if isinstance(node, ast.Call):
            return self.call(node)
        self.keep_config(ast.unparse(node))
        return IN_METHOD.tree_code(node), ""

    def call(self, node: ast.Call) -> tuple[Code, Code]:
        assert isinstance(node.func, ast.Name)
        name = node.func.id
        inner, width = self.code(node.args[0])
        if name in REGROUPS:
            return self.regrouped(name, inner, width, node.args[1:])
        if name == "chunk":
            return f"{inner}.chunk(2, dim=-1)", width
        if name == "act" or name in ACTIVATIONS:
            self.parts.setdefault(name, Assign(name, f"ACT2FN[{self.activation(name)}]"))
            return f"self.{name}({inner})", width
        return self.part(name, inner, width)

    def activation(self, name: str) -> Code:
        if name != "act":
            return repr(name)
        return IN_INIT.code(self.asked.first(("config.projector_hidden_act",), "projector"))

    def regrouped(self, name: str, inner: Code, width: Code, arguments: list[ast.expr]) -> tuple[Code, Code]:
        """Neighbours as one row: a statement of its own, since the grid changes as well."""
        self.regroups = True
        count, *order = arguments
        self.keep_config(ast.unparse(count))
        words = [repr(ast.unparse(one)) for one in order if ast.unparse(one) != ORDERS[0]]
        given = ", ".join([inner, "grid", IN_METHOD.tree_code(count), *words])
        self.lines.append(f"{self.target}, grid = {name}({given})")
        wide = f"{_tight(IN_INIT.tree_code(count))} ** 2 * {_tight(width)}" if name == "merge_patches" else width
        return self.target, wide

    def keep_config(self, text: str) -> None:
        if "config" in text:
            self.parts.setdefault("config", Assign("config", "config"))

    def part(self, name: str, inner: Code, width: Code) -> tuple[Code, Code]:
        spec = self.asked.loaded.spec
        section = spec.parts.get(name, LinearPart())
        path = str({**(spec.checkpoint.names or {}), **(spec.checkpoint.memory or {})}.get(name, name))
        if isinstance(section, LinearPart):
            return self.linear(name, section, path, inner, width)
        assert isinstance(section, LayerNormPart | RmsNormPart)
        eps = IN_INIT.code(self.asked.value(section, "eps", f"parts.{name}"))
        if isinstance(section, LayerNormPart):
            made = f"nn.LayerNorm({width}, {eps})"
        else:
            made = f"{'OffsetFloat32RMSNorm' if section.offset else 'RMSNorm'}({width}, {eps})"
        self.parts.setdefault(name, Assign(path, _where(section.when, made), section.why))
        return f"{member(path)}({inner})", width

    def linear(self, name: str, section: LinearPart, path: str, inner: Code, width: Code) -> tuple[Code, Code]:
        out = self.width(self.asked.value(section, "out", f"parts.{name}"), width)
        bias = IN_INIT.code(self.asked.value(section, "bias", f"parts.{name}"))
        if name in (self.asked.loaded.spec.checkpoint.transposed or ()):
            if bias != "False":
                raise self.asked.unready("no template yet for a bias beside it", "checkpoint.transposed", "bias: false")
            if section.when is not None:
                message = "no template yet for a matrix [in, out] that may be absent"
                raise self.asked.unready(message, f"parts.{name}.when", "leave it out of checkpoint.transposed")
            self.parts.setdefault(name, Assign(path, f"nn.Parameter(torch.empty({width}, {out}))", section.why))
            self.starts.append(f"init.zeros_({member(path)})")
            return f"{_tight(inner)} @ {member(path)}", out
        written = unless_true(bias)
        arguments = ", ".join([width, out, *([] if written is None else [f"bias={written}"])])
        self.parts.setdefault(name, Assign(path, _where(section.when, f"nn.Linear({arguments})"), section.why))
        return f"{member(path)}({inner})", _where(section.when, out, width)

    def width(self, value: Expression, incoming: Code) -> Code:
        return IN_INIT.code(value, width=incoming)


def _where(condition: Expression | None, made: Code, else_: Code = "nn.Identity()") -> Code:
    """What is there under a condition on the config, and what otherwise."""
    return made if condition is None or made == else_ else f"{made} if {IN_INIT.code(condition)} else {else_}"


def _tree(code: Code) -> ast.expr:
    return ast.parse(code, mode="eval").body


def _tight(code: Code) -> Code:
    """In brackets where an operator beside it would tear it apart."""
    tree = _tree(code)
    return f"({code})" if isinstance(tree, ast.BinOp | ast.IfExp) else code
