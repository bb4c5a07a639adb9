"""Where a tree begins. Imports nothing but `os`: the fast path starts with it."""

import os

SPECS = "specs"
STATE_DIR = ".codegen"
PROJECT = "pyproject.toml"
MARK = b"tool.codegen"  # whose table in `PROJECT` says where things stand: `places` reads it
# The same table as TOML lets it be written otherwise: with spaces and quotes, in one line, or below [tool].
OTHERWISE = rb"""tool["']?\s*\.\s*["']?codegen|(?m:^|[{,])\s*["']?codegen["']?\s*(\.|=\s*\{)"""


def find_root(start: str) -> str | None:
    """The nearest folder at or above `start` that is one, or None: it has a pyproject.toml or .git, and specs."""
    folder = os.path.abspath(start)
    while not is_root(folder):
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent
    return folder


def is_root(folder: str) -> bool:
    """Whether codegen works here: there is a folder `specs`, or the table that names another one."""
    project = os.path.join(folder, PROJECT)
    if not (os.path.exists(project) or os.path.exists(os.path.join(folder, ".git"))):
        return False
    return os.path.isdir(os.path.join(folder, SPECS)) or says_places(project)


def says_places(project: str) -> bool:
    """Whether a pyproject.toml has the table."""
    try:
        with open(project, "rb") as file:
            return names_table(file.read())
    except OSError:
        return False


def names_table(text: bytes) -> bool:
    """Whether the text of a pyproject.toml may have the table; without one it seldom says so."""
    if MARK in text or b"codegen" not in text:
        return MARK in text
    import re

    return re.search(OTHERWISE, text) is not None
