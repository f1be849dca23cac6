"""Each command and each example of the documents is run by a test, or stands here with the reason why not."""

import re

import pytest
from support.documented_commands import ELSEWHERE, ON_AWS, WHOLE_PAGES, commands, named_files, runs_elsewhere
from support.documents import DOCUMENTS, ROOT, blocks, code_blocks, ids

_E2E = (ROOT / "tests" / "e2e" / "test_e2e_documented_commands.py").read_text(encoding="utf-8")
# Parts of an app that the reader has. `tests/docs/test_documents.py` compiles them and checks what they import.
_PARTS_OF_AN_APP = {
    "docs/guides/ids-that-never-change.md": "REGISTRY_TABLE and STREAM_ARN are the reader's",
    "docs/guides/manifest-import.md": "one line; examples/manifest-import is the whole app",
    "docs/guides/restoring-a-table.md": "the restored table is the reader's",
    "docs/guides/several-regions.md": "the function of examples/two-regions, which is deployed",
}
# Examples that other tests take from the page.
_TAKEN_FROM_THE_PAGE = {
    "docs/runbooks/compromised-ca.md": "tests/e2e/test_e2e_rotation.py",
    "docs/runbooks/rotating-a-ca.md": "tests/e2e/test_e2e_rotation.py",
    "docs/guides/test-your-own-app.md": "tests/packaging/test_pytest_plugin.py",
    "docs/reference/device-clients.md": "tests/e2e/test_e2e_device_clients.py",
    "docs/reference/device-library.md": "tests/e2e/test_e2e_device_clients.py",
}


def test_every_command_has_a_test_that_runs_it() -> None:
    ready = ("secretfree ", "openssl ", "curl ", "URL=")
    unclaimed = [
        f"{one.where}: {one.text}"
        for one in commands()
        if not one.text.startswith(ON_AWS) and runs_elsewhere(one) is None and not one.text.startswith(ready)
    ]

    assert unclaimed == []


def test_every_claim_names_a_file_and_is_of_use() -> None:
    texts = [one.text for one in commands()]

    assert [file for file in named_files() if not file.is_file()] == []
    assert [form for form in ELSEWHERE if not any(re.match(form, text) for text in texts)] == []


@pytest.mark.parametrize(("page", "test"), [*WHOLE_PAGES.items(), *_TAKEN_FROM_THE_PAGE.items()])
def test_a_test_that_types_a_page_reads_that_page(page: str, test: str) -> None:
    assert page.rpartition("/")[2] in (ROOT / test).read_text(encoding="utf-8")


def test_every_python_example_is_run_or_is_a_part_of_an_app() -> None:
    run = {ids(document) for document in DOCUMENTS if any("App(" in block for block in blocks(document, "python"))}
    unclaimed = [
        ids(document)
        for document in DOCUMENTS
        if any("App(" not in block for block in blocks(document, "python"))
        and ids(document) not in _PARTS_OF_AN_APP | _TAKEN_FROM_THE_PAGE
    ]

    assert unclaimed == []
    assert run


def test_every_file_in_a_document_is_run_by_a_test_of_its_page() -> None:
    titled = {
        ids(document)
        for document in DOCUMENTS
        if any(block.title for block in code_blocks(document.read_text(encoding="utf-8")))
    }
    apps = {ids(document) for document in DOCUMENTS if any("= App(" in block for block in blocks(document, "python"))}

    assert titled - apps - set(WHOLE_PAGES) - set(_TAKEN_FROM_THE_PAGE) == set()


def test_the_remaining_commands_run_in_a_cloud() -> None:
    assert "runs_elsewhere(command)" in _E2E
