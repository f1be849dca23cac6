"""Which cloud and stack a command talks to."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace

import boto3
import click
import pytest
from click.testing import CliRunner
from moto import mock_aws
from secretfree_cli.local.processes import ServerProcess, start_server
from secretfree_cli.local.state import CloudRecord, StateFolder
from secretfree_cli.output import CliError, ExitCode
from secretfree_cli.stack_outputs import DeployedStack
from secretfree_cli.target import Target, local_api_url, local_target, resolve_target, target_options

URL = "https://abc123.execute-api.eu-west-1.amazonaws.com/v1/"
OUTPUTS = {
    "ProvisioningUrl": URL,
    "RegistryTable": "registry",
    "LedgerTable": "ledger",
    "IotEndpoint": "prefix-ats.iot.eu-west-1.amazonaws.com",
    "AuthorityArn": "arn:aws:acm-pca:eu-west-1:123456789012:certificate-authority/x",
    "Product": "widget",
    "MatchPolicy": "PUBLIC_KEY",
    "DeviceProfile": "TI_CC32XX",
    "ThingTypeName": "widget-type",
}


@pytest.fixture(autouse=True)
def account(monkeypatch, tmp_path):
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("SECRETFREE_PROJECT", str(tmp_path))
    with mock_aws():
        yield


def make_stack(name: str, outputs: dict[str, str] = OUTPUTS) -> None:
    template = {
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {key: {"Value": value} for key, value in outputs.items()},
    }
    boto3.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(template))


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[ServerProcess]:
    """A server that runs, and does nothing."""
    started = start_server(
        "aws",
        [sys.executable, "-c", "import time; time.sleep(300)"],
        environment=os.environ,
        log=tmp_path_factory.mktemp("server") / "log",
    )
    yield started
    started.stop()


def running_cloud(folder: StateFolder, server: ServerProcess, **changes: object) -> CloudRecord:
    """A record of a cloud whose server runs."""
    made = CloudRecord(
        endpoint_url="http://127.0.0.1:4566",
        private_ca_endpoint_url="http://127.0.0.1:4567",
        region="eu-west-1",
        account="000000000000",
        access_key_id="test",
        secret_access_key="test",
        mqtt_host="127.0.0.1",
        mqtt_port=8884,
        broker_ca="/broker.pem",
        tls_url="https://localhost:5",
        tls_ca="/tls.pem",
        ca_certificate="/ca.pem",
        authority_arn="arn:local",
        processes=(server,),
        **changes,
    )
    folder.create()
    folder.write(made)
    return made


def test_a_stack_of_the_account_is_read_from_its_outputs():
    make_stack("Widgets")
    target = resolve_target(stack="Widgets")
    assert target.url == URL.rstrip("/")
    assert (target.registry_table, target.ledger_table) == ("registry", "ledger")
    assert (target.match_policy, target.device_profile, target.product) == ("PUBLIC_KEY", "TI_CC32XX", "widget")
    assert (target.mqtt_host, target.mqtt_port, target.broker_ca) == (OUTPUTS["IotEndpoint"], 8883, None)
    assert target.thing_type == "widget-type"


class TestSeveralProductLines:
    @pytest.fixture(autouse=True)
    def stack(self):
        second = {"Product": "gad-get", "RegistryTable": "second", "ProvisioningUrl": URL}
        make_stack("Lines", OUTPUTS | {f"{key}GadGet": value for key, value in second.items()})

    def test_each_is_found_by_its_product(self):
        first, second = (resolve_target(stack="Lines", product=product) for product in ("widget", "gad-get"))
        assert (first.registry_table, first.ledger_table) == ("registry", "ledger")
        assert (second.registry_table, second.product, second.ledger_table) == ("second", "gad-get", None)

    def test_an_output_of_the_stacks_own_is_no_product_line(self):
        make_stack("Own", OUTPUTS | {"ProductTable": "table"})
        assert resolve_target(stack="Own").product == "widget"

    def test_none_is_taken_for_the_other(self):
        with pytest.raises(click.UsageError, match="--product, one of gad-get, widget"):
            resolve_target(stack="Lines")
        with pytest.raises(CliError, match="no product line 'gadget'") as raised:
            resolve_target(stack="Lines", product="gadget")
        assert raised.value.exit_code == ExitCode.NOT_FOUND

    def test_a_table_has_no_product_line(self):
        with pytest.raises(click.UsageError, match="--product"):
            resolve_target(table="registry", product="widget")


def test_a_stack_that_is_not_in_this_region_names_the_options_that_choose_the_place():
    make_stack("Widgets")
    with pytest.raises(CliError, match="no stack 'Widgets' in AWS, Region ap-south-1") as raised:
        resolve_target(stack="Widgets", region="ap-south-1")
    assert "--region" in raised.value.hint


def test_without_any_option_it_is_the_stack_secretfree():
    make_stack("SecretFree")
    assert resolve_target().stack_name == "SecretFree"


def test_without_any_option_a_running_local_cloud_comes_first(tmp_path, monkeypatch, server):
    running_cloud(StateFolder(tmp_path), server, stack_name="SecretFree")
    monkeypatch.setattr("secretfree_cli.target.deployed_stack", lambda *_: DeployedStack(None, OUTPUTS))
    target = resolve_target()
    assert target.is_local
    assert target.url == "http://127.0.0.1:4566/_aws/execute-api/abc123/v1"
    assert (target.mqtt_host, target.mqtt_port) == ("127.0.0.1", 8884)


def test_a_named_stack_is_the_accounts_even_with_a_local_cloud_up(tmp_path, server):
    running_cloud(StateFolder(tmp_path), server, stack_name="SecretFree")
    make_stack("Widgets")
    assert not resolve_target(stack="Widgets").is_local


def test_a_table_is_a_target_of_its_own():
    target = resolve_target(table="registry")
    assert (target.stack_name, target.registry_table, target.url) == (None, "registry", None)
    with pytest.raises(CliError) as refused:
        target.require_url()
    assert refused.value.exit_code == ExitCode.NOT_FOUND


def test_a_missing_stack_is_not_found():
    with pytest.raises(CliError) as missing:
        resolve_target(stack="Nowhere")
    assert missing.value.exit_code == ExitCode.NOT_FOUND


def test_a_stack_without_the_products_outputs_says_which_is_missing():
    make_stack("Other", {"Something": "else"})
    with pytest.raises(CliError, match="RegistryTable"):
        resolve_target(stack="Other")


def test_local_where_nothing_is_up_is_not_found():
    with pytest.raises(CliError) as missing:
        resolve_target(local=True)
    assert missing.value.exit_code == ExitCode.NOT_FOUND


def test_local_where_nothing_is_deployed_says_so(tmp_path, server):
    running_cloud(StateFolder(tmp_path), server)
    with pytest.raises(CliError, match="nothing is deployed"):
        resolve_target(local=True)


@pytest.mark.parametrize(
    "options",
    [
        {"local": True, "profile": "me"},
        {"local": True, "endpoint_url": "http://127.0.0.1:1"},
        {"table": "registry", "stack": "Widgets"},
    ],
)
def test_options_that_contradict_each_other_are_a_usage_error(options):
    with pytest.raises(click.UsageError):
        resolve_target(**options)


def test_a_missing_region_is_said(monkeypatch):
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    with pytest.raises(CliError, match="region"):
        resolve_target(stack="Widgets")


def test_an_endpoint_given_is_the_one_that_clients_use():
    target = resolve_target(table="registry", endpoint_url="http://127.0.0.1:9")
    assert target.client("dynamodb").meta.endpoint_url == "http://127.0.0.1:9"


def test_the_local_private_ca_answers_at_an_endpoint_of_its_own(tmp_path, server):
    target = local_target(running_cloud(StateFolder(tmp_path), server), table="registry")
    assert target.client("acm-pca").meta.endpoint_url == "http://127.0.0.1:4567"
    assert target.client("iot").meta.endpoint_url == "http://127.0.0.1:4566"


def test_a_url_that_is_no_rest_apis_is_refused():
    with pytest.raises(CliError, match="execute-api"):
        local_api_url("https://example.com/v1", "http://127.0.0.1:1")


def test_aws_region_counts_before_the_default_region(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "ap-south-1")
    assert resolve_target(table="registry").region == "ap-south-1"
    assert resolve_target(table="registry", region="us-east-2").region == "us-east-2"


@pytest.mark.parametrize("left_behind", ["record", "memory"])
def test_a_project_whose_local_cloud_is_down_never_means_aws(left_behind, tmp_path, server):
    make_stack("SecretFree")
    folder = StateFolder(tmp_path)
    record = running_cloud(folder, server, stack_name="SecretFree")
    folder.remember(stackName="SecretFree")
    if left_behind == "record":
        folder.write(replace(record, processes=(ServerProcess("aws", 2**30, "long ago", "log"),)))
    else:
        folder.forget()
    with pytest.raises(CliError, match="not up") as refused:
        resolve_target()
    assert refused.value.exit_code == ExitCode.NOT_FOUND
    assert resolve_target(stack="SecretFree").account == "123456789012"


def test_the_local_clouds_endpoint_in_the_environment_means_the_local_cloud(tmp_path, monkeypatch, server):
    record = running_cloud(StateFolder(tmp_path), server, stack_name="SecretFree")
    monkeypatch.setenv("AWS_ENDPOINT_URL", record.endpoint_url)
    assert resolve_target(table="registry").is_local


def test_the_place_is_an_account_a_custom_endpoint_or_the_local_cloud(tmp_path, monkeypatch, server):
    make_stack("Widgets")
    assert resolve_target(stack="Widgets").place == "AWS account 123456789012, Region eu-west-1"
    assert resolve_target(table="registry").place == "AWS account 123456789012, Region eu-west-1"
    given = resolve_target(table="registry", endpoint_url="http://127.0.0.1:9").place
    assert given == "the custom endpoint http://127.0.0.1:9, Region eu-west-1"
    local = local_target(running_cloud(StateFolder(tmp_path), server), table="registry")
    assert local.place == "the local cloud at http://127.0.0.1:4566, Region eu-west-1"
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:8")
    assert "custom endpoint http://127.0.0.1:8" in resolve_target(table="registry").place


@pytest.mark.parametrize("url", ["127.0.0.1:4566", "ftp://host", "http://", "http://host:99999", "nonsense"])
def test_an_endpoint_that_is_no_url_is_a_usage_error(url):
    with pytest.raises(click.UsageError, match="accepted: http"):
        resolve_target(table="registry", endpoint_url=url)


def test_an_endpoint_in_the_environment_that_is_no_url_names_the_variable(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "127.0.0.1:4566")
    with pytest.raises(CliError) as refused:
        resolve_target(table="registry")
    assert "AWS_ENDPOINT_URL" in str(refused.value.hint)


def test_the_options_give_a_command_its_target_and_tell_which_it_is():
    make_stack("Widgets")

    @click.command()
    @target_options
    def show(target: Target) -> None:
        click.echo(target.registry_table)

    result = CliRunner().invoke(show, ["--stack", "Widgets"])
    assert result.stdout == "registry\n"
    assert "stack Widgets" in result.stderr
