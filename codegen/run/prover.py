"""The interpreter that has the library: proofs run it, and the generator's own need not have it."""

import os
import shutil
import subprocess
import sys

from codegen.errors import NoLibraryError
from codegen.places import APART, Places

_ASKS = "from importlib.util import find_spec; import sys; sys.exit(None in map(find_spec, sys.argv[1:]))"
_NEEDED = ("torch", "transformers")
_DISTRIBUTIONS = {APART: "automodel-layers"}


def find(root: str, places: Places) -> tuple[str, dict[str, str]]:
    """This interpreter, or else that of the active environment; and the variables that let it import the tree.

    Raises:
        NoLibraryError: neither has the library.
    """
    search = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": search}
    known = [sys.executable, shutil.which("python")]
    for python in dict.fromkeys(filter(None, known)):
        asked = [python, "-c", _ASKS, places.library, *_NEEDED]
        if subprocess.run(asked, cwd=root, env=environment, check=False).returncode == 0:
            return python, environment
    wanted = _DISTRIBUTIONS.get(places.library, "automodel-library")
    raise NoLibraryError(
        f"this needs the library `{places.library}`, with torch and transformers; {sys.executable} does not have it:"
        f" pip install '{wanted}[testing]', or activate an environment that has it"
    )
