"""The site, built strictly, as text: its pages and what they link to."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

ROOT = Path(__file__).resolve().parents[2]
OWN = "https://site/"  # a name to resolve links against
ASKED = {"a": "href", "link": "href", "script": "src", "img": "src"}


def build(folder: Path) -> str:
    """Builds it there; what was said. A warning is an error."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stderr


@dataclass
class Page(HTMLParser):
    """`anchors`: ids. `links`: where `a` leads. `loaded`: what a browser asks for by itself."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attrs if value is not None}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        target = found.get(ASKED.get(tag, ""))
        if target is not None and found.get("rel") != "canonical":
            (self.links if tag == "a" else self.loaded).append(target)


class Site:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def pages(self) -> dict[str, Page]:
        """By address: `guide/`."""
        found = {}
        for file in self.folder.rglob("*.html"):
            address = file.relative_to(self.folder).as_posix().removesuffix("index.html")
            page = found[address] = Page()
            page.feed(file.read_text(encoding="utf-8"))
        return found

    def broken(self, address: str, target: str) -> bool:
        """Whether a link on the page of this address leads nowhere within the site."""
        parts = urlsplit(urljoin(OWN + address, target))
        if parts.netloc != "site":
            return False
        path = unquote(parts.path.lstrip("/"))
        if path not in self.pages:
            return not (self.folder / path).is_file()
        return bool(parts.fragment) and unquote(parts.fragment) not in self.pages[path].anchors | {"__top"}
