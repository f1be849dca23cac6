"""The files of the page, from the package: its own and the barcode reader's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

_FILES: Final[Mapping[str, tuple[str, str]]] = {
    "/": ("page/index.html", "text/html; charset=utf-8"),
    "/page.css": ("page/page.css", "text/css; charset=utf-8"),
    "/page.js": ("page/page.js", "text/javascript; charset=utf-8"),
    "/zxing_reader.js": ("barcode_reader/zxing_reader.js", "text/javascript; charset=utf-8"),
    "/zxing_reader.wasm": ("barcode_reader/zxing_reader.wasm", "application/wasm"),
}


@dataclass(frozen=True)
class PageFile:
    """One file."""

    content: bytes
    media_type: str


def page_files() -> Mapping[str, PageFile]:
    """Return the files by their paths on the server. They contain no secrets: any browser may read them."""
    folder = resources.files("secretfree_cli.factory.phone")
    return {path: PageFile(folder.joinpath(name).read_bytes(), kind) for path, (name, kind) in _FILES.items()}
