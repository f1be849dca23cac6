"""Every document is readable, and true where a machine can tell: links, commands, imports, paths, plain words."""

import ast
import re
import shlex
import textwrap
from pathlib import Path

import click
import pytest
from secretfree_cli.main import main
from support.documents import DOCUMENTS, ROOT, anchors, blocks, ids, lines, links
from support.plain_words import phrases_to_avoid

LONGEST_LINE = 120
PAGES = [document for document in DOCUMENTS if document.name != "CHANGELOG.md"]  # which speaks of the past
_PATH = re.compile(r"`((?:cdk|lambda_src|cli|device|tests|docs|examples|benchmarks|requirements)/[\w./-]+)`")
_COMMAND = re.compile(r"`(secretfree [^`]+)`")


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_no_line_is_longer_than_a_screen(document: Path) -> None:
    assert [str(line) for line in lines(document) if len(line.text) > LONGEST_LINE] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_the_prose_avoids_the_phrases_of_the_style_page(document: Path) -> None:
    found = [
        f"{line}: {match[0]}"
        for line in lines(document)
        for phrase in phrases_to_avoid()
        for match in phrase.finditer(line.prose)
    ]

    assert found == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_every_relative_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    dead = []
    for line, target in links(document):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path) if path else document
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(f"{line}: {target}")

    assert dead == []


@pytest.mark.parametrize("document", PAGES, ids=ids)
def test_every_path_that_is_named_exists(document: Path) -> None:
    missing = [
        f"{line}: {match[1]}"
        for line in lines(document)
        for match in _PATH.finditer(line.text)
        if line.language is None and not (ROOT / match[1]).exists()
    ]

    assert missing == []


@pytest.mark.parametrize("document", PAGES, ids=ids)
def test_every_command_and_option_that_is_named_exists(document: Path) -> None:

    assert [f"{where}: {fault}" for where, text in _commands(document) if (fault := _fault(text))] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_every_python_example_compiles_and_imports_what_the_construct_exports(document: Path) -> None:
    exported = _exported()
    unknown = [
        alias.name
        for block in blocks(document, "python")
        for node in ast.walk(ast.parse(textwrap.dedent(block)))
        if isinstance(node, ast.ImportFrom) and node.module == "cdk_iot_secretfree"
        for alias in node.names
        if alias.name not in exported
    ]

    assert unknown == []


def test_every_page_is_reached_from_the_index() -> None:
    indexes = [ROOT / "docs" / "README.md", ROOT / "docs" / "runbooks" / "README.md"]
    linked = {(index.parent / target.partition("#")[0]).resolve() for index in indexes for _, target in links(index)}
    pages = [page for page in (ROOT / "docs").rglob("*.md") if page != indexes[0]]

    assert [ids(page) for page in pages if page.resolve() not in linked] == []


def _commands(document: Path) -> list[tuple[str, str]]:
    found = []
    for line in lines(document):
        if line.language in {"sh", "console", "bash"}:
            text = line.text.split(" #")[0].strip().removeprefix("$ ")
            if text.startswith("secretfree "):
                found.append((str(line), text))
        elif line.language is None:
            found += [(str(line), match[1]) for match in _COMMAND.finditer(line.text)]
    return found


def _fault(text: str) -> str | None:
    """What is wrong with a command line, as far as its names go: `secretfree show DEVICE_ID --json`."""
    words = shlex.split(re.split(r" [|>] ", text)[0])[1:]
    command: click.Command = main
    context = click.Context(main, info_name="secretfree")
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        if words[0] == "...":
            return None
        step = command.get_command(context, words[0])
        if step is None:
            return f"no command {words[0]}"
        command, words = step, words[1:]
    known = {name for parameter in command.get_params(context) for name in (*parameter.opts, *parameter.secondary_opts)}
    given = [word.split("=")[0] for word in words if word.startswith("-") and word != "-"]
    unknown = [name for name in given if name not in known]
    return f"no option {', '.join(unknown)} in `{text}`" if unknown else None


def _exported() -> set[str]:
    module = ast.parse((ROOT / "cdk" / "cdk_iot_secretfree" / "__init__.py").read_text())
    return {
        alias.asname or alias.name for node in module.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
