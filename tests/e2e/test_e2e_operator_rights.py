"""The operator's commands under the rights that the construct grants: they work with them, and little else does."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result
from secretfree_cli.main import main
from support.borrowed_roles import is_denied


@dataclass(frozen=True)
class Person:
    """A user of the account with the policies of one of the stack's roles."""

    environment: Mapping[str, str]
    stack: str

    def run(self, command: str) -> Result:
        """Run a `secretfree` command as this person, against the stack."""
        arguments = [*shlex.split(command), "--stack", self.stack]
        return CliRunner(env={name: str(value) for name, value in self.environment.items()}).invoke(main, arguments)

    def code_of(self, service: str, operation: str, **parameters: Any) -> str:
        """The error code of an AWS call, or `allowed`."""
        client = boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name=self.environment["AWS_REGION"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )
        try:
            getattr(client, operation)(**parameters)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "allowed"


@pytest.fixture(scope="module")
def person(cloud: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Person]]:
    iam = cloud.target.client("iam")
    record = cloud.folder.require_up()
    nowhere = str(tmp_path_factory.mktemp("no-project"))
    made: dict[str, Person] = {}

    def make(role: str) -> Person:
        if role not in made:
            (name,) = [
                one["PhysicalResourceId"]
                for one in cloud.target.client("cloudformation").describe_stack_resources(
                    StackName=cloud.target.stack_name
                )["StackResources"]
                if one["ResourceType"] == "AWS::IAM::Role" and one["LogicalResourceId"].startswith(role)
            ]
            iam.create_user(UserName=role)
            for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
                document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
                iam.put_user_policy(UserName=role, PolicyName=policy, PolicyDocument=json.dumps(document))
            key = iam.create_access_key(UserName=role)["AccessKey"]
            own = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
            environment = {**record.environment(), **own, "SECRETFREE_PROJECT": nowhere}
            made[role] = Person(environment, cloud.target.stack_name)
        return made[role]

    yield make
    for role in made:
        for key in iam.list_access_keys(UserName=role)["AccessKeyMetadata"]:
            iam.delete_access_key(UserName=role, AccessKeyId=key["AccessKeyId"])


def test_an_operator_blocks_unblocks_reissues_renews_and_retires(
    cloud: Any, workshop: Any, post: Callable[..., Any], person: Callable[[str], Person]
) -> None:
    device = workshop.enrolled(cloud)
    device.keep(post(f"{cloud.url}/new", device.csr()))
    operator, name = person("Operator"), device.device_id
    for command in (
        f"renew {name} --reason trial",
        f"show {name}",
        f"reissue {name} --reason mistake",
        f"block {name} --reason stolen",
        f"unblock {name}",
        f"retire {name} --reason scrapped",
    ):
        done = operator.run(command)
        assert done.exit_code == 0, (command, done.output, done.exception)
    assert post(f"{cloud.url}/new", device.csr()).status == 403
    assert name not in {
        thing["thingName"]
        for page in cloud.target.client("iot").get_paginator("list_things").paginate()
        for thing in page["things"]
    }


@pytest.mark.parametrize(
    ("service", "operation", "parameters"),
    [
        ("iot", "create_keys_and_certificate", {"setAsActive": True}),
        ("iot", "create_policy", {"policyName": "all", "policyDocument": '{"Version":"2012-10-17","Statement":[]}'}),
        ("iot", "create_thing", {"thingName": "intruder"}),
        ("iot-data", "publish", {"topic": "widget/another/command"}),
        ("lambda", "list_functions", {}),
        ("iam", "list_roles", {}),
        ("s3", "list_buckets", {}),
    ],
)
def test_an_operator_can_do_nothing_else(
    person: Callable[[str], Person], service: str, operation: str, parameters: dict[str, Any]
) -> None:
    outcome = person("Operator").code_of(service, operation, **parameters)
    assert is_denied(outcome), outcome


def test_who_is_on_call_diagnoses_and_reads_the_logs(
    cloud: Any, workshop: Any, post: Callable[..., Any], person: Callable[[str], Person]
) -> None:
    device = workshop.enrolled(cloud)
    device.keep(post(f"{cloud.url}/new", device.csr()))
    on_call = person("OnCall")
    diagnosed = on_call.run(f"diagnose {device.device_id} --json")
    assert "not read" not in diagnosed.output, diagnosed.output
    assert "provisioned" in diagnosed.output, diagnosed.output
    logged = on_call.run("logs --event issued --since 10m")
    assert logged.exit_code == 0, logged.output
    assert device.device_id in logged.output


@pytest.mark.parametrize(
    ("table", "operation", "parameters"),
    [
        ("registry", "put_item", {"Item": {"device-id": {"S": "intruder"}}}),
        ("registry", "delete_item", {"Key": {"device-id": {"S": "intruder"}}}),
        ("registry", "scan", {}),
        ("ledger", "put_item", {"Item": {"device-id": {"S": "intruder"}, "record": {"S": "x"}}}),
        ("ledger", "scan", {}),
    ],
)
def test_who_is_on_call_changes_and_lists_no_table(
    cloud: Any, person: Callable[[str], Person], table: str, operation: str, parameters: dict[str, Any]
) -> None:
    name = {"registry": cloud.target.registry_table, "ledger": cloud.target.ledger_table}[table]
    assert is_denied(person("OnCall").code_of("dynamodb", operation, TableName=name, **parameters))


@pytest.mark.parametrize("command", ["block", "retire"])
def test_who_is_on_call_blocks_and_retires_no_device(
    cloud: Any, workshop: Any, person: Callable[[str], Person], command: str
) -> None:
    device = workshop.enrolled(cloud)
    assert person("OnCall").run(f"{command} {device.device_id} --reason none").exit_code != 0
    item = cloud.target.client("dynamodb").get_item(
        TableName=cloud.target.registry_table, Key={"device-id": {"S": device.device_id}}
    )["Item"]
    assert "status" not in item
