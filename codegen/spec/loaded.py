"""A spec file after loading and checking: its frame, its schedules, and one flat spec for each of their outcomes."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from codegen.configs import ConfigClass, ConfigTable
from codegen.errors import CodegenError
from codegen.frozen import Frozen
from codegen.spec.language import ConfigDeclaration, Spec
from codegen.spec.values import Expression


class Split(Frozen):
    """One entry of `variants` or `layers`: what it depends on and which outcomes it has.

    `when` entries have the outcomes (False, True); `by` entries one for each kind that the expression may yield.
    """

    condition: Expression
    outcomes: tuple[Any, ...]
    by: bool
    per_layer: bool  # an entry of `layers`; entries of `variants` are decided once for the whole model
    why: str | None = field(default=None, compare=False)


class LoadedSpec(Frozen):
    """Everything that a spec file says. `flat` maps one outcome per split, in their order, to the merged spec."""

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
    unready: tuple[str, ...] = ()  # keys and words that have no template yet, e.g. "mlp.kind: moe"

    @property
    def reference(self) -> dict[str, Any]:
        """What `tests` says of the reference and how it is run."""
        return {name: self.tests[name] for name in ("reference", "attention", "positions") if name in self.tests}


def config_class(spec: LoadedSpec, table: ConfigTable) -> ConfigClass:
    """The config class of a spec: a row of the table, or what the spec declares.

    Raises:
        CodegenError: the table has no such class.
    """
    declared = spec.config
    if declared.fields is None:
        found = table.get(declared.class_name)
        if found is None:
            raise CodegenError(f"{spec.path}: config: {declared.class_name} is not in the table of config classes")
        return found
    names = declared.attribute_map
    return ConfigClass.from_declaration(declared.fields, declared.class_name, declared.model_type, names)
