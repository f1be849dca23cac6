"""The README for package indexes: relative links become links to the repository, or plain text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?!https?:|#)(?P<path>[^)]+)\)", re.DOTALL)


class IndexReadme(MetadataHookInterface):
    """Sets the metadata's README from README.md and the `Source` of `[project.urls]`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set `readme`."""
        readme = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        source = metadata.get("urls", {}).get("Source")
        text = with_links(readme, source=source, version=metadata["version"])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def with_links(readme: str, *, source: str | None, version: str) -> str:
    """Return the text with each relative link absolute, to the tag of the version; without a source, as plain text."""

    def replaced(link: re.Match[str]) -> str:
        if source is None:
            return "" if link["image"] else link["text"]
        kind = "raw" if link["image"] else "blob"
        return f"{link['image']}[{link['text']}]({source.rstrip('/')}/{kind}/v{version}/{link['path']})"

    return _LINK.sub(replaced, readme)
