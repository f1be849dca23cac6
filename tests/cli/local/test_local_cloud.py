"""The local cloud's servers for real, without a deployment: up, what is there, down, up again."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import ssl
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner
from cryptography import x509
from secretfree_cli.local.cloud import bring_down, bring_up
from secretfree_cli.local.commands import local
from secretfree_cli.local.state import CloudRecord, StateFolder
from secretfree_cli.output import CliError, ExitCode
from support.processes import is_alive

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("local-cloud")]  # one process for all of them


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> StateFolder:
    return StateFolder(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def cloud(folder):
    record, was_up = bring_up(folder)
    assert not was_up
    yield record
    bring_down(folder)


@pytest.fixture
def run(folder, monkeypatch):
    monkeypatch.setenv("SECRETFREE_PROJECT", str(folder.project))
    return lambda *arguments: CliRunner().invoke(local, arguments)


def client(cloud: CloudRecord, service: str, *, key: str | None = None, secret: str | None = None):
    return boto3.client(
        service,
        endpoint_url=cloud.private_ca_endpoint_url if service == "acm-pca" else cloud.endpoint_url,
        region_name=cloud.region,
        aws_access_key_id=key or cloud.access_key_id,
        aws_secret_access_key=secret or cloud.secret_access_key,
    )


def test_up_twice_is_the_same_cloud(cloud, folder):
    record, was_up = bring_up(folder)
    assert was_up
    assert record == cloud


def test_its_root_ca_is_active_and_its_certificate_is_on_disk(cloud):
    described = client(cloud, "acm-pca").describe_certificate_authority(CertificateAuthorityArn=cloud.authority_arn)
    assert described["CertificateAuthority"]["Status"] == "ACTIVE"
    assert described["CertificateAuthority"]["CertificateAuthorityConfiguration"]["KeyAlgorithm"] == "EC_prime256v1"
    certificate = x509.load_pem_x509_certificate(Path(cloud.ca_certificate).read_bytes())
    assert certificate.public_key().curve.name == "secp256r1"


def test_both_emulators_speak_of_one_account(cloud):
    account = client(cloud, "sts").get_caller_identity()["Account"]
    assert cloud.authority_arn.split(":")[4] == account == cloud.account


def test_the_operators_key_may_do_anything_and_an_unknown_one_nothing(cloud):
    assert client(cloud, "iam").list_roles()["Roles"] is not None
    with pytest.raises(ClientError):
        client(cloud, "iam", key="AKIAUNKNOWNUNKNOWN00").list_roles()  # pragma: allowlist secret


def test_the_broker_is_the_one_its_ca_vouches_for_and_takes_nobody_without_a_certificate(cloud):
    context = ssl.create_default_context(cafile=cloud.broker_ca)
    connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x"  # MQTT 3.1.1 section 3.1, client id "x"
    with (
        socket.create_connection((cloud.mqtt_host, cloud.mqtt_port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=cloud.mqtt_host) as secured,
    ):
        # In TLS 1.3 the refusal comes after the client's side of the handshake: an alert, or the end.
        try:
            secured.sendall(connect)
            answer = secured.recv(4)
        except OSError:
            answer = b""
    assert answer == b""


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads the kernel's table of sockets")
def test_nothing_listens_beyond_loopback(cloud):
    ours = {int(url.rpartition(":")[2]) for url in (cloud.endpoint_url, cloud.private_ca_endpoint_url)} | {
        cloud.mqtt_port
    }
    listening = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            address, port = fields[1].split(":")
            if fields[3] == "0A":
                listening.setdefault(int(port, 16), set()).add(address)
    assert {port: listening[port] for port in ours} == {port: {"0100007F"} for port in ours}


def test_status_is_json_for_machines(cloud, run):
    document = json.loads(run("status", "--json").stdout)
    assert document["endpointUrl"] == cloud.endpoint_url
    assert document["mqttPort"] == cloud.mqtt_port
    assert document["authorityArn"] == cloud.authority_arn
    assert document["url"] is None
    assert {
        "region",
        "stackName",
        "registryTable",
        "ledgerTable",
        "mqttHost",
        "brokerCa",
        "caCertificate",
    } <= document.keys()


def test_env_can_be_evaluated_by_a_shell(cloud, run):
    assert f"export AWS_ENDPOINT_URL={cloud.endpoint_url}" in run("env").stdout.splitlines()


def test_logs_show_each_server(cloud, run):
    shown = run("logs", "-n", "5").stdout
    assert "==> aws.log <==" in shown
    assert "==> private-ca.log <==" in shown


def test_logs_of_the_lambdas_are_read_from_the_running_cloud(cloud, run):
    assert run("logs", "lambda").exit_code == 0


def test_an_authorizers_refusal_reaches_the_caller_with_its_word_and_the_id_it_was_given(cloud):
    url = make_denying_api(cloud)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=60)  # noqa: S310 -- http to loopback
    assert refused.value.code == 403
    answer = json.loads(refused.value.read())
    assert answer["code"] == f"seen-{answer['requestId']}"


def make_denying_api(cloud: CloudRecord) -> str:
    """A REST API whose authorizer denies, with a context that repeats the request id it was given."""
    source = """
