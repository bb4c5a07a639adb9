"""The `codegen` command. A run that has nothing to do ends here, before the parser of arguments is even imported."""

import sys

from codegen import fastpath


def main() -> int:
    """Run the command line; returns the exit code."""
    if fastpath.settled(sys.argv[1:]):
        return 0
    from codegen.commands import run

    return run(sys.argv[1:])
