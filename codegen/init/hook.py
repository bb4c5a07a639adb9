"""The hook in a .pre-commit-config.yaml: a new file, or one more entry of `repos`, with no other byte changed."""

import json
import re
import shlex
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import yaml

from codegen import __version__

FILE = ".pre-commit-config.yaml"
DISTRIBUTION = "automodel-codegen"


def requirement() -> str:
    """What installs this generator again: its version, or the commit that it was installed from."""
    found = _origin()
    if "vcs_info" in found:
        return f"{DISTRIBUTION} @ {found['vcs_info']['vcs']}+{found['url']}@{found['vcs_info']['commit_id']}"
    return f"{DISTRIBUTION}=={__version__}"


def is_of_this_machine() -> bool:
    """Whether the generator was installed from a folder or a file, which other machines do not have."""
    return bool(_origin()) and "vcs_info" not in _origin()


def _origin() -> dict[str, Any]:
    """Where pip took the generator from, if not from an index (PEP 610)."""
    try:
        return json.loads(distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        return {}


def below(folder: Path) -> str | None:
    """Where a folder lies in its git repository; None at its root, or where there is none."""
    found = next((one for one in (folder, *folder.parents) if (one / ".git").exists()), folder)
    return None if found == folder else folder.relative_to(found).as_posix()


def entry(paths: Iterable[str], root: str | None = None) -> str:
    """The entry, without indentation: the hook runs where one of the paths was changed. root: of a tree that is not at
    the root of its repository."""
    command = "codegen apply --exit-non-zero-on-change" + (f" --root {shlex.quote(root)}" if root else "")
    pattern = "|".join(re.sub(r"[^\w/-]", r"\\\g<0>", path) for path in paths)
    return f"""\
- repo: local
  hooks:
    - id: codegen
      name: codegen
      entry: {command}
      language: python
      additional_dependencies: ["{requirement()}"]
      pass_filenames: false
      require_serial: true
      files: ^({pattern})
"""


def with_hook(text: str, hook: str) -> str | None:
    """The file with the entry; None where that cannot be done without touching the rest."""
    if not text.strip():
        return text + "repos:\n" + _indented(hook, 2)
    try:
        before = yaml.safe_load(text)
        at, column = _end_of_repos(text)
    except (yaml.YAMLError, ValueError):
        return None
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    if at and not lines[at - 1].endswith("\n"):
        lines[at - 1] += newline
    made = "".join([*lines[:at], _indented(hook, column).replace("\n", newline), *lines[at:]])
    return made if _is_one_more(before, made, hook) else None


def has_hook(text: str) -> bool:
    """Whether some hook of the file is codegen's."""
    try:
        found: Any = yaml.safe_load(text)
        return any(hook.get("id") == "codegen" for repo in found["repos"] for hook in repo["hooks"])
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        return False


def _end_of_repos(text: str) -> tuple[int, int]:
    """The line behind the last entry of `repos`, and the column of entries. Raises ValueError for another shape."""
    loader: Any = yaml.SafeLoader(text)
    root = loader.get_single_node()
    entries: list[tuple[Any, Any]] = root.value if _is_block(root) and isinstance(root, yaml.MappingNode) else []
    found = [value for key, value in entries if key.value == "repos" and isinstance(value, yaml.SequenceNode)]
    if found and _is_block(found[0]):
        end = _last_mark(found[0].value[-1])
        return end.line + (1 if end.column else 0), found[0].value[0].start_mark.column - len("- ")
    raise ValueError(f"{FILE} has no list of repos")


def _is_block(node: Any) -> bool:
    """Whether it is a list or a mapping with entries on lines of their own."""
    return isinstance(node, yaml.CollectionNode) and not node.flow_style and bool(node.value)


def _last_mark(node: Any) -> Any:
    """Where the last scalar of a node ends: marks of collections lie behind comments that follow them."""
    if not _is_block(node):
        return node.end_mark
    last = node.value[-1]
    return _last_mark(last[1] if isinstance(last, tuple) else last)


def _is_one_more(before: Any, made: str, hook: str) -> bool:
    try:
        after = yaml.safe_load(made)
    except yaml.YAMLError:
        return False
    return after == {**before, "repos": [*before["repos"], *yaml.safe_load(hook)]}


def _indented(text: str, column: int) -> str:
    return "".join(" " * column + line for line in text.splitlines(keepends=True))
