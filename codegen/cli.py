"""The `codegen` command. A run that has nothing to do ends here, before the parser of arguments is even imported."""

import gc
import sys

from codegen.memory import last_run


def main() -> int:
    """Run the command line; returns the exit code."""
    if last_run.settled(sys.argv[1:]):
        return 0
    gc.disable()  # a run is short and what it builds stays until its end: collecting garbage would only cost time
    from codegen.commands import run

    code = run(sys.argv[1:])
    gc.freeze()  # or the interpreter collects it all, once, before it ends
    return code
