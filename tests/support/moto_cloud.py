"""The account on moto and the Private CA emulator: the same faults with real conditions, serialisation and clients.

moto's `create_certificate_from_csr` certifies its own key, so this module signs and moto registers. Time is that of the
test's clock: moto's dates are translated to it.
"""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from cryptography import x509
from moto import mock_aws
from support.fake_cloud import POLICY, THING_TYPE, Client, FakeCertificate, FakeClock, FakeCloud
from support.tables import LEDGER_TABLE, REGISTRY_TABLE

_State = TypeVar("_State")
REGION = "eu-central-1"
_ACCOUNT = {
    "region_name": REGION,
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
    "config": Config(retries={"total_max_attempts": 1}),
}


@functools.cache
def _client(service: str, endpoint_url: str | None) -> Any:
    """A client for all accounts of a process: it keeps nothing of them."""
    return boto3.client(service, endpoint_url=endpoint_url, **_ACCOUNT)


@contextmanager
def moto_cloud(private_ca_url: str) -> Iterator["MotoCloud"]:
    """An empty account; its Private CA is the emulator at `private_ca_url`."""
    settings: Any = {"iot": {"use_valid_cert": True}, "core": {"passthrough": {"urls": [f"{private_ca_url}.*"]}}}
    with mock_aws(config=settings):
        yield MotoCloud(private_ca_url)


class MotoCloud(FakeCloud):
    """The state that `FakeCloud` has in memory is read from the services."""

    def __init__(self, private_ca_url: str) -> None:
        self._created: dict[str, datetime] = {}
        self._read: dict[str, Any] = {}
        self._services: dict[str, Any] = {
            "dynamodb": _client("dynamodb", None),
            "iot": _client("iot", None),
            "acm-pca": _client("acm-pca", private_ca_url),
        }
        super().__init__(clock=FakeClock(datetime.now(UTC)))
        self._iot.create_thing_type(thingTypeName=THING_TYPE)
        self._iot.create_policy(policyName=POLICY, policyDocument='{"Version":"2012-10-17","Statement":[]}')
        self._services["dynamodb"].create_table(**LEDGER_TABLE)
        self._services["dynamodb"].create_table(**REGISTRY_TABLE)

    @functools.cached_property
    def authority_arn(self) -> str:  # type: ignore[override]
        """The account's CA, made when it is first used."""
        return root_authority(self._services["acm-pca"])

    def client(self, service: str) -> Any:
        return Client(self, _Service(self, service))

    def carry_out(self, service: str, method: str, arguments: Mapping[str, Any]) -> Any:
        """The call itself, and its data for the tests."""
        self._read.clear()
        client = self._services[service]
        if method == "create_certificate_from_csr":
            assert not arguments["setAsActive"]
            pem = self.sign(arguments["certificateSigningRequest"], "AWS IoT Certificate")
            answer = client.register_certificate_without_ca(certificatePem=pem, status="INACTIVE") | {
                "certificatePem": pem
            }
        else:
            answer = getattr(client, method)(**arguments)
        if method in {"register_certificate", "register_certificate_without_ca", "create_certificate_from_csr"}:
            self._created[answer["certificateId"]] = self.clock.now()
        if method == "list_certificates":
            for entry in answer["certificates"]:
                entry["creationDate"] = self._created[entry["certificateId"]]
        if method == "issue_certificate" and answer["CertificateArn"] not in self.orders:
            self.orders[answer["CertificateArn"]] = dict(arguments)
            self.issued.append(answer["CertificateArn"])
        if method == "attach_thing_principal":
            assert arguments["thingPrincipalType"] == "EXCLUSIVE_THING"
        return answer

    def enroll(self, device_id: str, fingerprint: str, **attributes: str) -> None:
        super().enroll(device_id, fingerprint, **attributes)
        self._services["dynamodb"].put_item(TableName="registry", Item=self.registry[device_id])

    def revoke(self, certificate_id: str) -> None:
        self._read.clear()
        self._iot.update_certificate(certificateId=certificate_id, newStatus="REVOKED")

    def remove(self, certificate_id: str) -> None:
        certificate = self.certificates.get(certificate_id)
        if certificate is None:
            return
        for policy in certificate.policies:
            self._iot.detach_policy(policyName=policy, target=certificate.arn)
        for thing in certificate.things:
            self._iot.detach_thing_principal(thingName=thing, principal=certificate.arn)
        self._iot.delete_certificate(certificateId=certificate_id, forceDelete=True)
        self._read.clear()

    @property
    def _iot(self) -> Any:
        return self._services["iot"]

    @property
    def items(self) -> dict[tuple[str, str], dict[str, Any]]:  # type: ignore[override]
        return self._once("items", self._items)

    @items.setter
    def items(self, _: object) -> None:
        """The table begins empty."""

    @property
    def things(self) -> dict[str, dict[str, Any]]:  # type: ignore[override]
        return {
            thing["thingName"]: {"type": thing["thingTypeName"], "attributes": thing["attributes"]}
            for thing in self._iot.list_things()["things"]
        }

    @things.setter
    def things(self, _: object) -> None:
        """The account begins empty."""

    @property
    def certificates(self) -> dict[str, FakeCertificate]:  # type: ignore[override]
        return self._once("certificates", self._certificates)

    @certificates.setter
    def certificates(self, _: object) -> None:
        """The account begins empty."""

    def _once(self, name: str, read: Callable[[], _State]) -> _State:
        """A copy of what was read since the last call."""
        if name not in self._read:
            self._read[name] = read()
        return copy.deepcopy(self._read[name])

    def _certificates(self) -> dict[str, FakeCertificate]:
        return {
            entry["certificateId"]: FakeCertificate(
                certificate_id=entry["certificateId"],
                arn=entry["certificateArn"],
                pem="",
                status=entry["status"],
                created=self._created[entry["certificateId"]],
                things=dict.fromkeys(
                    self._iot.list_principal_things(principal=entry["certificateArn"])["things"], "EXCLUSIVE_THING"
                ),
                policies={
                    policy["policyName"]
                    for policy in self._iot.list_attached_policies(target=entry["certificateArn"])["policies"]
                },
            )
            for entry in self._iot.list_certificates()["certificates"]
        }

    def _items(self) -> dict[tuple[str, str], dict[str, Any]]:
        found = self._services["dynamodb"].scan(TableName="ledger", ConsistentRead=True)["Items"]
        return {(item["device-id"]["S"], item["record"]["S"]): item for item in found}


