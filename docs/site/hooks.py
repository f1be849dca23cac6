"""Hooks of mkdocs: the pages at the repository's root are pages of the site, and links between both hold.

The files stay readable in the repository: no page is copied there, and no page is written for the site alone.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

PROJECT_PAGES = {
    "README.md": "project/readme.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "CHANGELOG.md": "project/changelog.md",
}
"""Pages at the repository's root, and where the site shows them."""

_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the root's pages."""
    root = Path(config.config_file_path).parent
    for name, page in PROJECT_PAGES.items():
        files.append(File.generated(config, page, content=(root / name).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 -- mkdocs passes them by name
    """Rewrite the links that leave the folder of documents, or come from a page outside it.

    A link to a file that the site does not have (code, a licence) becomes plain text.
    """
    shown = page.file.src_uri
    sources = {site: source for source, site in PROJECT_PAGES.items()}
    source = sources.get(shown) or f"docs/{shown}"

    def rewritten(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link["path"]))
        target = PROJECT_PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if target is None:
            return link["text"]
        return f"[{link['text']}]({posixpath.relpath(target, posixpath.dirname(shown))}{link['anchor'] or ''})"

    return _LINK.sub(rewritten, markdown)
