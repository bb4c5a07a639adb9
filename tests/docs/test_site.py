"""The site builds strictly, holds every page, links to what is there, and asks no other server for anything."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.codegen.explain.flowchart import loose_ends, read
from tests.docs.newcomer import BLOCK
from tests.docs.site import ROOT, Site, build

DOCS = ROOT / "docs"
SOURCES = sorted(DOCS.rglob("*.md"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    build(folder)
    return Site(folder)


def address(source: Path) -> str:
    place = source.relative_to(DOCS).with_suffix("").as_posix()
    name = place.removesuffix("README").removesuffix("index")
    return name if not name or name.endswith("/") else f"{name}/"


def test_every_source_is_a_page(site: Site) -> None:
    assert len(SOURCES) > 180
    assert {address(source) for source in SOURCES} <= site.pages.keys()


def test_no_link_is_broken(site: Site) -> None:
    links = [(page, target) for page, found in site.pages.items() for target in {*found.links, *found.loaded}]
    assert len(links) > 5_000
    assert [(page, target) for page, target in links if page != "404.html" and site.broken(page, target)] == []


def test_a_broken_link_would_be_found(site: Site) -> None:
    assert site.broken("guide/", "../nowhere/") and site.broken("guide/", "../recipes/#nowhere")
    assert not site.broken("guide/", "../recipes/#lora")


def test_nothing_is_asked_of_another_server(site: Site) -> None:
    loaded = {target for page in site.pages.values() for target in page.loaded}
    assert {target for target in loaded if urlsplit(target).netloc} == set()


def test_pages_with_a_picture_bring_mermaid(site: Site) -> None:
    for source in SOURCES:
        pictures = [block for kind, block in BLOCK.findall(source.read_text(encoding="utf-8")) if kind == "mermaid"]
        brings = any("mermaid" in target for target in site.pages[address(source)].loaded)
        assert brings == bool(pictures), source
        if "model-coverage" in source.parts:
            assert [picture for picture in pictures if loose_ends(read(picture))] == []


def test_every_page_can_be_searched_for(site: Site) -> None:
    entries = json.loads((site.folder / "search/search_index.json").read_text(encoding="utf-8"))["docs"]
    assert {entry["location"].partition("#")[0] for entry in entries} >= {address(source) for source in SOURCES}
    titles = {entry["title"] for entry in entries}
    assert {"llama", "LoRA", "NeMoAutoModelForCausalLM", "RMSNorm", "Troubleshooting"} <= titles


def test_every_model_is_in_the_gallery_and_in_the_navigation(site: Site) -> None:
    gallery = site.pages["model-coverage/"]
    models = {spec.stem for spec in (ROOT / "specs").glob("*.yaml")}
    assert {link.rstrip("/").rpartition("/")[2] for link in gallery.links} >= models


def test_docstrings_became_pages(site: Site) -> None:
    anchors = {anchor for page, found in site.pages.items() if page.startswith("api/") for anchor in found.anchors}
    assert "nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained" in anchors
    assert "nemo_automodel.components.moe.experts.GroupedExperts" in anchors
    assert "nemo_automodel.recipes.finetune.finetune" in anchors
