"""Follows equations over tensors, and notes each step as a picture shows it."""

import ast
import re
from collections.abc import Callable, Collection, Iterable

from codegen.plan.types import Drawing, Step

OPERATORS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "−", ast.Mult: "×", ast.Div: "÷"}
DATA = ("ids", "positions")  # what equations of `input` read beside x
_CONFIG = re.compile(r"\bconfig\.")
X = Step(("x",), kind="data")


def one_step(words: Iterable[str]) -> Drawing:
    """The drawing of what is a single step."""
    return X, Step(tuple(words), (0,))


def number_words(tree: ast.expr) -> str:
    """A number as its formula says it; casts are nothing to see."""
    while isinstance(tree, ast.Call) and ast.unparse(tree.func) in ("cast", "bfloat16"):
        tree = tree.args[0]
    return short(ast.unparse(tree))


def short(text: str) -> str:
    """A text over the config, with its fields alone."""
    return _CONFIG.sub("", text)


def ways(condition: str, drawings: Iterable[tuple[str, Drawing]]) -> Drawing:
    """A choice between drawings, each under what the condition comes to."""
    steps, ends = [X, Step((condition,), (0,), "choice")], list[int]()
    for outcome, drawing in drawings:
        first = 1
        if len(drawing) > 2:  # more than one step reads what comes in
            steps.append(X._replace(reads=(1,), under=outcome))
            first, outcome = len(steps) - 1, ""
        shift = len(steps) - 1
        for step in drawing[1:]:
            reads = tuple(read + shift if read else first for read in step.reads)
            steps.append(step._replace(reads=reads, under=outcome if first in reads else step.under))
        ends.append(len(steps) - 1)
    return (*steps, Step(("or",), tuple(ends), "sum"))


class Walk:
    """`names`: which step a name stands for. `part` draws what a part does, and `functions` are no parts."""

    def __init__(
        self, part: Callable[[str], Drawing], functions: Collection[str], steps: Iterable[Step] = (X,)
    ) -> None:
        self.part, self.functions = part, functions
        self.steps = [*steps]
        self.names = {"x": 0}

    def equation(self, targets: Iterable[str], value: ast.expr) -> None:
        """One `target = value`."""
        self.names.update(dict.fromkeys(targets, self.read(value)))

    def drawing(self) -> Drawing:
        """All steps, that of `x` last."""
        last = self.names["x"]
        if last == len(self.steps) - 1:
            return tuple(self.steps)
        return (*self.steps, Step(("x",), (last,), "data"))

    def read(self, node: ast.expr) -> int:
        """The step that an expression comes to."""
        if isinstance(node, ast.Name):
            if node.id not in self.names:
                self.names[node.id] = self.add(Step((node.id,), kind="data"))
            return self.names[node.id]
        if isinstance(node, ast.Call):
            return self.call(node)
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return self.operation(node, OPERATORS[type(node.op)])
        inside = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
        return self.add(Step((number_words(node),), tuple(self.read(child) for child in inside if self.flows(child))))

    def call(self, node: ast.Call) -> int:
        name = ast.unparse(node.func)
        reads = tuple(self.read(argument) for argument in node.args if self.flows(argument))
        if name not in self.functions:
            return self.spliced(name, self.part(name), reads)
        further = [number_words(argument) for argument in node.args if not self.flows(argument)]
        return self.add(Step((f"{name}: {', '.join(further)}" if further else name,), reads))

    def operation(self, node: ast.BinOp, sign: str) -> int:
        """A sum of tensors, however long, is one step; so is what a number does to a tensor."""
        left, right = self.flows(node.left), self.flows(node.right)
        if left and right:
            terms = list(_terms(node)) if sign == "+" else [node.left, node.right]
            moving = [term for term in terms if self.flows(term)]
            return self.add(Step((sign,), tuple(self.read(term) for term in moving), "sum"))
        number = number_words(node.right if left else node.left)
        number = f"({number})" if " " in number else number
        commutes = left or sign in "+×"
        return self.add(Step((f"{sign} {number}" if commutes else f"{number} {sign}",), (self.moving(node),)))

    def moving(self, node: ast.BinOp) -> int:
        return self.read(node.left if self.flows(node.left) else node.right)

    def flows(self, node: ast.AST) -> bool:
        """Whether a tensor is in it, and not numbers alone."""
        return any(isinstance(one, ast.Name) and (one.id in self.names or one.id in DATA) for one in ast.walk(node))

    def spliced(self, name: str, drawing: Drawing, reads: tuple[int, ...]) -> int:
        """The steps of a part in the place of its call; a single one has its name."""
        name = name if len(drawing) == 2 else ""
        at: dict[int, tuple[int, ...]] = {0: reads}
        for number, step in enumerate(drawing[1:], start=1):
            into = tuple(index for read in step.reads for index in at[read])
            at[number] = (self.add(step._replace(reads=into, name=name)),)
        return at[len(drawing) - 1][0]

    def add(self, step: Step) -> int:
        self.steps.append(step)
        return len(self.steps) - 1


def _terms(node: ast.expr) -> Iterable[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from _terms(node.left)
        yield from _terms(node.right)
    else:
        yield node
