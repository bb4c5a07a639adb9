"""Asking a spec: explicit values, default chains, and answers that differ between layers or variants."""

import ast
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from functools import cache, lru_cache
from typing import Any, TypeVar

from codegen.configs import ConfigClass
from codegen.errors import Location, Problem, SpecError, attempt
from codegen.frozen import Frozen
from codegen.language.keys import Section, key_of, keys
from codegen.language.loaded import LoadedSpec
from codegen.language.spec import Spec
from codegen.language.values import NOWHERE, Expression, expression
from codegen.plan.scope import Scope, normal
from codegen.plan.trees import Combination, Node, Tree, code, leaves, per_layer, tree

FALSE = expression("False")
SAME = "write it the same for all layers and variants"
Question = Callable[[Spec], Any]
T = TypeVar("T")


@lru_cache(maxsize=4096)
def _paths(tree: ast.expr) -> tuple[str, ...]:
    """What an expression reads: dotted paths, and names."""
    return tuple(ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Name))


@cache
def path_of(section: type[Section]) -> str:
    """Where a section stands in a spec: `mlp.router`."""
    pending = [(name, key) for name, key in keys(Spec).items()]
    while pending:
        path, key = pending.pop(0)
        inner = [key.section] if key.section is not None else list((key.kinds or {}).values())
        if section in inner:
            return path
        pending += [(f"{path}.{name}", below) for cls in inner for name, below in keys(cls).items()]
    return section.__name__.lower()


class Context(Frozen):
    """A loaded spec, its config class, and the combinations of outcomes that are asked about. `problems` are collected
    for all contexts of the spec."""

    loaded: LoadedSpec
    config: ConfigClass
    flat: Mapping[Combination, Spec]
    problems: dict[Problem, None] = field(default_factory=dict[Problem, None], compare=False, repr=False)

    @property
    def base(self) -> Spec:
        """The first flat spec: enough where all agree."""
        return next(iter(self.flat.values()))

    @property
    def whole(self) -> "Context":
        """All combinations again."""
        return replace(self, flat=self.loaded.flat)

    @property
    def outer(self) -> "Context":
        """The same combinations as what exists once for the whole model sees them: without the overlays of `layers`."""
        return replace(self, flat={key: self.loaded.outer[key] for key in self.flat})

    def where(self, question: Question, answer: Any) -> "Context":
        """Only the combinations that give this answer."""
        return replace(self, flat={key: spec for key, spec in self.flat.items() if question(spec) == answer})

    def ask(self, question: Question) -> Tree:
        """The answers as a decision tree."""
        return tree({key: question(spec) for key, spec in self.flat.items()}, self.loaded.splits)

    def answers(self, question: Question) -> list[Any]:
        """The distinct answers."""
        return leaves(self.ask(question))

    def attempt(self, step: Callable[[], T], otherwise: T) -> T:
        """What a step of planning makes; where it cannot, its problems are collected, and the next steps go on."""
        return attempt(step, otherwise, self.problems)

    def finish(self) -> None:
        """Raise SpecError with the problems of all steps, if there are any."""
        if self.problems:
            raise SpecError(list(self.problems))

    def only(self, question: Question, path: str, what: str) -> Any:
        """The one answer; a spec in which layers or variants differ here has no template."""
        found = self.answers(question)
        if len(found) > 1:
            message = f"{what} differs between layers or variants, for which there is no template yet"
            others = [key for key, spec in self.flat.items() if question(spec) != found[0]]
            raise replace(self, flat={key: self.flat[key] for key in others}).unready(message, path, SAME)
        return found[0]

    def depends_on_layer(self, question: Question) -> bool:
        return per_layer(self.ask(question)) or any(
            isinstance(answer, Expression) and answer.mentions("layer") for answer in self.answers(question)
        )

    def why(self, question: Question) -> str | None:
        """The reason that the first overlay gives on which the answer depends."""
        found = self.ask(question)
        while isinstance(found, Node):
            if found.split.why:
                return found.split.why
            found = found.children[0][1]
        return None

    def code(self, question: Question, scope: Scope, lazy: bool = False) -> str:
        """The answers, which are expressions, code or constants, as one expression at that place."""

        def leaf(value: Any) -> str:
            if isinstance(value, Expression):
                return scope.code(value)
            return value if isinstance(value, str) else repr(value)

        return normal(code(self.ask(question), scope, leaf, lazy))

    def value(self, section: Section, name: str) -> Expression:
        """What the spec says for an expression key, else the first default whose fields the config class has."""
        written = getattr(section, name if name != "in" else "in_")
        if written is not None:
            return written
        return self.default(type(section), name)

    def default(self, section: type[Section], name: str) -> Expression:
        """The first element of a key's chain that exists and is not None."""
        return self.chain(key_of(section, name).chain, f"{path_of(section)}.{name}")

    def chain(self, chain: tuple[str, ...], path: str) -> Expression:
        """The first that the config class has with a value; else the first that it has at all (a field may be None)."""
        candidates = [expression(text) for text in chain]
        for filled in (True, False):
            for candidate in candidates:
                if self.exists(candidate, filled):
                    return candidate
        fields = ", ".join(chain) or "none"
        name = path.rpartition(".")[2]
        message = f"is not written and {self.config.name} has no default for it ({fields})"
        raise self.unready(message, path, f"write {name}: ...")

    def exists(self, candidate: Expression, filled: bool = True) -> bool:
        """Whether every field that the expression reads is one of the config class, and (`filled`) not None there."""
        if candidate.is_none:
            return not filled
        if isinstance(candidate.tree, ast.BoolOp):  # `config.a or config.b`: a may be None until a config.json has it
            first, last = candidate.tree.values[0], candidate.tree.values[-1]
            return self._readable(first, filled=False) and self._readable(last, filled)
        return self._readable(candidate.tree, filled)

    def _readable(self, tree: ast.expr, filled: bool) -> bool:
        paths = _paths(tree)
        if "head_size" in paths and not self._may_carry("head_dim"):
            return False
        fields = (path.removeprefix("config.") for path in paths if "." in path)
        return all(self.config.has(path) and not (filled and self.config.value(path) is None) for path in fields)

    def _may_carry(self, field: str) -> bool:
        """Whether a config.json may hold the field, declared by the class or not."""
        return self.config.has(field) or field in self.config.published

    def word(self, section: Section, name: str) -> Any:
        """What the spec says for a choice, else its first word."""
        written = getattr(section, name)
        return key_of(type(section), name).words[0] if written is None else written

    def overriding(self, part: str) -> str | None:
        """The class that the spec puts in place of a part."""
        target = self.loaded.overrides.get(part)
        return target.partition(":")[2] if target else None

    def unready(self, message: str, path: str = "file", cure: str = "", at: Location | None = None) -> SpecError:
        """What has no template yet, at the dotted key `path` as these combinations have it, or at a place that is known
        more exactly. The cure is a class of one's own where none is given and a part may have one."""
        own = "plug in a class with `overrides`"
        if path.partition(".")[0] not in ("attention", "mlp"):
            own = "write it as a spec that exists does (docs/spec-reference.md)"
        where = self.loaded.place(path, self.flat) if at is None or at.file == NOWHERE.file else at
        return SpecError([Problem(where, path, message, cure or own)])
