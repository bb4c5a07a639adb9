"""Temporary files of runs that were killed: `<name>.<process>.tmp`."""

import os
from contextlib import suppress


def sweep(folder: str) -> None:
    """Remove the temporary files in a folder whose process is gone; what cannot be removed stays."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if name.endswith(".tmp") and _is_gone(name.split(".")[-2]):
                with suppress(OSError):
                    os.unlink(os.path.join(folder, name))


def _is_gone(process: str) -> bool:
    if not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False
