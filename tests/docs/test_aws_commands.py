"""Every command of the AWS CLI in a document names an operation and parameters that AWS has."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name
from support.documents import DOCUMENTS, ids, lines

_GLOBAL = frozenset({"--query", "--output", "--region", "--profile", "--endpoint-url", "--no-cli-pager"})
# Commands of the AWS CLI's own, which no service model has.
_OF_THE_CLI = frozenset({"aws s3 cp", "aws s3 ls", "aws sso login", "aws logs tail", "aws cloudformation deploy"})
_SPAN = re.compile(r"`(aws [^`]+)`")
_MODELS = botocore.session.Session().get_component("data_loader")


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_every_command_of_the_aws_cli_exists(document: Path) -> None:
    assert [f"{where}: {fault}" for where, text in _commands(document) if (fault := _fault(text))] == []


def test_a_command_that_does_not_exist_is_found() -> None:
    assert _fault("aws iot update-thing --thing-name x --remove-thing-type") is None
    assert _fault("aws iot adopt-thing --thing-name x") == "iot has no operation adopt-thing"
    assert _fault("aws iot update-thing --thing x") == "update-thing has no --thing"
    assert _fault("aws nothing list-things") == "no service nothing"


def _commands(document: Path) -> Iterator[tuple[str, str]]:
    """Each command with the place where it begins; a backslash at a line's end continues it."""
    where, begun = "", ""
    for line in lines(document):
        if line.language is None:
            yield from ((str(line), match[1]) for match in _SPAN.finditer(line.text) if match[1].count(" ") > 1)
            continue
        if line.language not in {"sh", "bash", "console"}:
            continue
        where = where if begun else str(line)
        text = begun + line.text.strip().removeprefix("$ ")
        begun = text.removesuffix("\\") if text.endswith("\\") else ""
        if not begun and text.startswith("aws "):
            yield where, text


def _fault(text: str) -> str | None:
    words = shlex.split(re.split(r" [|>] ", text)[0])
    if " ".join(words[:3]) in _OF_THE_CLI:
        return None
    _, service, operation, *rest = words
    if service not in _MODELS.list_available_services("service-2"):
        return f"no service {service}"
    model = _MODELS.load_service_model(service, "service-2")
    named = {xform_name(name, "-"): one for name, one in model["operations"].items()}
    if operation not in named:
        return f"{service} has no operation {operation}"
    shape = named[operation].get("input", {}).get("shape")
    members = model["shapes"][shape]["members"] if shape else {}
    known = _GLOBAL | {f"--{xform_name(name, '-')}" for name in members}
    unknown = [word for word in rest if word.startswith("--") and word.replace("--no-", "--") not in known]
    return f"{operation} has no {', '.join(unknown)}" if unknown else None