def handler(event, context):
    statement = {"Effect": "Deny", "Action": "execute-api:Invoke", "Resource": event["methodArn"]}
    return {
        "principalId": "x",
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": {"code": "seen-" + event["requestContext"]["requestId"]},
    }
"""
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("denier.py", source)
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
    role = client(cloud, "iam").create_role(
        RoleName="denier", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )
    functions = client(cloud, "lambda")
    function = functions.create_function(
        FunctionName="denier",
        Runtime="python3.13",
        Role=role["Role"]["Arn"],
        Handler="denier.handler",
        Code={"ZipFile": code.getvalue()},
    )["FunctionArn"]
    functions.add_permission(
        FunctionName="denier", StatementId="api", Action="lambda:InvokeFunction", Principal="apigateway.amazonaws.com"
    )
    gateway = client(cloud, "apigateway")
    api = gateway.create_rest_api(name="denier")
    authorizer = gateway.create_authorizer(
        restApiId=api["id"],
        name="denier",
        type="REQUEST",
        authorizerUri=f"arn:aws:apigateway:{cloud.region}:lambda:path/2015-03-31/functions/{function}/invocations",
        authorizerResultTtlInSeconds=0,
    )
    method = {"restApiId": api["id"], "resourceId": api["rootResourceId"], "httpMethod": "POST"}
    gateway.put_method(**method, authorizationType="CUSTOM", authorizerId=authorizer["id"])
    gateway.put_integration(**method, type="MOCK")
    gateway.put_gateway_response(
        restApiId=api["id"],
        responseType="ACCESS_DENIED",
        statusCode="403",
        responseTemplates={
            "application/json": '{"code":"$context.authorizer.code","requestId":"$context.requestId"}',
        },
    )
    gateway.create_deployment(restApiId=api["id"], stageName="v1")
    return f"{cloud.endpoint_url}/_aws/execute-api/{api['id']}/v1/"


def test_a_role_may_be_held_to_one_ca_certificate(cloud):
    iam = client(cloud, "iam")
    iam.create_user(UserName="registrar")
    one = f"arn:aws:iot:{cloud.region}:{cloud.account}:cacert/{'a' * 64}"
    statement = {"Effect": "Allow", "Action": "iot:DescribeCACertificate", "Resource": one}
    iam.put_user_policy(
        UserName="registrar",
        PolicyName="one",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    key = iam.create_access_key(UserName="registrar")["AccessKey"]
    iot = boto3.client(
        "iot",
        endpoint_url=cloud.endpoint_url,
        region_name=cloud.region,
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
    )
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_ca_certificate(certificateId="a" * 64)
    with pytest.raises(ClientError, match="AccessDenied"):
        iot.describe_ca_certificate(certificateId="b" * 64)


def test_a_certificate_of_an_exclusive_thing_is_attached_to_no_other_until_it_is_detached(cloud):
    iot = client(cloud, "iot")
    certificate = iot.create_keys_and_certificate(setAsActive=True)["certificateArn"]
    for name in ("first", "second"):
        iot.create_thing(thingName=name)
    iot.attach_thing_principal(thingName="first", principal=certificate, thingPrincipalType="EXCLUSIVE_THING")
    iot.attach_thing_principal(thingName="first", principal=certificate, thingPrincipalType="EXCLUSIVE_THING")
    for how in ({}, {"thingPrincipalType": "EXCLUSIVE_THING"}, {"thingPrincipalType": "NON_EXCLUSIVE_THING"}):
        with pytest.raises(iot.exceptions.InvalidRequestException):
            iot.attach_thing_principal(thingName="second", principal=certificate, **how)
    iot.detach_thing_principal(thingName="first", principal=certificate)
    iot.attach_thing_principal(thingName="second", principal=certificate, thingPrincipalType="EXCLUSIVE_THING")
    assert iot.list_principal_things(principal=certificate)["things"] == ["second"]


def test_the_data_endpoint_is_where_the_broker_listens(cloud):
    host, port = client(cloud, "iot").describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"].split(":")
    context = ssl.create_default_context(cafile=cloud.broker_ca)
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        assert secured.version() is not None


def test_down_ends_every_process_and_up_finds_the_same_ca(cloud, folder, run):
    marker = client(cloud, "dynamodb")
    marker.create_table(
        TableName="kept",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    assert "is down" in run("down").stderr
    assert not any(is_alive(process.pid) for process in cloud.processes)
    assert run("status").exit_code == ExitCode.NOT_FOUND
    assert "no local cloud was up" in run("down").stderr

    again, _ = bring_up(folder)
    assert again.authority_arn == cloud.authority_arn
    assert again.endpoint_url == cloud.endpoint_url
    assert "kept" in client(again, "dynamodb").list_tables()["TableNames"]


def test_a_cloud_of_which_one_server_died_is_ended_and_started_anew(cloud, folder):
    broken = folder.read()
    victim, survivor = broken.processes
    os.kill(victim.pid, signal.SIGKILL)
    os.waitpid(victim.pid, 0)
    with pytest.raises(CliError):
        folder.require_up()
    record, was_up = bring_up(folder)
    assert not was_up
    assert record.is_up
    assert not survivor.is_running


def test_forgetting_leaves_no_data_behind(cloud, folder, run):
    run("down", "--forget")
    assert not folder.data.exists()
    assert not (folder.root / "cloud.json").exists()
