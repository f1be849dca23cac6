"""Functions that cannot start, and whom a policy sees when a function calls."""

from __future__ import annotations

import io
import json
import time
import zipfile

import boto3
import pytest
from botocore.exceptions import ClientError
from secretfree_cli.local import lambda_logs
from secretfree_cli.local.clients import local_client
from secretfree_cli.local.emulators.aws_function_starts import bounded
from secretfree_cli.local.state import CloudRecord

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("local-functions")]  # one process for all of them

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def role_that_may(cloud: CloudRecord, name: str, action: str) -> str:
    iam = local_client(cloud, "iam")
    trust = {**TRUST, "Statement": [{**TRUST["Statement"][0], "Principal": {"AWS": "*"}}, *TRUST["Statement"]]}
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=json.dumps(document))
    return str(arn)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_module\n", "No module named 'no_such_module'"),
        ("handlers = 1\n", "no attribute 'handler'"),
        ("def (\n", "invalid syntax"),
        ("import os\nos._exit(3)\n", "exited immediately"),
    ],
)
def test_a_function_that_cannot_start_says_so_in_its_log(shared_cloud, code, said):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("own.py", code)
    name = f"broken-{abs(hash(code))}"
    client = local_client(shared_cloud, "lambda")
    client.create_function(
        FunctionName=name,
        Runtime="python3.13",
        Role=role_that_may(shared_cloud, name, "logs:*"),
        Handler="own.handler",
        Code={"ZipFile": packed.getvalue()},
    )

    assert client.invoke(FunctionName=name, Payload=b"{}")["FunctionError"] == "Unhandled"

    lines = [line for line in lambda_logs.read(local_client(shared_cloud, "logs")) if line.group.endswith(name)]
    assert len(lines) == 1
    assert lines[0].message.startswith("[ERROR] the function did not start: ")
    assert said in lines[0].message


def test_a_start_that_hangs_is_ended():
    class Process:
        killed = False

        def kill(self) -> None:
            self.killed = True

    class Worker:
        _proc = Process()

    def hang(worker: Worker) -> None:
        while not worker._proc.killed:
            time.sleep(0.01)
        raise RuntimeError("the process died")

    with pytest.raises(RuntimeError, match=r"its start took longer than 0\.1 s"):
        bounded(hang, seconds=0.1)(Worker())


def test_a_policy_sees_the_role_of_a_session_as_the_principal(shared_cloud):
    """Queue mode's queue takes messages of the issuer's role alone."""
    allowed = role_that_may(shared_cloud, "sends", "sqs:SendMessage")
    other = role_that_may(shared_cloud, "sends-not", "sqs:SendMessage")
    sqs = local_client(shared_cloud, "sqs")
    url = sqs.create_queue(QueueName="own")["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    statement = {
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": {"ArnNotEquals": {"aws:PrincipalArn": allowed}},
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})

    def send_as(role: str) -> None:
        taken = local_client(shared_cloud, "sts").assume_role(RoleArn=role, RoleSessionName="own")["Credentials"]
        client = boto3.client(
            "sqs",
            endpoint_url=shared_cloud.endpoint_url,
            region_name=shared_cloud.region,
            aws_access_key_id=taken["AccessKeyId"],
            aws_secret_access_key=taken["SecretAccessKey"],
            aws_session_token=taken["SessionToken"],
        )
        client.send_message(QueueUrl=url, MessageBody="x")

    send_as(allowed)
    with pytest.raises(ClientError, match="AccessDenied"):
        send_as(other)
