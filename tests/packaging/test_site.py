"""The documentation site as a browser gets it: no dead link, nothing from another host, no page too wide."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from support.browser import BROWSERS, browser, overflowing
from support.documents import ROOT

pytestmark = pytest.mark.packaging
DESKTOP, PHONE = 1280, 390
_LOADING = {"img": "src", "script": "src", "link": "href", "source": "src", "iframe": "src"}


class Page(HTMLParser):
    """The links of a page, what it loads, and the anchors that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attributes if value is not None}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in _LOADING and _LOADING[tag] in found and found.get("rel") != "canonical":
            self.loads.append(found[_LOADING[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    mkdocs = Path(sys.executable).with_name("mkdocs")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [mkdocs, "build", "--quiet", "--site-dir", folder]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=280)
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {
        path.relative_to(site).as_posix(): Page(path.read_text(encoding="utf-8"))
        for path in sorted(site.rglob("*.html"))
        if path.name != "404.html"  # its links are those of the root
    }


def test_the_site_has_every_page(pages: dict[str, Page]) -> None:
    documents = {path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in ROOT.glob("docs/**/*.md")}
    assert {name.replace("README.html", "index.html") for name in documents} <= set(pages)


def test_no_link_is_dead(site: Path, pages: dict[str, Page]) -> None:
    dead = []
    for name, page in pages.items():
        for link in (*page.links, *page.loads):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (site / name).parent / unquote(parts.path) if parts.path else site / name
            key = os.path.relpath(target, site)
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and key in pages and anchor not in pages[key].anchors):
                dead.append(f"{name}: {link}")
    assert dead == []


def test_nothing_is_loaded_from_another_host(pages: dict[str, Page]) -> None:
    assert {load for page in pages.values() for load in page.loads if urlsplit(load).netloc} == set()


def test_no_page_is_wider_than_its_window(site: Path, pages: dict[str, Page]) -> None:
    executable = browser()
    if executable is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    assert overflowing(executable, site, sorted(pages), [DESKTOP, PHONE]) == []


def test_a_page_that_is_too_wide_is_found(tmp_path: Path) -> None:
    executable = browser()
    if executable is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    (tmp_path / "wide.html").write_text("<!doctype html><p style='width: 500px'>wide")
    assert overflowing(executable, tmp_path, ["wide.html"], [PHONE, DESKTOP]) == ["wide.html 390: laid out in 508"]
