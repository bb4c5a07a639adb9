"""A reader's browser on the site: navigation, search, pictures, both palettes, and no word on the console.

It runs where there are the package playwright and a Chromium: `CHROMIUM` names one, else it is looked for in PATH.
`ALL_PICTURES=1` draws the picture of every model in place of a sample.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.docs.site import ROOT, build

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
if CHROMIUM is None:
    pytest.skip("no Chromium: install one (apt-get install chromium), or name it by CHROMIUM", allow_module_level=True)

PICTURES = sorted(page for page in (ROOT / "docs/model-coverage").glob("*lm/*.md") if page.name != "index.md")
SAMPLE = PICTURES if os.environ.get("ALL_PICTURES") else PICTURES[::30]
WIDTHS = {"desktop": 1280, "phone": 390}
# Mermaid's picture lies in a closed shadow root; the theme takes the block's text away once it is drawn.
DRAWN = "!document.querySelector('pre.mermaid') && document.querySelector('div.mermaid')?.offsetHeight > 100"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("site")
    build(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, browser: Any) -> Iterator[Any]:
    """A page of this width, which must say nothing, and fail at nothing."""
    opened, said = browser.new_page(viewport={"width": WIDTHS[request.param], "height": 900}), []
    opened.is_phone = request.param == "phone"
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    left = "net::ERR_ABORTED"  # by a reader who goes on before a page is whole
    opened.on("requestfailed", lambda asked: asked.failure != left and said.append(asked.url))
    opened.on("response", lambda answer: answer.status >= 400 and said.append(answer.url))
    yield opened
    opened.close()
    assert said == []


def test_navigation_leads_from_home_to_a_model(page: Any, served: str) -> None:
    page.goto(served)
    if page.is_phone:
        page.locator("label.md-header__button[for=__drawer]").click()
        page.locator(".md-nav--primary > .md-nav__list > .md-nav__item", has_text="Models").locator("a").first.click()
    else:
        page.locator(".md-tabs__link", has_text="Models").click()
    page.wait_for_url("**/model-coverage/")
    page.locator(".grid.cards").get_by_role("link", name="llama", exact=True).click()
    page.wait_for_url("**/llm/llama/")
    page.wait_for_function(DRAWN)
    assert page.locator("h1").inner_text().startswith("llama")


def test_search_finds_a_page(page: Any, served: str) -> None:
    page.goto(served)
    if page.is_phone:
        page.locator("label.md-header__button[for=__search]").click()
    page.locator("input.md-search__input").fill("these tensors would be lost")
    found = page.locator(".md-search-result__link").first
    found.wait_for()
    found.click()
    page.wait_for_url("**/troubleshooting/**")


def test_pictures_are_drawn(page: Any, served: str) -> None:
    for source in SAMPLE:
        page.goto(f"{served}model-coverage/{source.parent.name}/{source.stem}/")
        page.wait_for_function(DRAWN, timeout=20_000)


def test_pages_fit_their_width(page: Any, served: str) -> None:
    for address in ("", "guide/", "recipes/", "backends/", "api/layers/", "adr/", "model-coverage/llm/llama/"):
        page.goto(served + address)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, address


def test_the_palette_is_the_readers_and_can_be_switched(page: Any, served: str) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(served)
    page.wait_for_function("document.body.dataset.mdColorScheme == 'slate'")
    page.locator("form[data-md-component=palette] label:visible").click()
    page.wait_for_function("document.body.dataset.mdColorScheme == 'default'")
