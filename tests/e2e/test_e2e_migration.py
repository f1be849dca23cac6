"""From a deployment of the secret-free sample to this construct, as the migration page says, without touching a device.

The sample is built here by API calls: its table, its CA registered by hand, its policy, its things without a type.
"""

from __future__ import annotations

import base64
import json
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from secretfree_cli.local.cloud import deploy_into
from secretfree_cli.local.deployment import Deployment
from secretfree_cli.main import main
from secretfree_cli.target import Target, local_target
from secretfree_device.mqtt import DeviceConnection
from secretfree_device.session import Broker, Message, MqttRefusedError
from support.documents import ROOT, blocks

PAGE = ROOT / "docs" / "guides" / "migrating-from-the-sample.md"
TABLE = "the-sample-s-table"
SKU = "SKU"
ARN_OF_THE_PAGE = "arn:aws:acm-pca:eu-central-1:111122223333:certificate-authority/11111111-2222-3333-4444-555555555555"


class Sample:
    """The deployed sample: what its stack and the README's commands leave in an account."""

    def __init__(self, target: Target, openssl: Callable[..., bytes], workshop: Any) -> None:
        self.target = target
        self._openssl = openssl
        self._workshop = workshop
        self._iot, self._private_ca = target.client("iot"), target.client("acm-pca")
        self.authority_arn, self.ca_pem = self._make_ca()
        self.ca_certificate_id = self._register_ca_by_hand()
        target.client("dynamodb").create_table(
            TableName=TABLE,
            AttributeDefinitions=[{"AttributeName": "device-id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "device-id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
        document = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}],
        }
        self._iot.create_policy(policyName=SKU, policyDocument=json.dumps(document))

    def device(self) -> Any:
        """A device in the field: enrolled, with a certificate of 150 days and a thing without a type."""
        device = self._workshop.device("rsa-2048")
        self.target.client("dynamodb").put_item(
            TableName=TABLE,
            Item={
                "device-id": {"S": device.device_id},
                "pubkey": {"S": base64.b64encode(device.public_key_pem()).decode()},
            },
        )
        device.certificate.write_text(self._signed(device.csr(), "EndEntityCertificate", days=150))
        registered = self._iot.register_certificate(
            certificatePem=device.certificate.read_text(), caCertificatePem=self.ca_pem, setAsActive=True
        )
        self._iot.create_thing(thingName=device.device_id)
        self._iot.attach_policy(policyName=SKU, target=registered["certificateArn"])
        self._iot.attach_thing_principal(thingName=device.device_id, principal=registered["certificateArn"])
        return device

    def ca_registration(self) -> Mapping[str, Any]:
        """What AWS IoT Core says about the CA that was registered by hand."""
        described = self._iot.describe_ca_certificate(certificateId=self.ca_certificate_id)["certificateDescription"]
        tags = self._iot.list_tags_for_resource(resourceArn=described["certificateArn"])["tags"]
        return {"status": described["status"], "created": described["creationDate"], "tags": tags}

    def _make_ca(self) -> tuple[str, str]:
        arn = self._private_ca.create_certificate_authority(
            CertificateAuthorityType="ROOT",
            CertificateAuthorityConfiguration={
                "KeyAlgorithm": "RSA_2048",
                "SigningAlgorithm": "SHA256WITHRSA",
                "Subject": {"CommonName": "The sample's CA"},
            },
        )["CertificateAuthorityArn"]
        self.authority_arn = arn
        csr = self._private_ca.get_certificate_authority_csr(CertificateAuthorityArn=arn)["Csr"]
        certificate = self._signed(csr.encode(), "RootCACertificate", days=3650)
        self._private_ca.import_certificate_authority_certificate(
            CertificateAuthorityArn=arn, Certificate=certificate.encode()
        )
        return arn, certificate

    def _register_ca_by_hand(self) -> str:
        device = self._workshop.device("rsa-2048")
        code = self._iot.get_registration_code()["registrationCode"]
        proof = self._signed(device.csr(subject=f"/CN={code}"), "EndEntityCertificate", days=1)
        answer = self._iot.register_ca_certificate(
            caCertificate=self.ca_pem, verificationCertificate=proof, setAsActive=True
        )
        return str(answer["certificateId"])

    def _signed(self, csr: bytes, template: str, *, days: int) -> str:
        arn = self._private_ca.issue_certificate(
            CertificateAuthorityArn=self.authority_arn,
            Csr=csr,
            SigningAlgorithm="SHA256WITHRSA",
            TemplateArn=f"arn:aws:acm-pca:::template/{template}/V1",
            Validity={"Type": "DAYS", "Value": days},
        )["CertificateArn"]
        deadline = time.monotonic() + 20
        while True:
            try:
                answer = self._private_ca.get_certificate(
                    CertificateAuthorityArn=self.authority_arn, CertificateArn=arn
                )
            except self._private_ca.exceptions.RequestInProgressException:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return str(answer["Certificate"])


