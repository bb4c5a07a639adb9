"""The tree that a recipe is run in: its models are known without being installed.

Which package that is stands in `[tool.codegen]` of the pyproject.toml right in the working folder, which the person
chose. Nothing in a recipe leads to another one, and folders above are not asked: others may write there.
"""

import sys
import tomllib
from pathlib import Path
from typing import Any

from nemo_automodel._transformers.registries import register
from nemo_automodel.recipes.mistakes import RecipeError

PROJECT = "pyproject.toml"


def register_tree(folder: Path) -> None:
    """Add the registry of the tree at `folder`, if it has one of its own.

    Raises:
        RecipeError: its pyproject.toml cannot be read, or the registry that it names cannot be imported.
    """
    table = _table(folder / PROJECT)
    if "package" not in table or "layout" in table:
        return  # this library's own tree, or one whose models stand in the registry of its own library
    source = str(table.get("source", "."))
    file = str(table["registry"]) if "registry" in table else f"{table['package']}.registry"
    module = file.removeprefix(f"{source}/").removesuffix(".py").replace("/", ".")
    if (place := str((folder / source).resolve())) not in sys.path:
        sys.path.insert(0, place)
    try:
        register(module)
    except ImportError as error:
        cure = "run `codegen check`, and the recipe from the root of the tree"
        raise RecipeError(
            f"{PROJECT}: the registry {module} of [tool.codegen] cannot be imported: {error}; {cure}"
        ) from error


def _table(project: Path) -> dict[str, Any]:
    """`[tool.codegen]`; empty where there is none."""
    try:
        tables: dict[str, Any] = tomllib.loads(project.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{PROJECT}: {error}; correct it, or run the recipe in another folder") from error
    return tables.get("tool", {}).get("codegen", {})
