"""Runs the generated files of a mutated spec as the package that they name, and puts the real one back."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType

from codegen.places import Places
from nemo_automodel.parity.project import MODELS

PLACES = Places(package=MODELS, library=MODELS.partition(".")[0])  # of what is run here, wherever the spec is from
ORDER = ("config.py", "state_dict_adapter.py", "model.py")  # what is imported comes first


@contextmanager
def installed(name: str, files: Mapping[str, str]) -> Iterator[dict[str, ModuleType]]:
    """Within, `nemo_automodel.components.models.<name>` consists of these files (but `__init__.py`), by module name.

    What a package within it has (`text/model.py`, by the name `text.model`) is run first.
    """
    package = f"{MODELS}.{name}"
    before = {key: module for key, module in sys.modules.items() if key == package or key.startswith(package + ".")}
    for key in before:
        del sys.modules[key]
    try:
        yield {_dotted(file): _run(package, file, files[file]) for file in sorted(filter(_is_run, files), key=_place)}
    finally:
        for key in [key for key in sys.modules if key == package or key.startswith(package + ".")]:
            del sys.modules[key]
        sys.modules.update(before)


def _is_run(file: str) -> bool:
    return file.rpartition("/")[2] in ORDER


def _place(file: str) -> tuple[int, int]:
    """Within packages first, then in the order of imports."""
    return -file.count("/"), ORDER.index(file.rpartition("/")[2])


def _dotted(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


def _run(package: str, file: str, source: str) -> ModuleType:
    module = ModuleType(f"{package}.{_dotted(file)}")
    for above in (package, module.__name__.rpartition(".")[0]):
        sys.modules.setdefault(above, ModuleType(above))
    sys.modules[module.__name__] = module
    exec(compile(source, f"<mutated {package}.{file}>", "exec"), module.__dict__)
    return module
