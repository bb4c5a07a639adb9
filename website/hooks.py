"""What the site's configuration cannot say: which pages stand in folders, and the gallery of models by their kind."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

GALLERY = "model-coverage/index.md"  # of the site alone; the tables of llm/ and vlm/ say the same on a forge
GROUPS = {"images": "Images and text", "hybrid": "Hybrids", "mixture": "Mixtures of experts", "dense": "Dense"}
SHOWN = ("dense", "mixture", "hybrid", "images")
ROW = re.compile(r"^\| (\S+) \| ((?:images|dense|mixture|hybrid)[a-z, ]*) \|", re.MULTILINE)
PARAGRAPH = re.compile(r"^# .+\n\n(.+)", re.MULTILINE)
INTRODUCTION = """\
# Models

Each page has the picture of its model, what it has, and where its spec, code and proof stand. The same as tables, by
what they have: [language models](llm/index.md), [images and text](vlm/index.md); [how each was proven](coverage.md).
"""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Entries that end in `/` become the pages of that folder; pages that are named nowhere join the guide."""
    docs = Path(config.docs_dir)
    named = set(_names(config.nav or []))
    for section in config.nav or []:
        for title, entries in section.items():
            if isinstance(entries, list):
                section[title] = [one for entry in entries for one in _expanded(docs, entry)]
            if title == "Guide":
                section[title] += sorted(page.name for page in docs.glob("*.md") if page.name not in named)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the gallery."""
    files.append(File.generated(config, GALLERY, content=gallery(Path(config.docs_dir))))
    return files


def gallery(docs: Path) -> str:
    """Its Markdown: the models of each kind, with their summaries."""
    lines = [INTRODUCTION]
    for kind, pages in grouped(docs).items():
        lines.append(f'## {GROUPS[kind]} ({len(pages)})\n\n<div class="grid cards" markdown>\n')
        lines += (f"- **[{page.stem}]({page.parent.name}/{page.name})**\n\n    {_summary(page)}\n" for page in pages)
        lines.append("</div>\n")
    return "\n".join(lines)


def grouped(docs: Path) -> dict[str, list[Path]]:
    """{kind: pages of its models}. A model of several kinds stands with the rarest."""
    rows = ROW.findall((docs / "model-coverage/coverage.md").read_text(encoding="utf-8"))
    groups: dict[str, list[Path]] = {kind: [] for kind in SHOWN}
    for name, kinds in rows:
        kind = next(kind for kind in GROUPS if kind in kinds.split(", "))
        (page,) = (docs / "model-coverage").glob(f"*lm/{name.replace(chr(92), '')}.md")
        groups[kind].append(page)
    return groups


def _summary(page: Path) -> str:
    return PARAGRAPH.search(page.read_text(encoding="utf-8"))[1]  # type: ignore[index]


def _names(nav: Any) -> Iterator[str]:
    """Every page that an entry names."""
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from _names(entry)


def _expanded(docs: Path, entry: Any) -> Iterator[Any]:
    if entry == GALLERY:
        yield entry
        for kind, pages in grouped(docs).items():
            yield {GROUPS[kind]: [{page.stem: _path(docs, page)} for page in pages]}
    elif isinstance(entry, str) and entry.endswith("/"):
        pages = sorted((docs / entry).glob("*.md"), key=lambda page: (page.name != "README.md", page.name))
        yield from (_path(docs, page) for page in pages)
    else:
        yield entry


def _path(docs: Path, page: Path) -> str:
    return page.relative_to(docs).as_posix()
