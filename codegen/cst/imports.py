"""Imports of a generated module: those that its body uses, sorted as isort sorts them."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from sys import stdlib_module_names

import libcst as cst


@dataclass(frozen=True, order=True)
class Import:
    """`from module import name`, or `import module` where the name is empty; maybe under another name."""

    module: str
    name: str = ""
    alias: str = ""

    @property
    def binds(self) -> str:
        return self.alias or self.name or self.module.partition(".")[0]

    @property
    def listed(self) -> str:
        """As it stands behind `import`."""
        return f"{self.name} as {self.alias}" if self.alias not in ("", self.name) else self.name


def imports_of(nodes: Iterable[cst.ImportFrom | cst.Import]) -> list[Import]:
    """The imports of parsed statements, one by one."""
    found: list[Import] = []
    for node in nodes:
        if isinstance(node, cst.Import):
            found += [Import(cst.Module([]).code_for_node(alias.name)) for alias in node.names]
        elif node.module is not None and not isinstance(node.names, cst.ImportStar):
            module = cst.Module([]).code_for_node(node.module)
            named = [(alias, alias.name) for alias in node.names]
            found += [Import(module, name.value, _alias(alias)) for alias, name in named if isinstance(name, cst.Name)]
    return found


def _alias(alias: cst.ImportAlias) -> str:
    """The other name; a hole has none, since the plan names what it stands for."""
    other = alias.evaluated_alias or ""
    return "" if other.startswith(("Template", "template_")) else other


def used(imports: Iterable[Import], names: set[str]) -> list[Import]:
    """Those that bind one of the names."""
    return sorted({item for item in imports if item.binds in names})


def _section(module: str, first_party: Container[str]) -> int:
    root = module.partition(".")[0]
    if root in stdlib_module_names:
        return 0
    return 2 if root in first_party else 1


def _name_order(name: str) -> tuple[int, str]:
    """isort's order: CONSTANTS, Classes, functions."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, name)


def _from(module: str, listed: set[str]) -> list[str]:
    """The lines of one module: names together, those under another name apart."""
    plain = sorted((name for name in listed if " as " not in name), key=_name_order)
    others = sorted(name for name in listed if " as " in name)
    return [f"from {module} import {names}" for names in (", ".join(plain), *others) if names]


def import_block(imports: Sequence[Import], first_party: Container[str]) -> str:
    """The import statements, in sections standard, third-party, own."""
    sections: list[str] = []
    for section in range(3):
        mine = [item for item in imports if _section(item.module, first_party) == section]
        lines = [f"import {item.module}" for item in sorted(mine) if not item.name]
        for module in sorted({item.module for item in mine if item.name}):
            lines += _from(module, {item.listed for item in mine if item.module == module and item.name})
        if lines:
            sections.append("\n".join(lines))
    return "\n\n".join(sections)
