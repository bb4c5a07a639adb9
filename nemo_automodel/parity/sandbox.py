"""Runs the generated files of a mutated spec as the package that they name, and puts the real one back."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType

from nemo_automodel.parity.project import MODELS

ORDER = ("config.py", "state_dict_adapter.py", "model.py")  # what is imported comes first


@contextmanager
def installed(name: str, files: Mapping[str, str]) -> Iterator[dict[str, ModuleType]]:
    """Within, `nemo_automodel.components.models.<name>` consists of these files (but `__init__.py`), by module name."""
    package = f"{MODELS}.{name}"
    before = {key: module for key, module in sys.modules.items() if key == package or key.startswith(package + ".")}
    for key in before:
        del sys.modules[key]
    try:
        sys.modules[package] = ModuleType(package)
        yield {file.removesuffix(".py"): _run(package, file, files[file]) for file in ORDER if file in files}
    finally:
        for key in [key for key in sys.modules if key == package or key.startswith(package + ".")]:
            del sys.modules[key]
        sys.modules.update(before)


def _run(package: str, file: str, source: str) -> ModuleType:
    module = ModuleType(f"{package}.{file.removesuffix('.py')}")
    sys.modules[module.__name__] = module
    exec(compile(source, f"<mutated {package}.{file}>", "exec"), module.__dict__)
    return module