class _Service:
    def __init__(self, cloud: MotoCloud, service: str) -> None:
        self._cloud = cloud
        self._service = service

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return lambda **arguments: self._cloud.carry_out(self._service, method, arguments)


def root_authority(client: Any) -> str:
    """Make a root CA that is active; return its ARN."""
    arn: str = client.create_certificate_authority(
        CertificateAuthorityConfiguration={
            "KeyAlgorithm": "EC_prime256v1",
            "SigningAlgorithm": "SHA256WITHECDSA",
            "Subject": {"CommonName": "Test"},
        },
        CertificateAuthorityType="ROOT",
    )["CertificateAuthorityArn"]
    issued = client.issue_certificate(
        CertificateAuthorityArn=arn,
        Csr=client.get_certificate_authority_csr(CertificateAuthorityArn=arn)["Csr"].encode(),
        SigningAlgorithm="SHA256WITHECDSA",
        TemplateArn="arn:aws:acm-pca:::template/RootCACertificate/V1",
        Validity={"Type": "DAYS", "Value": 3650},
    )["CertificateArn"]
    pem = client.get_certificate(CertificateAuthorityArn=arn, CertificateArn=issued)["Certificate"]
    assert x509.load_pem_x509_certificate(pem.encode())
    client.import_certificate_authority_certificate(CertificateAuthorityArn=arn, Certificate=pem.encode())
    return arn
