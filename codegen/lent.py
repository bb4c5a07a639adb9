"""The specs that come with the generator. Trees that use the library draft beside them, and put images before the
models that it has of them; this repository, and trees without a table in pyproject.toml, have their own alone."""

from pathlib import Path

from codegen.places import places

_PACKAGE = Path(__file__).parent
FOLDER = _PACKAGE / "specs" if (_PACKAGE / "specs").is_dir() else _PACKAGE.parent / "specs"  # installed, or a checkout


def is_lent(path: Path) -> bool:
    """Whether a spec is one of these."""
    return path.parent == FOLDER


def spec_called(name: str | None, folder: Path, root: Path) -> Path:
    """Where the spec of a name stands: in `folder`, a tree's own one, or else among those that are lent to it."""
    own = folder / f"{name}.yaml"
    lent = FOLDER / own.name
    return lent if not own.is_file() and places(str(root)).borrows and lent.is_file() else own


def all_specs(root: Path) -> list[Path]:
    """A tree's own specs by name, then those that are lent to it, of other names."""
    at = places(str(root))
    own = sorted((root / at.specs).glob("*.yaml"))
    names = {path.name for path in own}
    return [*own, *(path for path in sorted(FOLDER.glob("*.yaml")) if at.borrows and path.name not in names)]


def lenders(root: Path) -> Path:
    """The folder of specs that know what families say: a tree's own, unless others are lent to it."""
    at = places(str(root))
    return FOLDER if at.borrows else root / at.specs
