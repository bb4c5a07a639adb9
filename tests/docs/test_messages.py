"""Every message that the troubleshooting page quotes stands in the source."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUOTED = re.findall(r"^### `(.+)`$", (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
ANYTHING = "…"


def texts() -> list[str]:
    """All strings of generator and library but docstrings' words; what an f-string fills in is `ANYTHING`."""
    files = [
        path
        for path in (*(ROOT / "codegen").rglob("*.py"), *(ROOT / "nemo_automodel").rglob("*.py"))
        if "templates" not in path.parts and path.name not in ("model.py", "state_dict_adapter.py")
    ]
    nodes = (node for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    return [written(node) for node in nodes if isinstance(node, ast.JoinedStr | ast.Constant)]


def written(node: ast.JoinedStr | ast.Constant) -> str:
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(str(one.value) if isinstance(one, ast.Constant) else ANYTHING for one in parts)


@pytest.fixture(scope="module")
def source() -> str:
    return "\n".join(text for text in texts() if "\n" not in text)


def test_many_messages_are_quoted() -> None:
    assert len(QUOTED) > 25 and len(set(QUOTED)) == len(QUOTED)


@pytest.mark.parametrize("message", QUOTED)
def test_a_message_stands_in_the_source(message: str, source: str) -> None:
    words = [re.escape(part) for part in message.split(ANYTHING)]
    assert re.search("[^\n]+".join(words), source), message


def test_a_message_that_nobody_says_is_not_found(source: str) -> None:
    assert not re.search(re.escape("these tensors would be kept"), source)
