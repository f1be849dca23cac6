"""Each whole app in the documents synthesises as it stands there."""

from __future__ import annotations

import json
import runpy
from functools import partial
from pathlib import Path

import aws_cdk
import pytest
from support.documents import DOCUMENTS, code_blocks, ids

APPS = [
    pytest.param(block.text, id=f"{ids(document)}-{number}")
    for document in DOCUMENTS
    for number, block in enumerate(code_blocks(document.read_text(encoding="utf-8")))
    if block.language == "python" and "= App(" in block.text
]

# A part that makes an app only to have a scope.
PARTS = [
    pytest.param(block.text, id=f"{ids(document)}-{number}")
    for document in DOCUMENTS
    for number, block in enumerate(code_blocks(document.read_text(encoding="utf-8")))
    if block.language == "python" and "(App()" in block.text
]


def test_the_documents_have_apps() -> None:
    assert len(APPS) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("text", APPS)
def test_an_app_in_the_documents_synthesises(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app.py").write_text(text, encoding="utf-8")
    context = {"aws:cdk:bundling-stacks": []}
    monkeypatch.setattr(aws_cdk, "App", partial(aws_cdk.App, outdir=str(tmp_path / "out"), context=context))
    left = runpy.run_path(str(tmp_path / "app.py"), run_name="__main__")
    left["app"].synth()
    templates = [json.loads(file.read_text(encoding="utf-8")) for file in tmp_path.glob("out/*.template.json")]
    types = {resource["Type"] for template in templates for resource in template["Resources"].values()}
    assert "AWS::DynamoDB::GlobalTable" in types


@pytest.mark.parametrize("text", PARTS)
def test_a_part_of_an_app_in_the_documents_runs(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "part.py").write_text(text, encoding="utf-8")
    context = {"aws:cdk:bundling-stacks": []}
    monkeypatch.setattr(aws_cdk, "App", partial(aws_cdk.App, outdir=str(tmp_path / "out"), context=context))
    left = runpy.run_path(str(tmp_path / "part.py"), run_name="__main__")
    assert left["stack"].node.children
