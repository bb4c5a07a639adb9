"""What `codegen init` writes, all of it or nothing."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from codegen.edits.docs_index import BEGIN, END
from codegen.errors import CodegenError
from codegen.frozen import Frozen
from codegen.init import hook, project
from codegen.language.schema import FILE, NAMED, schema_text
from codegen.layout import PROJECT
from codegen.places import APART, LIBRARY, Places, read_places
from codegen.write.single import write_files

NAME = "my_llama"
SPEC = f"""\
{NAMED}
# A first spec: Llama under a name of its own. Llama is the default of everything, so a spec says only what differs.
# `codegen explain {NAME}` says what there is to say; `codegen new CHECKPOINT_FOLDER` drafts one from a checkpoint.
name: {NAME}
architecture: MyLlamaForCausalLM
config: transformers:LlamaConfig
"""
REGISTRY = '''\
"""Which module implements an architecture or a model type, and which config class a type that transformers lacks.

The literals are edited in place by `codegen apply`; entries of other origin stay as they are.
"""

from collections import OrderedDict

MODEL_ARCH_MAPPING = OrderedDict([])

MODEL_TYPE_MAPPING: dict[str, tuple[str, str]] = {}

MODEL_TEXT_MAPPING: dict[str, tuple[str, str]] = {}

_CUSTOM_CONFIG_REGISTRATIONS: dict[str, tuple[str, str]] = {}
'''
INDEX = f"""\
# Models

{BEGIN}
| Model | Architecture | Features | Example |
|---|---|---|---|
{END}
"""
BELOW = {"tests": "tests/models", "examples": "examples", "docs": "docs/models"}


class Started(Frozen):
    """What was written, and what is left to the person."""

    wrote: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{path}: written" for path in self.wrote] + [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, "next: `codegen apply`, which writes the model of the first spec"])


def init(root: str, package: str | None, layout: str | None, specs: str) -> Started:
    """Begin in a repository.

    Raises:
        CodegenError: it has a table already, or something in the way.
        ConflictError, WriteError: as for every commit; nothing was written.
    """
    folder = Path(root)
    text = _text(folder / PROJECT)
    if "codegen" in project.parsed(text).get("tool", {}):
        raise CodegenError(f"{PROJECT} has a table [tool.codegen] already; edit it, or remove it first")
    made = project.with_table(
        text, ("tool", "codegen"), _table(folder, package or _package(folder, text), layout, specs)
    )
    at = read_places(made.encode())
    _refuse_strangers(folder, at, layout)
    _refuse_taken(folder, at, layout)
    made, notes = _with_entry_point(made, at)
    files = {PROJECT: made, **_missing(folder, at)}
    text, more = _hook(folder, (PROJECT, f"{at.specs}/", at.registry, *(f"{path}/" for path in at.outputs)))
    files |= text
    notes += more
    return Started(tuple(write_files(root, {path: text.encode() for path, text in files.items()})), tuple(notes))


def _package(folder: Path, text: str) -> str:
    """`models`, in the package that is called as the project is."""
    name: str = project.parsed(text).get("project", {}).get("name", folder.name)
    return f"{name.replace('-', '_').replace('.', '_')}.models"


def _table(folder: Path, package: str, layout: str | None, specs: str) -> dict[str, str | bool]:
    if layout is None:
        source = {"source": "src"} if (folder / "src" / package.partition(".")[0]).is_dir() else {}
        return {"package": package, **source, "specs": specs, **BELOW}
    usual = Places()
    table: dict[str, str | bool] = {"layout": layout, "specs": specs}
    table |= {"tests": usual.tests or False, "examples": usual.examples or False}
    pages = [folder / path for path in usual.indexes]
    unmarked = any(page.is_file() and BEGIN not in _text(page) for page in pages)
    return {**table, "docs": False if unmarked else usual.docs or False}


def _refuse_strangers(folder: Path, at: Places, layout: str | None) -> None:
    strange = sorted(path.name for path in (folder / at.specs).glob("*.y*ml"))
    if strange:
        found = f"{at.specs}/ holds {', '.join(strange[:3])} already, and every YAML file there is read as a spec"
        raise CodegenError(f"{found}; name another folder with --specs")
    if layout is not None and not (folder / at.registry).is_file():
        raise CodegenError(
            f"layout {layout!r} is of trees that have {at.registry}; leave --layout out, or name the root"
        )


def _refuse_taken(folder: Path, at: Places, layout: str | None) -> None:
    """A package of a name that Python or an installed one has would hide it, or be hidden by it."""
    top = at.package.partition(".")[0]
    if layout is not None or (folder / at.source / top).is_dir():
        return
    if top in sys.stdlib_module_names or top in (LIBRARY, APART) or find_spec(top) is not None:
        cure = f"name one of your own with --package, such as my_{top}.models"
        raise CodegenError(f"package {at.package}: {top} is the name of something that is installed here; {cure}")


def _with_entry_point(text: str, at: Places) -> tuple[str, list[str]]:
    """How the library's entry points find the registry: a tree with the hand-written library has its own."""
    if at.library != LIBRARY or at.own_registry is None:
        return text, []
    by_hand = f'a program makes the models known by `{at.library}.register("{at.own_registry}")`'
    if "project" not in project.parsed(text):
        return text, [f"{PROJECT} has no [project] table, so there is no entry point: {by_hand}"]
    name = at.package.partition(".")[0]
    try:
        path = ("project", "entry-points", project.GROUP)
        return project.with_table(text, path, {name: at.own_registry}), [f"until the package is installed, {by_hand}"]
    except CodegenError as error:
        return text, [f"{error}; until then {by_hand}"]


def _hook(folder: Path, paths: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """The file with the hook if it is to be written, and what is left to the person."""
    if (below := hook.below(folder)) is not None:  # pre-commit reads the file at the root of the repository alone
        entry = hook.entry((f"{below}/{path}" for path in paths), below)
        return {}, [f"{below}/ lies in a repository; add to `repos` in the {hook.FILE} at its root:\n{entry}".rstrip()]
    present, entry = _text(folder / hook.FILE), hook.entry(paths)
    made = present if hook.has_hook(present) else hook.with_hook(present, entry)
    if made is None:
        return {}, [f"{hook.FILE} has a shape that is not edited; add to its `repos`:\n{entry}".rstrip()]
    if made == present:
        return {}, []
    cure = f"where no index has that, write `{hook.DISTRIBUTION} @ git+<its repository>` in its place"
    return {hook.FILE: made}, ([f"the hook installs {hook.requirement()}; {cure}"] if hook.is_of_this_machine() else [])


def _missing(folder: Path, at: Places) -> dict[str, str]:
    """Files that people own, where there are none yet."""
    files = {
        f"{at.specs}/{NAME}.yaml": SPEC,
        f"{at.specs}/{FILE}": schema_text(),
        at.registry: REGISTRY,
        **dict.fromkeys(at.indexes, INDEX),
    }
    parts = at.package.split(".")
    files |= {f"{at.source}{'/'.join(parts[: depth + 1])}/__init__.py": "" for depth in range(len(parts))}
    return {path: text for path, text in files.items() if not os.path.lexists(folder / path)}


def _text(path: Path) -> str:
    """The text of a file, line ends as they are; empty where there is none."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise CodegenError(f"{path.name} is not UTF-8; save it as UTF-8") from error
