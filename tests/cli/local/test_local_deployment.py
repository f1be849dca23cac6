"""Deploying with the CDK CLI: its arguments, and its output when it fails. Here it is a script that takes notes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import boto3
import pytest
from moto import mock_aws
from secretfree_cli.local.bootstrap import ensure_bootstrap, template_of
from secretfree_cli.local.deployment import Deployment, deploy
from secretfree_cli.local.state import CloudRecord, StateFolder
from secretfree_cli.output import CliError, ExitCode

RECORD = CloudRecord(
    endpoint_url="http://127.0.0.1:1",
    private_ca_endpoint_url="http://127.0.0.1:2",
    region="us-east-1",
    account="000000000000",
    access_key_id="test",
    secret_access_key="test",
    mqtt_host="127.0.0.1",
    mqtt_port=3,
    broker_ca="broker.pem",
    tls_url="https://localhost:5",
    tls_ca="/tls.pem",
    ca_certificate="ca.pem",
    authority_arn="arn:ca",
    processes=(),
)
CDK = """#!{python}
import json, os, sys
from pathlib import Path
Path("told.json").write_text(json.dumps({{"arguments": sys.argv[1:], "environment": dict(os.environ)}}))
arguments = sys.argv[1:]
outputs = {outputs!r}
if outputs is None:
    sys.exit("Resource X failed to create")
Path(arguments[arguments.index("--outputs-file") + 1]).write_text(json.dumps(outputs))
"""


@pytest.fixture
def folder(tmp_path) -> StateFolder:
    made = StateFolder(tmp_path)
    made.create()
    return made


def make_app(folder: StateFolder, outputs: dict[str, dict[str, str]] | None) -> Path:
    cdk = folder.project / "node_modules" / ".bin" / "cdk"
    cdk.parent.mkdir(parents=True)
    cdk.write_text(CDK.format(python=sys.executable, outputs=outputs))
    cdk.chmod(0o755)
    (folder.project / "cdk.json").write_text("{}")
    return folder.project


def told(folder: StateFolder) -> dict[str, object]:
    return json.loads((folder.project / "told.json").read_text())


def context_of(arguments: list[str]) -> dict[str, str]:
    pairs = [arguments[index + 1] for index, part in enumerate(arguments) if part == "--context"]
    return dict(pair.split("=", 1) for pair in pairs)


def test_the_products_stack_comes_first(folder):
    app = make_app(folder, {"Alarms": {"Topic": "t"}, "SecretFree": {"ProvisioningUrl": "u"}})
    assert deploy(Deployment(app), [RECORD], folder) == [["SecretFree", "Alarms"]]


def test_the_app_gets_the_local_clouds_context_and_options_override_it(folder):
    app = make_app(folder, {})
    deploy(Deployment(app, stack_name="Two", context={"secretfree:removal": "retain", "other": "1"}), [RECORD], folder)
    assert context_of(told(folder)["arguments"]) == {
        "secretfree:ca-arn": "arn:ca",
        "secretfree:local": "true",
        "secretfree:synthesizer": "cli-credentials",
        "secretfree:removal": "retain",
        "secretfree:stack-name": "Two",
        "other": "1",
    }


def test_the_cdk_cli_sees_the_local_cloud_and_not_the_operators_account(folder, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "real")
    deploy(Deployment(make_app(folder, {})), [RECORD], folder)
    environment = told(folder)["environment"]
    assert "AWS_PROFILE" not in environment
    assert "AWS_SESSION_TOKEN" not in environment
    assert environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert environment["AWS_ENDPOINT_URL_S3"] == "http://127.0.0.1:1"
    assert environment["PATH"].startswith(str(Path(sys.executable).parent))


def test_a_failure_shows_what_the_cdk_cli_said_last(folder):
    app = make_app(folder, None)
    with pytest.raises(CliError) as failed:
        deploy(Deployment(app), [RECORD], folder)
    assert "Resource X failed to create" in failed.value.message
    assert failed.value.hint


def test_a_missing_cdk_cli_says_how_to_get_it(folder, monkeypatch):
    (folder.project / "cdk.json").write_text("{}")
    monkeypatch.setenv("PATH", str(folder.project))
    with pytest.raises(CliError, match="CDK CLI was not found") as missing:
        deploy(Deployment(folder.project), [RECORD], folder)
    assert "npm" in missing.value.hint


@mock_aws
def test_the_bootstrap_stack_is_made_once_and_its_bucket_is_private():
    here = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
    cloudformation = boto3.client("cloudformation", **here)
    for _ in range(2):
        ensure_bootstrap(cloudformation, account="000000000000", region="us-east-1")
    ensure_bootstrap(cloudformation, account="000000000000", region="us-east-1", qualifier="own")
    assert {stack["StackName"] for stack in cloudformation.describe_stacks()["Stacks"]} == {
        "CDKToolkit",
        "CDKToolkit-own",
    }
    s3 = boto3.client("s3", **here)
    names = {f"cdk-{qualifier}-assets-000000000000-us-east-1" for qualifier in ("hnb659fds", "own")}
    assert {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]} == names
    template = template_of(account="000000000000", region="us-east-1", qualifier="own")
    assert all(template["Resources"]["StagingBucket"]["Properties"]["PublicAccessBlockConfiguration"].values())
    parameter = boto3.client("ssm", **here).get_parameter(Name="/cdk-bootstrap/hnb659fds/version")["Parameter"]
    assert int(parameter["Value"]) >= 6  # what the default synthesizer requires


@pytest.mark.parametrize(
    ("document", "context", "expected"),
    [
        ({}, {}, "hnb659fds"),
        ({"context": {"@aws-cdk/core:bootstrapQualifier": "own"}}, {}, "own"),
        ({"context": {"@aws-cdk/core:bootstrapQualifier": "own"}}, {"@aws-cdk/core:bootstrapQualifier": "x"}, "x"),
    ],
)
def test_the_apps_own_bootstrap_qualifier_counts(tmp_path, document, context, expected):
    (tmp_path / "cdk.json").write_text(json.dumps(document))
    assert Deployment(tmp_path, context=context).bootstrap_qualifier == expected


@pytest.mark.parametrize("text", ["", "{", b"\xff"])
def test_a_broken_cdk_json_is_named(tmp_path, text):
    (tmp_path / "cdk.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CliError, match=r"cdk\.json"):
        _ = Deployment(tmp_path).bootstrap_qualifier


def test_a_folder_without_an_app_is_not_found(tmp_path):
    with pytest.raises(CliError) as missing:
        _ = Deployment(tmp_path).bootstrap_qualifier
    assert missing.value.exit_code == ExitCode.NOT_FOUND
