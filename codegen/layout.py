"""Where a tree begins. Imports nothing but `os`: the fast path starts with it."""

import os

SPECS = "specs"
STATE_DIR = ".codegen"
PROJECT = "pyproject.toml"
MARK = b"tool.codegen"  # whose table in `PROJECT` says where things stand: `places` reads it


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
            return MARK in file.read()
    except OSError:
        return False
