"""Only the operator and what is deployed can call the local cloud's servers: every listener, as strangers try."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import zipfile
from collections.abc import Mapping
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from secretfree_cli.local.clients import local_client
from secretfree_cli.local.cloud import bring_down, bring_up
from secretfree_cli.local.state import CloudRecord, StateFolder

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("local-doors")]  # one process for all of them

CREATE_FUNCTION = {
    "FunctionName": "intruder",
    "Runtime": "python3.13",
    "Role": "arn:aws:iam::000000000000:role/intruder",
    "Handler": "intruder.handler",
    "Code": {"ZipFile": "UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA=="},
}
PROBE = """
import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
def handler(event, context):
    try:
        boto3.client("acm-pca").list_certificate_authorities()
    except ClientError as error:
        return error.response["Error"]["Code"]
    return boto3.client("sts").get_caller_identity()["Arn"]
"""

UNKNOWN_KEY = "AKIAUNKNOWNUNKNOWN00"  # pragma: allowlist secret


@pytest.fixture
def cloud(shared_cloud):
    return shared_cloud


def send(
    url: str, method: str = "POST", path: str = "/", *, headers: Mapping[str, str] | None = None, body: str = ""
) -> tuple[int, bytes]:
    """Send exactly these headers; `Host` is the server's own unless given."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    fields = {"Host": urlsplit(url).netloc, "Content-Length": str(len(body)), **(headers or {})}
    for name, value in fields.items():
        connection.putheader(name, value)
    connection.endheaders(body.encode())
    answer = connection.getresponse()
    return answer.status, answer.read()


def servers(cloud: CloudRecord) -> list[str]:
    return [cloud.endpoint_url, cloud.private_ca_endpoint_url]


def client(cloud: CloudRecord, service: str, key: str, secret: str):
    url = cloud.private_ca_endpoint_url if service == "acm-pca" else cloud.endpoint_url
    return boto3.client(
        service, endpoint_url=url, region_name=cloud.region, aws_access_key_id=key, aws_secret_access_key=secret
    )


def functions(cloud: CloudRecord) -> list[str]:
    return [function["FunctionName"] for function in local_client(cloud, "lambda").list_functions()["Functions"]]


def test_another_users_unsigned_call_makes_no_function(cloud):
    status, _ = send(cloud.endpoint_url, path="/2015-03-31/functions", body=json.dumps(CREATE_FUNCTION))
    assert status == 403
    assert functions(cloud) == []


def test_a_pages_simple_request_makes_no_function(cloud):
    status, _ = send(
        cloud.endpoint_url,
        path="/2015-03-31/functions",
        body=json.dumps(CREATE_FUNCTION),
        headers={"Content-Type": "text/plain", "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    )
    assert status == 403
    assert functions(cloud) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:4566"},
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Mode": "no-cors"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/_ministack/ready", "/_aws/execute-api/abcd1234/v1/new"])
def test_pages_and_foreign_names_are_refused_by_every_server_on_every_path(cloud, headers, path):
    for url in servers(cloud):
        assert send(url, "GET", path, headers=headers)[0] == 403


