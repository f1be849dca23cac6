"""Docstrings, comments and messages avoid the phrases of the style page too."""

import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.documents import ROOT
from support.plain_words import phrases_to_avoid

_PACKAGES = ("cdk", "lambda_src", "cli", "device")
_FOLDERS = (*_PACKAGES, "tests", "benchmarks", "examples")
_FILES = sorted(path for folder in _FOLDERS for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", _FOLDERS)
def test_the_prose_of_the_code_avoids_the_phrases_of_the_style_page(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {match[0]}"
        for path in _FILES
        if path.is_relative_to(ROOT / folder)
        for line, text in _prose(path, messages=folder in _PACKAGES)
        for phrase in phrases_to_avoid()
        for match in phrase.finditer(text)
    ]

    assert found == []


def _prose(path: Path, *, messages: bool) -> Iterator[tuple[int, str]]:
    """Comments and docstrings, and with `messages` every other text of several words; line ends as spaces."""
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            kind = tokenize.tok_name[token.type]
            is_docstring = kind == "STRING" and token.string.endswith('"""')
            is_message = kind in {"STRING", "FSTRING_MIDDLE"} and messages and " " in token.string
            if kind == "COMMENT" or is_docstring or is_message:
                yield token.start[0], re.sub(r"\s+", " ", re.sub(r"`[^`]*`", "", token.string))
