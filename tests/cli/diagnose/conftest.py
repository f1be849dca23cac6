"""A stack on moto, with the runtime's own records and log lines in it, for what reads all of them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.issuance.ports import CertificateRecordState
from secretfree.issuance.record import Issuance
from secretfree.request.device_id import DeviceId
from secretfree.telemetry import Telemetry
from secretfree_cli.target import Target
from support.moto_cloud import root_authority

STACK = "SecretFree"
TYPE = "widget-type"
POLICY = "widget-policy"
CONNECT = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "iot:Connect",
            "Resource": "arn:aws:iot:eu-central-1:123456789012:client/${iot:Connection.Thing.ThingName}",
        }
    ],
}
_GIVEN_UP = ("Blocking", "Retirement", "Following")
_KEYS = {
    "Registry": [("device-id", "HASH")],
    "Ledger": [("device-id", "HASH"), ("record", "RANGE")],
}


def _table(keys: list[tuple[str, str]]) -> dict[str, Any]:
    return {
        "Type": "AWS::DynamoDB::Table",
        "Properties": {
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name, _ in keys],
            "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in keys],
        },
    }


def _template(authority_arn: str, *, validity_days: int) -> dict[str, Any]:
    return {
        "Resources": {
            **{name: _table(keys) for name, keys in _KEYS.items()},
            **{
                f"Line{name}DeadLetters": {"Type": "AWS::SQS::Queue"}
                for name in ("Blocking", "Retirement", "Following")
            },
            **{f"{name}Log": {"Type": "AWS::Logs::LogGroup"} for name in ("Authorizer", "PrivateCaIssuer", "Api")},
        },
        "Outputs": {
            "RegistryTable": {"Value": {"Ref": "Registry"}},
            "LedgerTable": {"Value": {"Ref": "Ledger"}},
            "ProvisioningUrl": {"Value": "https://a1.execute-api.eu-central-1.amazonaws.com/v1"},
            "DevicePolicyName": {"Value": POLICY},
            "ThingTypeName": {"Value": TYPE},
            "AuthorityArn": {"Value": authority_arn},
            "CertificateValidityDays": {"Value": str(validity_days)},
        },
    }


class Desk:
    """The stack, and what happened in it."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)
        self.pca = boto3.client("acm-pca")
        self.iot = boto3.client("iot")
        self.logs = boto3.client("logs")
        self.dynamodb = boto3.client("dynamodb")
        self.authority_arn = root_authority(self.pca)
        self.iot.create_thing_type(thingTypeName=TYPE)
        self.iot.create_policy(policyName=POLICY, policyDocument=json.dumps(CONNECT))
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.deploy()

    def deploy(self, *, validity_days: int = 90) -> None:
        """Create the stack, or change it. moto's CAs end after 365 days."""
        client = boto3.client("cloudformation")
        template = json.dumps(_template(self.authority_arn, validity_days=validity_days))
        if client.list_stacks()["StackSummaries"]:
            client.update_stack(StackName=STACK, TemplateBody=template)
        else:
            client.create_stack(StackName=STACK, TemplateBody=template)
        resources = client.list_stack_resources(StackName=STACK)["StackResourceSummaries"]
        self.physical = {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in resources}

    def target(self) -> Target:
        return Target(
            session=boto3.Session(),
            endpoint_url=None,
            region="eu-central-1",
            stack_name=STACK,
            registry_table=self.physical["Registry"],
            ledger_table=self.physical["Ledger"],
            url="https://a1.execute-api.eu-central-1.amazonaws.com/v1",
            authority_arn=self.authority_arn,
        )

    def enroll(self, device_id: str, **attributes: str) -> None:
        pem = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        item = {"pubkey": base64.b64encode(pem).decode(), **attributes}
        self.dynamodb.put_item(
            TableName=self.physical["Registry"],
            Item={"device-id": {"S": device_id}, **{name: {"S": text} for name, text in item.items()}},
        )

    def give_up(self, queue: str, message: dict[str, str]) -> None:
        """Put a message into a queue of dead letters."""
        url = self.physical[f"Line{queue}DeadLetters"]
        boto3.client("sqs").send_message(QueueUrl=url, MessageBody=json.dumps(message))

    @property
    def ledger(self) -> DynamoDbLedger:
        return DynamoDbLedger(self.dynamodb, table=self.physical["Ledger"])

    def begin(self, device_id: str, *, ago: timedelta = timedelta(), issuer: str = "private-ca") -> Issuance:
        """A worker takes the lease and writes its intent."""
        first = Issuance.first(DeviceId.parse(device_id), issuer, "ab" * 32, owner="worker", now=self.now - ago)
        return self.ledger.write(first)

    def provision(self, device_id: str, *, thing_type: str = TYPE) -> str:
        """All that an issuance leaves; returns the certificate's ARN."""
        pem = self._certificate(device_id)
        registered = self.iot.register_certificate_without_ca(certificatePem=pem, status="ACTIVE")
        self.iot.create_thing(thingName=device_id, thingTypeName=thing_type)
        self.iot.attach_policy(policyName=POLICY, target=registered["certificateArn"])
        self.iot.attach_thing_principal(thingName=device_id, principal=registered["certificateArn"])
        issued = self.begin(device_id, ago=timedelta(hours=2)).issued(
            certificate_id=registered["certificateId"],
            certificate_pem=pem,
            chain=None,
            not_after=self.now + timedelta(days=300),
        )
        active = self.ledger.write(issued).registered(registered["certificateArn"]).active(clear_at=None)
        self.ledger.write(active, certificate=CertificateRecordState.ACTIVE)
        return str(registered["certificateArn"])

    def _certificate(self, device_id: str) -> str:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device_id)])
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now - timedelta(days=1))
            .not_valid_after(self.now + timedelta(days=300))
            .sign(self.key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM).decode()

    def log(self, group: str, event: str, *, ago: timedelta = timedelta(seconds=30), **fields: Any) -> None:
        """A line as the runtime writes it."""
        stream = io.StringIO()
        Telemetry("widget", None if group == "Authorizer" else "private-ca", stream=stream).log(event, **fields)
        self.log_raw(group, stream.getvalue(), ago=ago)

    def log_raw(self, group: str, message: str, *, ago: timedelta = timedelta(seconds=30)) -> None:
        name, at = self.physical[f"{group}Log"], self.now - ago
        stream = f"stream-{at.timestamp()}-{len(message)}"
        self.logs.create_log_stream(logGroupName=name, logStreamName=stream)
        self.logs.put_log_events(
            logGroupName=name,
            logStreamName=stream,
            logEvents=[{"timestamp": int(at.timestamp() * 1000), "message": message}],
        )


@pytest.fixture
def desk(moto_account: None, monkeypatch: pytest.MonkeyPatch) -> Desk:
    made = Desk()
    monkeypatch.setattr("secretfree_cli.target.resolve_target", lambda **_: made.target())
    return made


@pytest.fixture
def run() -> Callable[..., Result]:
    def invoke(command: Any, *arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    return invoke