@pytest.mark.parametrize("service", ["iam", "lambda", "dynamodb", "s3", "sts", "iot", "sqs", "acm-pca"])
@pytest.mark.parametrize("key", ["operator", "test", "000000000000", UNKNOWN_KEY])
def test_a_key_without_its_secret_opens_nothing(cloud, service, key):
    stranger = client(cloud, service, cloud.access_key_id if key == "operator" else key, "test")
    calls = {
        "iam": "list_roles",
        "lambda": "list_functions",
        "dynamodb": "list_tables",
        "s3": "list_buckets",
        "sts": "get_caller_identity",
        "iot": "list_things",
        "sqs": "list_queues",
        "acm-pca": "list_certificate_authorities",
    }
    with pytest.raises(ClientError) as refused:
        getattr(stranger, calls[service])()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/_ministack/reset"),
        ("POST", "/_ministack/config"),
        ("GET", "/_ministack/sqs/messages"),
        ("GET", "/_ministack/lambda-code/x"),
        ("GET", f"/_secretfree/credentials/{UNKNOWN_KEY}"),
        ("POST", "/"),
        ("GET", "/bucket/key"),
        ("GET", "/v2/_catalog"),
        ("POST", "/oauth2/token"),
    ],
)
@pytest.mark.parametrize("host", ["{own}", "abcd1234.execute-api.localhost", "abcd1234.execute-api.localhost:1"])
def test_an_unsigned_request_reaches_nothing_of_the_emulator_under_any_name(cloud, method, path, host):
    named = host.format(own=urlsplit(cloud.endpoint_url).netloc)
    status, _ = send(cloud.endpoint_url, method, path, headers={"Host": named})
    assert status in (403, 404)
    assert client(cloud, "sts", cloud.access_key_id, cloud.secret_access_key).get_caller_identity()


def test_the_administration_is_for_the_operator_alone(cloud):
    iam = local_client(cloud, "iam")
    iam.create_user(UserName="someone")
    key = iam.create_access_key(UserName="someone")["AccessKey"]
    assert (
        client(cloud, "sts", key["AccessKeyId"], key["SecretAccessKey"])
        .get_caller_identity()["Arn"]
        .endswith("user/someone")
    )
    for path in ("/_ministack/reset", f"/_secretfree/credentials/{cloud.access_key_id}"):
        request = AWSRequest("POST", cloud.endpoint_url + path, headers={"Host": urlsplit(cloud.endpoint_url).netloc})
        SigV4Auth(Credentials(key["AccessKeyId"], key["SecretAccessKey"]), "sts", "us-east-1").add_auth(request)
        assert send(cloud.endpoint_url, "POST", path, headers=dict(request.headers))[0] == 403


def test_a_function_calls_both_servers_by_its_role(cloud):
    iam, lambda_ = local_client(cloud, "iam"), local_client(cloud, "lambda")
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
    role = iam.create_role(
        RoleName="caller", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )["Role"]["Arn"]
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("probe.py", PROBE)
    lambda_.create_function(
        FunctionName="caller",
        Runtime="python3.13",
        Role=role,
        Handler="probe.handler",
        Code={"ZipFile": code.getvalue()},
        Timeout=60,
    )
    try:
        answer = json.loads(lambda_.invoke(FunctionName="caller")["Payload"].read())
    finally:
        lambda_.delete_function(FunctionName="caller")
    assert answer == "arn:aws:sts::000000000000:assumed-role/caller/caller"


def test_the_keys_of_a_function_cannot_be_worked_out(cloud):
    function, role = (
        f"arn:aws:lambda:{cloud.region}:{cloud.account}:function:caller",
        "arn:aws:iam::000000000000:role/caller",
    )
    digest = hashlib.sha256(f"{function}:{role}".encode()).hexdigest()
    session = boto3.client(
        "sts",
        endpoint_url=cloud.endpoint_url,
        region_name=cloud.region,
        aws_access_key_id=f"ASIA{digest[:16].upper()}",
        aws_secret_access_key=hashlib.sha256(f"secret:{digest}".encode()).hexdigest(),
        aws_session_token=hashlib.sha256(f"token:{digest}".encode()).hexdigest(),
    )
    with pytest.raises(ClientError):
        session.get_caller_identity()


def test_every_start_has_a_key_of_its_own(cloud, tmp_path):
    folder = StateFolder(tmp_path)
    other, _ = bring_up(folder)
    try:
        assert (other.access_key_id, other.secret_access_key) != (cloud.access_key_id, cloud.secret_access_key)
        with pytest.raises(ClientError):
            client(other, "iam", cloud.access_key_id, cloud.secret_access_key).list_roles()
        assert (folder.root / "cloud.json").stat().st_mode & 0o077 == 0
    finally:
        bring_down(folder)
