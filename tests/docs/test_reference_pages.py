"""The pages that list options, causes and events list those that the code has."""

import ast
import re
from pathlib import Path

from secretfree.contract import AuditEventName
from secretfree.registry.admission import Refusal
from secretfree_cli.diagnose.finding import Cause
from secretfree_cli.output import ExitCode
from support.documents import ROOT

_CDK = ROOT / "cdk" / "cdk_iot_secretfree"
_ENDPOINTS = {"iot": "iot.api", "iot-data": "iot.data"}


def test_the_sample_has_the_context_keys_of_its_page() -> None:
    page = _page("reference/construct.md").partition("## The sample app")[2]
    keys = [field.replace("_", "-") for field in _fields(_CDK / "sample.py", "SampleOptions")]

    assert sorted(re.findall(r"^\| `secretfree:([a-z-]+)` \|", page, re.MULTILINE)) == sorted(keys)


def test_the_page_of_the_construct_names_every_argument() -> None:
    module = ast.parse((_CDK / "provisioning.py").read_text(encoding="utf-8"))
    arguments = next(
        node.args.kwonlyargs
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    )
    page = _page("reference/construct.md")

    assert [argument.arg for argument in arguments if not re.search(rf"\b{argument.arg}\b", page)] == []


def test_the_page_of_options_names_every_option_of_the_api() -> None:
    page = _page("reference/options.md").partition("## API")[2]

    assert [field for field in _fields(_CDK / "api_options.py", "ApiOptions") if f"`{field}" not in page] == []


def test_the_page_of_the_diagnosis_names_every_cause() -> None:
    page = _page("runbooks/diagnose.md").partition("## Causes")[2]
    named = set(re.findall(r"`([a-z0-9-]+)`", page)) | {f"certificate{end}" for end in re.findall(r"`(-[a-z]+)`", page)}

    assert [cause.value for cause in Cause if cause.value not in named] == []


def test_the_page_of_the_audit_trail_names_every_event_and_no_other() -> None:
    page = _page("guides/audit-trail.md").partition("## What is kept")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[a-z`, -]+) \| (?:registry|ledger) \|", page, re.MULTILINE)

    assert sorted(event for row in rows for event in row.split("`")[1::2]) == sorted(AuditEventName)


def test_the_page_of_enrolment_says_what_to_do_about_every_refusal_and_no_other() -> None:
    section = _page("guides/enrolment.md").partition("## Every reason of a refused row")[2].partition("\n## ")[0]

    assert sorted(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)) == sorted(Refusal)


def test_the_page_of_the_command_line_has_every_exit_code() -> None:
    section = _page("reference/command-line.md").partition("## Exit codes")[2]

    assert [int(code) for code in re.findall(r"^\| (\d) \|", section, re.MULTILINE)] == sorted(ExitCode)


def test_the_page_about_the_vpc_names_the_endpoint_of_every_service() -> None:
    runtime = (ROOT / "lambda_src" / "secretfree").rglob("*.py")
    called = {name for path in runtime for name in re.findall(r'client\("([a-z0-9-]+)"', path.read_text("utf-8"))}
    endpoints = {_ENDPOINTS.get(service, service) for service in called}

    assert {"dynamodb", "lambda", "s3"} <= called
    assert [endpoint for endpoint in sorted(endpoints) if f"`{endpoint}`" not in _page("guides/run-in-a-vpc.md")] == []


def _page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def _fields(file: Path, name: str) -> list[str]:
    module = ast.parse(file.read_text(encoding="utf-8"))
    found = next(node for node in module.body if isinstance(node, ast.ClassDef) and node.name == name)
    return [
        node.target.id for node in found.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]
