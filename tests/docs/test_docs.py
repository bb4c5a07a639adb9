"""What the documentation names exists: links, commands, make targets and files."""

import re
from pathlib import Path

from codegen.arguments import parser

ROOT = Path(__file__).resolve().parents[2]
PATHS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = {path: path.read_text(encoding="utf-8") for path in PATHS}
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
CODE = re.compile(r"```bash\n(.*?)```", re.DOTALL)
IN_THE_TREE = re.compile(r"(?<!\w/)\b(?:codegen|nemo_automodel|tests|benchmarks|specs)/[\w./]+\.(?:py|yaml|json)\b")


def commands() -> set[str]:
    choices = next(action.choices for action in parser()._actions if action.dest == "command")
    assert choices is not None
    return set(choices)


def named_after(word: str, text: str) -> set[str]:
    """What follows `word` at the start of a command, in blocks and in the text."""
    lines = [line for block in CODE.findall(text) for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", text)
    return {line.split()[1] for line in lines if line.startswith(f"{word} ") and len(line.split()) > 1}


def test_links_resolve() -> None:
    links = [(path, target) for path, text in PAGES.items() for target in LINK.findall(text) if "://" not in target]
    assert len(links) > 10
    assert [(path.name, target) for path, target in links if not (path.parent / target).exists()] == []


def test_commands_and_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path, text in PAGES.items():
        assert named_after("codegen", text) <= commands(), path
        assert named_after("make", text) <= targets, path


def test_the_readme_names_every_command() -> None:
    assert commands() <= set(re.findall(r"^\| `codegen (\w+)", PAGES[ROOT / "README.md"], re.MULTILINE))


def test_files_exist() -> None:
    """Except in the guide, whose model is made by its reader."""
    named = [
        (path, file) for path, text in PAGES.items() if path.name != "guide.md" for file in IN_THE_TREE.findall(text)
    ]
    assert len(named) > 10
    assert [(path.name, file) for path, file in named if not (ROOT / file).exists()] == []


def test_the_readme_shows_gemma2_as_it_is() -> None:
    spec = (ROOT / "specs" / "gemma2.yaml").read_text(encoding="utf-8")
    body = "".join(line for line in spec.splitlines(keepends=True) if not line.startswith("#"))
    assert f"```yaml\n{body}```" in PAGES[ROOT / "README.md"]
