"""The plan's table of calls against the real pipeline: what it makes, on moto, new and taken up again at each point."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from moto import mock_aws
from secretfree.adapters import clients, single_try_clients
from secretfree.clock import SystemClock
from secretfree.config.issuer import IssuerConfig
from secretfree.contract import IssuerKind, IssuerSetting, Variable
from secretfree.handlers import wiring
from secretfree.issuance.model import IssuedCertificate, NotReady
from secretfree.issuance.pipeline import issue
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.request.csr import UnverifiedCsr, VerifiedCsr, verify
from secretfree.request.device_id import DeviceId
from secretfree.request.device_profile import DeviceProfile
from secretfree_cli.plan.calls import IssuanceProgress, call_sequence
from support.environments import issuer_environment, private_ca_settings
from support.moto_cloud import root_authority

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("plan-calls")]  # one process for all of them

AUTHORIZER_CALLS = Counter({"GetItem": 1})
_OF_NO_DEVICE = ("tickets#", "chain#")
SAME = {"RegisterCertificateWithoutCA": "RegisterCertificate"}


class Account:
    """An account on moto that notes the runtime's calls and throttles the given operations."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: Counter[str] = Counter()
        self.throttled: set[str] = set()
        make = BaseClient._make_api_call

        def noted(client: BaseClient, operation: str, parameters: Any) -> Any:
            name = SAME.get(operation, operation)
            if name in self.throttled:
                error = {"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}
                raise ClientError(error, operation)  # type: ignore[arg-type]
            key = parameters.get("Key") or parameters.get("Item", {})
            if not key.get("device-id", {}).get("S", "").startswith(_OF_NO_DEVICE):  # what a worker reads now and then
                self.made[name] += 1
            return make(client, operation, parameters)

        monkeypatch.setattr(BaseClient, "_make_api_call", noted)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    caches = (clients.client, clients._session, single_try_clients._client)
    with mock_aws(config={"iot": {"use_valid_cert": True}}):  # or moto hashes the PEM, not the DER
        for cached in caches:
            cached.cache_clear()
        yield Account(monkeypatch)
        for cached in caches:
            cached.cache_clear()


def world(kind: IssuerKind) -> tuple[Any, Any]:
    """The ports and the policy as the issuer's function has them, and the account's resources."""
    boto3.client("dynamodb").create_table(
        TableName="ledger",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "device-id", "KeyType": "HASH"}, {"AttributeName": "record", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "device-id", "AttributeType": "S"},
            {"AttributeName": "record", "AttributeType": "S"},
        ],
    )
    boto3.client("dynamodb").create_table(
        TableName="registry",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "device-id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "device-id", "AttributeType": "S"}],
    )
    iot = boto3.client("iot")
    iot.create_thing_type(thingTypeName="widget")
    iot.create_policy(policyName="widget", policyDocument='{"Version":"2012-10-17","Statement":[]}')
    changes: dict[Variable, str] = {Variable.POLICY_NAME: "widget"}
    if kind is IssuerKind.PRIVATE_CA:
        settings = {
            IssuerSetting.AUTHORITY_ARN: root_authority(boto3.client("acm-pca")),
            IssuerSetting.SIGNING_ALGORITHM: "SHA256WITHRSA",
            IssuerSetting.REGISTERED: "false",
        }
        changes[Variable.ISSUERS] = json.dumps({kind.value: private_ca_settings(settings)})
    config = IssuerConfig.from_environment(issuer_environment(kind.value, changes=changes))
    return wiring.ports(config, config.issuer), wiring.policy(config, config.issuer)


def verified() -> VerifiedCsr:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "widget-1")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    csr = verify(UnverifiedCsr.from_der(request.public_bytes(Encoding.DER)), DeviceProfile.STANDARD)
    item = {"device-id": {"S": "widget-1"}, "key-fingerprint": {"S": csr.public_key.fingerprint}}
    boto3.client("dynamodb").put_item(TableName="registry", Item=item)
    return csr


def ask(csr: VerifiedCsr, ports: Any, policy: Any) -> IssuedCertificate | NotReady:
    clock = SystemClock()
    device = AuthorizedDevice(
        device_id=DeviceId.parse("widget-1"), fingerprint=csr.public_key.fingerprint, csr_digest=csr.digest
    )
    with ThreadPoolExecutor(max_workers=6) as executor:  # its end waits for the confirmation, as the pipeline does not
        ports = replace(ports, executor=executor)
        return issue(device, csr, ports=ports, policy=policy, clock=clock, deadline=clock.monotonic() + 20)


def planned(kind: IssuerKind, progress: IssuanceProgress) -> Counter[str]:
    """The issuer's calls on a path, as the plan has them; moto has a certificate ready at the first look."""
    calls = Counter(
        call.operation.partition(":")[2] for stage in call_sequence(kind).paths[progress] for call in stage.calls
    )
    if calls["GetCertificate"]:
        calls["GetCertificate"] = 1
    return calls - AUTHORIZER_CALLS


@pytest.mark.parametrize("kind", IssuerKind)
def test_a_new_device_costs_the_calls_that_the_plan_counts(account: Account, kind: IssuerKind) -> None:
    ports, policy = world(kind)
    csr = verified()
    account.made.clear()
    assert isinstance(ask(csr, ports, policy), IssuedCertificate)
    assert account.made == planned(kind, IssuanceProgress.NOTHING)


@pytest.mark.parametrize(
    ("kind", "throttled", "progress"),
    [
        (IssuerKind.PRIVATE_CA, "IssueCertificate", IssuanceProgress.THING_MADE),
        (IssuerKind.PRIVATE_CA, "GetCertificate", IssuanceProgress.REQUESTED),
        (IssuerKind.PRIVATE_CA, "RegisterCertificate", IssuanceProgress.ISSUED),
        (IssuerKind.PRIVATE_CA, "AttachPolicy", IssuanceProgress.REGISTERED),
        (IssuerKind.IOT_CORE, "CreateCertificateFromCsr", IssuanceProgress.THING_MADE),
        (IssuerKind.IOT_CORE, "AttachPolicy", IssuanceProgress.REGISTERED),
        (IssuerKind.IOT_CORE, "UpdateCertificate", IssuanceProgress.REGISTERED),
    ],
)
def test_a_device_taken_up_again_costs_the_calls_that_the_plan_counts(
    account: Account, kind: IssuerKind, throttled: str, progress: IssuanceProgress
) -> None:
    ports, policy = world(kind)
    csr = verified()
    account.throttled = {throttled}
    assert isinstance(ask(csr, ports, policy), NotReady)
    account.throttled = set()
    time.sleep(1.1)  # until its turn
    account.made.clear()
    assert isinstance(ask(csr, ports, policy), IssuedCertificate)
    assert account.made == planned(kind, progress)
