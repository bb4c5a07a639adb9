"""A spec file after loading and checking: its frame, its schedules, and one flat spec for each of their outcomes."""

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any

from codegen.configs import ConfigClass, ConfigTable
from codegen.errors import Location, Problem, SpecError
from codegen.frozen import Frozen
from codegen.language.frame import ABOUT_THE_REFERENCE
from codegen.language.load import Node
from codegen.language.spec import ConfigDeclaration, Spec
from codegen.language.values import NOWHERE, Expression


class Split(Frozen):
    """One entry of `variants` or `layers`: what it depends on and which outcomes it has.

    `when` entries have the outcomes (False, True); `by` entries one for each kind that the expression may yield.
    """

    condition: Expression
    outcomes: tuple[Any, ...]
    by: bool
    per_layer: bool  # an entry of `layers`; entries of `variants` are decided once for the whole model
    path: str = field(default="", compare=False)  # of the condition, for messages
    why: str | None = field(default=None, compare=False)


class LoadedSpec(Frozen):
    """Everything that a spec file says.

    flat: one outcome per split, in their order -> the merged spec of such layers.
    outer: the same keys -> the spec without what `layers` lays on: of what exists once for the whole model.
    nodes: the same keys -> the merged sections as they stand in the file, whose own is `root`.
    """

    path: str
    name: str
    architectures: tuple[str, ...]
    config: ConfigDeclaration
    summary: str
    docs: Mapping[str, Any]
    tests: Mapping[str, Any]
    overrides: Mapping[str, str]
    splits: tuple[Split, ...]
    flat: Mapping[tuple[Any, ...], Spec]
    outer: Mapping[tuple[Any, ...], Spec]
    unready: tuple[str, ...] = ()  # keys and words that have no template yet, e.g. "mlp.kind: moe"
    nodes: Mapping[tuple[Any, ...], Node] = field(default_factory=dict[Any, Node], compare=False, repr=False)
    root: Node = field(default=Node({}, NOWHERE), compare=False, repr=False)

    def place(self, path: str, among: Iterable[tuple[Any, ...]] | None = None) -> Location:
        """Where a dotted key stands, or the deepest one above it that is written: in the merged sections of these
        combinations (default: all), else in the file; where nothing of it is written, the start of the file."""
        parts = tuple(int(part) if part.isdigit() else part for part in path.split("."))
        for node in (*(self.nodes[key] for key in (self.nodes if among is None else among)), self.root):
            found = node.find(parts)
            if found.file != NOWHERE.file and found != self.root.at:
                return found
        return self.root.at

    @property
    def reference(self) -> dict[str, Any]:
        """What `tests` says of the reference and how it is run."""
        return {name: self.tests[name] for name in ABOUT_THE_REFERENCE if name in self.tests}


def config_class(spec: LoadedSpec, table: ConfigTable) -> ConfigClass:
    """The config class of a spec: a row of the table, or what the spec declares.

    Raises:
        SpecError: the table has no such class.
    """
    declared = spec.config
    if declared.fields is None:
        found = table.get(declared.class_name)
        if found is None:
            message = f"{declared.class_name} is not in the table of config classes"
            raise SpecError([Problem(spec.place("config"), "config", message, "name another, or declare its fields")])
        return found
    names = declared.attribute_map
    return ConfigClass.from_declaration(declared.fields, declared.class_name, declared.model_type, names)
