"""The documents: their places and parts."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])

_FENCE = re.compile(r'^\s*(`{3,})(\w*)(?: title="[^"]+")?\s*$')
_BLOCK = re.compile(
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$', re.DOTALL | re.MULTILINE
)
_HEADING = re.compile(r"^#{1,6} (.+)$")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Line:
    """One line of a document. `language` is that of the fenced block it stands in, None outside of one."""

    document: Path
    number: int
    text: str
    language: str | None

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.number}"

    @property
    def prose(self) -> str:
        """The text without code spans and addresses; empty inside a block of code."""
        if self.language is not None:
            return ""
        return re.sub(r"`[^`]*`|\]\([^)]*\)", "", self.text)


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block of code. A block with a title is the file of that name."""

    language: str
    title: str | None
    text: str


def code_blocks(text: str) -> list[CodeBlock]:
    """The fenced blocks of a document's text, in their order."""
    return [CodeBlock(block["language"], block["title"], block["text"]) for block in _BLOCK.finditer(text)]


def lines(document: Path) -> Iterator[Line]:
    """Every line of a document except the fences of its code blocks."""
    language: str | None = None
    fence = ""
    for number, text in enumerate(document.read_text().splitlines(), 1):
        match = _FENCE.match(text)
        if match and not fence:
            fence, language = match[1], match[2]
        elif fence and text.strip() == fence:
            fence, language = "", None
        else:
            yield Line(document, number, text, language)


def blocks(document: Path, *languages: str) -> Iterator[str]:
    """The fenced blocks of the given languages, whole."""
    previous, gathered = None, list[str]()
    for line in lines(document):
        if gathered and previous is not None and line.number != previous + 1:
            yield "\n".join(gathered)
            gathered = []
        if line.language in languages:
            gathered.append(line.text)
            previous = line.number
    if gathered:
        yield "\n".join(gathered)


def commands(document: Path) -> list[str]:
    """Every `secretfree` command of a document, in its order: in blocks, and in code spans that are whole commands."""
    found = []
    for line in lines(document):
        if line.language == "sh" and line.text.strip().startswith("secretfree "):
            found.append(line.text.strip())
        elif line.language is None:
            found += [span for span in re.findall(r"`(secretfree [^`]+)`", line.text) if " --" in span]
    return found


def links(document: Path) -> Iterator[tuple[Line, str]]:
    """Every link's target, with its line."""
    for line in lines(document):
        if line.language is None:
            for match in _LINK.finditer(line.text):
                yield line, match[1]


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    found: set[str] = set()
    for line in lines(document):
        if line.language is None and (match := _HEADING.match(line.text)):
            text = re.sub(r"[^\w\- ]", "", match[1].lower()).replace(" ", "-")
            anchor, count = text, 0
            while anchor in found:
                count += 1
                anchor = f"{text}-{count}"
            found.add(anchor)
    return found


def ids(document: Path) -> str:
    """A document's name in a test's id."""
    return str(document.relative_to(ROOT))