@dataclass(frozen=True)
class Operator:
    """The operator, who follows the page word for word."""

    environment: Mapping[str, str]

    def runs(self, line: str, *, code: int = 0, **placeholders: str) -> Result:
        """Run a command of the page, its placeholders filled in."""
        assert line in "\n".join(blocks(PAGE, "sh")), line
        for name, value in placeholders.items():
            line = line.replace(name, value)
        done = CliRunner(env=dict(self.environment)).invoke(main, [*shlex.split(line)[1:]])
        assert done.exit_code == code, done.output
        return done


@pytest.fixture(scope="module")
def sample(cloud: Any, openssl: Callable[..., bytes], workshop: Any) -> Sample:
    return Sample(cloud.target, openssl, workshop)


@pytest.fixture(scope="module")
def registered_by_hand(sample: Sample) -> Mapping[str, Any]:
    """The CA's registration as it was before the construct came."""
    return sample.ca_registration()


@pytest.fixture(scope="module")
def construct(
    cloud: Any, sample: Sample, registered_by_hand: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Target:
    """The app of the page, deployed beside the sample."""
    (app,) = blocks(PAGE, "python")
    assert ARN_OF_THE_PAGE in app
    assert TABLE in app
    folder = tmp_path_factory.mktemp("migration")
    (folder / "app.py").write_text(app.replace(ARN_OF_THE_PAGE, sample.authority_arn))
    (folder / "cdk.json").write_text('{"app": "python3 app.py"}')
    (folder / "node_modules").symlink_to(ROOT / "node_modules")
    return local_target(deploy_into(cloud.folder, Deployment(folder)), stack="Widgets")


@pytest.fixture
def operator(cloud: Any, construct: Target, tmp_path: Path) -> Operator:
    place = {"SECRETFREE_PROJECT": str(cloud.folder.project)}
    return Operator({**cloud.folder.require_up().environment(), **place})


@pytest.fixture
def connect(cloud: Any) -> Callable[..., DeviceConnection]:
    def connection(device: Any, certificate: Path | None = None) -> DeviceConnection:
        target = cloud.target
        name = target.iot_endpoint.partition(":")[0]
        return DeviceConnection(
            Broker(target.mqtt_host, target.mqtt_port, server_name=name, ca_file=target.broker_ca),
            client_id=device.device_id,
            certificate=certificate or device.certificate,
            private_key=device.key,
        )

    return connection


def hears_itself(session: DeviceConnection, topic: str) -> bool:
    session.subscribe(topic)
    session.publish(topic, "21.5")
    return session.receive(timeout=5) == Message(topic, b"21.5")


def thing_type(target: Target, device: Any) -> str | None:
    found: str | None = target.client("iot").describe_thing(thingName=device.device_id).get("thingTypeName")
    return found


def test_the_ca_that_was_registered_by_hand_is_used_as_it_is(
    sample: Sample, registered_by_hand: Mapping[str, Any], construct: Target
) -> None:
    assert construct.authority_arn == sample.authority_arn
    assert sample.ca_registration() == registered_by_hand == {**registered_by_hand, "status": "ACTIVE", "tags": []}


def test_the_sample_s_table_is_read_and_its_keys_are_indexed(sample: Sample, operator: Operator) -> None:
    device = sample.device()
    table = sample.target.resource("dynamodb").Table(TABLE)

    operator.runs("secretfree stats --stack Widgets")
    operator.runs("secretfree index-keys --stack Widgets --dry-run")
    assert set(table.get_item(Key={"device-id": device.device_id})["Item"]) == {"device-id", "pubkey"}
    operator.runs("secretfree index-keys --stack Widgets")
    assert "key-fingerprint" in table.get_item(Key={"device-id": device.device_id})["Item"]


def test_a_connected_device_notices_nothing_of_the_adoption_and_then_asks_with_success(
    sample: Sample, construct: Target, operator: Operator, connect: Callable[..., DeviceConnection], post: Any
) -> None:
    device = sample.device()
    with connect(device) as session:
        dry = operator.runs("secretfree adopt --all --stack Widgets --dry-run")
        assert "adopted" in dry.stdout
        assert thing_type(construct, device) is None

        operator.runs("secretfree adopt --all --stack Widgets")

        assert thing_type(construct, device) == construct.thing_type
        assert session.is_connected
        assert hears_itself(session, "any/topic/of/the/old/policy")
    with connect(device) as session:
        assert hears_itself(session, f"widget/{device.device_id}/temperature")

    reply = post(f"{construct.url}/new", device.csr())
    assert reply.status == 200, reply
    new = device.folder / "new.pem"
    new.write_text(reply.json["certificate"])

    with connect(device, new) as session:
        assert hears_itself(session, f"widget/{device.device_id}/temperature")
        with pytest.raises(MqttRefusedError):  # the new policy is the product line's, not the sample's
            session.publish("any/topic/of/the/old/policy", "21.5")
    with connect(device) as session:
        assert session.is_connected


def test_a_device_whose_thing_is_not_adopted_gets_409_until_it_is(
    sample: Sample, construct: Target, operator: Operator, connect: Callable[..., DeviceConnection], post: Any
) -> None:
    device = sample.device()

    refused = post(f"{construct.url}/new", device.csr())
    assert (refused.status, refused.json["code"]) == (409, "conflict")
    with connect(device) as session:
        assert session.is_connected

    operator.runs("secretfree adopt DEVICE_ID --stack Widgets", DEVICE_ID=device.device_id)
    assert post(f"{construct.url}/new", device.csr()).status == 200


def test_a_thing_of_another_fleet_is_left_alone(sample: Sample, construct: Target, operator: Operator) -> None:
    device = sample.device()
    iot = sample.target.client("iot")
    iot.create_thing_type(thingTypeName="another-fleet")
    iot.update_thing(thingName=device.device_id, thingTypeName="another-fleet")

    operator.runs("secretfree adopt DEVICE_ID --stack Widgets", DEVICE_ID=device.device_id, code=5)

    assert thing_type(construct, device) == "another-fleet"


def test_deleting_the_new_stack_brings_the_sample_back_as_it_was(
    sample: Sample,
    registered_by_hand: Mapping[str, Any],
    construct: Target,
    operator: Operator,
    connect: Callable[..., DeviceConnection],
) -> None:
    """The last test of this file: the stack is gone after it."""
    device = sample.device()
    operator.runs("secretfree adopt DEVICE_ID --stack Widgets", DEVICE_ID=device.device_id)
    iot, cloudformation = sample.target.client("iot"), sample.target.client("cloudformation")

    iot.update_thing(thingName=device.device_id, removeThingType=True)
    cloudformation.delete_stack(StackName="Widgets")
    cloudformation.get_waiter("stack_delete_complete").wait(
        StackName="Widgets", WaiterConfig={"Delay": 1, "MaxAttempts": 120}
    )

    assert sample.ca_registration() == registered_by_hand
    assert sample.target.resource("dynamodb").Table(TABLE).get_item(Key={"device-id": device.device_id})["Item"]
    assert thing_type(sample.target, device) is None
    with connect(device) as session:
        assert hears_itself(session, "any/topic/of/the/old/policy")
