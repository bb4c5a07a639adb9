"""Which specs there are."""

from codegen.errors import Location, Problem
from codegen.frozen import Frozen
from codegen.places import places
from codegen.run.tree import Tree


class Found(Frozen):
    """Paths of specs, sorted. `problems`: what is out of place."""

    specs: tuple[str, ...]
    problems: tuple[Problem, ...]


def discover(tree: Tree) -> Found:
    """List the specs of a tree; the file name of a spec is its name, unlike every other one even when casefolded."""
    problems: list[Problem] = []
    specs = _specs(tree, places(tree.root).specs, problems)
    seen: dict[str, str] = {}
    for path in specs:
        name = path.rpartition("/")[2].casefold()
        if name in seen:
            problems.append(_problem(path, f"has the same name as {seen[name]}", "rename or remove one of them"))
        seen[name] = path
    return Found(specs, tuple(problems))


def _specs(tree: Tree, folder: str, problems: list[Problem]) -> tuple[str, ...]:
    found: list[str] = []
    for entry in tree.list(folder):
        path = f"{folder}/{entry.name}"
        if entry.name.endswith(".yml"):
            problems.append(_problem(path, "is not read as a spec", f"rename it to {path[:-4]}.yaml"))
        elif entry.name.endswith(".yaml") and not entry.name.startswith("."):
            if entry.is_file:
                found.append(path)
            else:
                problems.append(_problem(path, "is not a regular file", "replace it by a copy of the spec"))
    return tuple(found)


def _problem(path: str, message: str, cure: str) -> Problem:
    return Problem(Location(path, 1, 1), "file", message, cure)
