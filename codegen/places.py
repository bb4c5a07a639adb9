"""Where everything of a tree stands: as in this repository, or as `[tool.codegen]` in its pyproject.toml says.

The table has these keys, each with the default that this repository has:

- `package`: of the generated models, dotted (`mine.models`), and `source`, the folder that it lies in (`src`)
- `registry`: the file in which they have entries; with a `package`, `registry.py` in it
- `specs`, `tests`, `examples`, `docs`: folders; the last three may be `false`
- `layout`: `nemo_automodel`, of trees that have the hand-written library: its paths, and layers from `library`
- `library`: what the layers are imported as
"""

import os
import re
from functools import lru_cache
from itertools import combinations
from keyword import iskeyword
from typing import Any, NamedTuple, cast

from codegen.errors import CodegenError
from codegen.layout import PROJECT, SPECS, names_table

LIBRARY = "nemo_automodel"
APART = "automodel_layers"  # the same library under a name that the hand-written one does not have
_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*(/[A-Za-z0-9_][A-Za-z0-9_.\-]*)*")
_SWITCHES = ("tests", "examples", "docs")
_KEYS = ("package", "source", "registry", "specs", *_SWITCHES, "layout", "library")


class Places(NamedTuple):
    """Paths are POSIX and relative to the root; None: switched off.

    Attributes:
        package: dotted package of the models, which stands at `models`.
        registry: the file that says which module implements an architecture.
        library: what the layers are imported as.
        shared: a tree with models of other origin: an entry that leads to no file is not for codegen to drop.
        borrows: whether the library's specs serve beside its own: a tree that has the table has the library installed.
    """

    package: str = "nemo_automodel.components.models"
    models: str = "nemo_automodel/components/models"
    registry: str = "nemo_automodel/_transformers/registry.py"
    specs: str = SPECS
    tests: str | None = "tests/unit_tests/models"
    examples: str | None = "examples"
    docs: str | None = "docs/model-coverage"
    library: str = LIBRARY
    borrows: bool = False
    shared: bool = False

    def module(self, name: str, file: str) -> str:
        """The dotted module of a file of one model's package."""
        return f"{self.package}.{name}.{file}"

    def lent(self, name: str, file: str) -> str:
        """The same of a model that the library has."""
        return f"{self.library}.components.models.{name}.{file}"

    def of_library(self, module: str) -> str:
        """A module of the library, by the name that it is imported by."""
        inside = module == LIBRARY or module.startswith(f"{LIBRARY}.")
        return self.library + module[len(LIBRARY) :] if inside else module

    @property
    def own_registry(self) -> str | None:
        """The dotted registry, where it is not the library's own."""
        if (self.registry, self.library) == (HERE.registry, LIBRARY):
            return None
        return self.registry.removeprefix(self.source).removesuffix(".py").replace("/", ".")

    @property
    def source(self) -> str:
        """The folder of the top package: empty for the root, or `src/`."""
        return self.models.removesuffix(self.package.replace(".", "/"))

    @property
    def first_party(self) -> tuple[str, ...]:
        """Packages of the tree, which isort puts last."""
        inside = {LIBRARY, "codegen"} if self.package.partition(".")[0] == LIBRARY else {self.package.partition(".")[0]}
        return (*sorted(inside), "tests")

    @property
    def example_folders(self) -> tuple[str, ...]:
        """Of text, and of images and text."""
        return () if self.examples is None else (f"{self.examples}/llm_finetune", f"{self.examples}/vlm_finetune")

    @property
    def pages(self) -> tuple[str, ...]:
        """Folders of the documentation's pages, in the same order."""
        return () if self.docs is None else (f"{self.docs}/llm", f"{self.docs}/vlm")

    @property
    def indexes(self) -> tuple[str, ...]:
        """The pages that list the others."""
        return tuple(f"{folder}/index.md" for folder in self.pages)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Generated files may stand nowhere else, and what is no longer planned is looked for nowhere else."""
        return (self.models, *([self.tests] if self.tests else []), *self.example_folders, *self.pages)


HERE = Places()


@lru_cache(maxsize=64)
def places(root: str) -> Places:
    """The places of a tree.

    Raises:
        CodegenError: its table is no good.
    """
    try:
        with open(os.path.join(root, PROJECT), "rb") as file:
            text = file.read()
    except OSError:
        return HERE
    return read_places(text)


def read_places(text: bytes) -> Places:
    """The same from the text of a pyproject.toml, which is parsed where it names the table alone."""
    if not names_table(text):
        return HERE
    import tomllib

    try:
        tools: Any = tomllib.loads(text.decode()).get("tool")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CodegenError(f"{PROJECT}: {error}") from error
    table: Any = cast("dict[str, Any]", tools).get("codegen") if isinstance(tools, dict) else None
    return HERE if table is None else _checked(table)


def _checked(table: Any) -> Places:
    if not isinstance(table, dict):
        raise _refusal("", "is no table", 'write package = "..." below [tool.codegen]')
    given = cast("dict[str, Any]", table)
    for key, value in given.items():
        if key not in _KEYS:
            raise _refusal(key, "is not known", f"the keys are {', '.join(_KEYS)}")
        if not isinstance(value, str) and not (value is False and key in _SWITCHES):
            raise _refusal(key, f"is {value!r}", "write a string" + (", or false" if key in _SWITCHES else ""))
    if given.get("layout", LIBRARY) != LIBRARY:
        raise _refusal("layout", f"{given['layout']!r} is not known", f'write "{LIBRARY}", or remove it')
    found = _placed(given)
    if "layout" in given and "library" not in given:
        found = found._replace(library=APART)
    _refuse_overlap(found)
    return found


def _placed(given: dict[str, Any]) -> Places:
    found = HERE
    if "package" in given:
        package: str = given["package"]
        if not all(map(_is_name, package.split("."))):
            raise _refusal("package", f"{package!r} is no dotted name", 'write one, such as "mine.models"')
        source = f"{_folder('source', given['source'])}/" if given.get("source", ".") != "." else ""
        models = source + package.replace(".", "/")
        found = found._replace(package=package, models=models, registry=f"{models}/registry.py")
    for key in ("registry", "specs", *_SWITCHES):
        if key in given:
            found = found._replace(**{key: None if given[key] is False else _folder(key, given[key])})
    library: str = given.get("library", LIBRARY)
    if not _is_name(library):
        raise _refusal("library", f"{library!r} is no name of a package", f'write one, such as "{LIBRARY}"')
    return found._replace(library=library, borrows=True, shared="layout" in given)


def _is_name(part: str) -> bool:
    """Whether a package can be called so: in plain letters, as file systems keep them."""
    return part.isascii() and part.isidentifier() and not iskeyword(part)


def _folder(key: str, path: str) -> str:
    if not _FOLDER.fullmatch(path):
        raise _refusal(key, f"{path!r} is no plain path below the root", "write one with / and without ..")
    return path


def _refuse_overlap(found: Places) -> None:
    """A folder that lies in another one's would be looked through twice."""
    folders = sorted((found.specs, *found.outputs))
    for one, other in combinations(folders, 2):
        if f"{other}/".startswith(f"{one}/"):
            raise _refusal("", f"{other} lies in {one}", "give each folder of its own")


def _refusal(key: str, message: str, cure: str) -> CodegenError:
    where = f"[tool.codegen] {key}".rstrip()
    return CodegenError(f"{PROJECT}: {where}: {message}; {cure}")
