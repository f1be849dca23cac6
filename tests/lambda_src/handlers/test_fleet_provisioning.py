"""Fleet provisioning: the provider signs and the hook allows what the registry allows, and nothing else."""

import base64
import contextlib
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from secretfree.adapters import clients, single_try_clients
from secretfree.contract import FLEET_THING_NAME, IssuerKind, Variable
from secretfree.errors import Reason
from secretfree.handlers import fleet_hook, fleet_provider, wiring
from secretfree.handlers.entry import LambdaHandler
from secretfree.handlers.fleet_provider import ProviderError
from secretfree.issuance.model import IssuedCertificate
from secretfree.issuance.sweeping import SweepOutcome
from secretfree.request.device_id import DeviceId
from support.environments import authorizer_environment, issuer_environment
from support.fake_cloud import POLICY, TEMPLATE, THING_TYPE, FakeCloud, Fault, InlineExecutor
from support.revoking import Revoker
from support.world import World, verified_csr

CONTEXT = SimpleNamespace(aws_request_id="request-1", get_remaining_time_in_millis=lambda: 29_000)
DENIED = {"allowProvisioning": False}


class Fleet:
    """The two functions, and AWS IoT Core between them as it is documented."""

    def __init__(self, cloud: FakeCloud) -> None:
        self.cloud = cloud
        environment = authorizer_environment() | issuer_environment()
        self.provider: LambdaHandler = fleet_provider.build(environment)
        self.hook: LambdaHandler = fleet_hook.build(environment)

    def sign(self, csr_pem: str) -> str:
        """CreateCertificateFromCsr: registers what the provider returns, pending."""
        event = {"certificateSigningRequest": csr_pem, "principalId": "claim", "clientId": "any"}
        pem = str(self.provider(event, CONTEXT)["certificatePem"])
        return self.cloud.add_certificate(pem, "PENDING_ACTIVATION").certificate_id

    def ask_hook(self, certificate_id: str, **changes: Any) -> dict[str, Any]:
        event = {
            "claimCertificateId": "claim",
            "certificateId": certificate_id,
            "certificatePem": self.cloud.certificates[certificate_id].pem,
            "templateArn": "arn:aws:iot:eu-central-1:111122223333:provisioningtemplate/widget",
            "clientId": "any",
            "parameters": {},
        }
        answer: dict[str, Any] = self.hook({**event, **changes}, CONTEXT)
        return answer

    def provision(self, csr_pem: str) -> str:
        """The whole way in; the certificate's id."""
        certificate_id = self.sign(csr_pem)
        answer = self.ask_hook(certificate_id)
        assert answer["allowProvisioning"] is True
        self.activate(certificate_id, answer["parameterOverrides"]["ThingName"])
        return certificate_id

    def activate(self, certificate_id: str, thing: str) -> None:
        certificate = self.cloud.certificates[certificate_id]
        certificate.status = "ACTIVE"
        certificate.policies.add(POLICY)
        certificate.things[thing] = "NON_EXCLUSIVE_THING"
        self.cloud.ever_active.append(certificate_id)

    @property
    def record(self) -> dict[str, str]:
        item = self.cloud.items["widget-1", "issuance#private-ca"]
        return {name: str(next(iter(value.values()))) for name, value in item.items()}

    @property
    def world(self) -> World:
        """The same product line behind the API, with its sweeper."""
        return World(IssuerKind.PRIVATE_CA, cloud=self.cloud, deployment=issuer_environment()[Variable.DEPLOYMENT])

    def sweep(self) -> Mapping[SweepOutcome, int]:
        """The sweeper's next run, once it leaves nothing to the device any more."""
        return self.world.sweep(after=timedelta(minutes=6)).outcomes


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> FakeCloud:
    cloud = FakeCloud()
    cloud.enroll("widget-1", verified_csr("widget-1").public_key.fingerprint)
    monkeypatch.setattr(clients, "dynamodb", lambda: cloud.client("dynamodb"))
    monkeypatch.setattr(single_try_clients, "iot", lambda: cloud.client("iot"))
    monkeypatch.setattr(single_try_clients, "acm_pca", lambda _arn: cloud.client("acm-pca"))
    monkeypatch.setattr("secretfree.clock.SystemClock", lambda: cloud.clock)
    monkeypatch.setattr(wiring, "SystemClock", lambda: cloud.clock)
    monkeypatch.setattr(wiring, "ThreadPoolExecutor", lambda **_: InlineExecutor())
    return cloud


@pytest.fixture
def fleet(cloud: FakeCloud) -> Fleet:
    return Fleet(cloud)


CSR = verified_csr("widget-1").pem()


def test_a_device_of_the_registry_is_provisioned_under_its_own_name(fleet: Fleet) -> None:
    certificate_id = fleet.sign(CSR)
    assert fleet.ask_hook(certificate_id) == {
        "allowProvisioning": True,
        "parameterOverrides": {FLEET_THING_NAME: "widget-1"},
    }
    certificate = x509.load_pem_x509_certificate(fleet.cloud.certificates[certificate_id].pem.encode())
    assert certificate.subject.rfc4514_string() == "CN=widget-1"
    assert fleet.cloud.things["widget-1"]["type"] == THING_TYPE
    registering = {"RegisterCertificate", "AttachPolicy", "AttachThingPrincipal", "UpdateCertificate"}
    assert not registering & set(fleet.cloud.calls)


def test_the_ca_signs_as_for_the_api_with_the_token_of_the_generation(fleet: Fleet) -> None:
    fleet.provision(CSR)
    (order,) = fleet.cloud.orders.values()
    record = fleet.world.ports.ledger.read(DeviceId("widget-1"), "private-ca")
    assert record is not None
    assert order["TemplateArn"] == TEMPLATE
    assert order["Validity"] == {"Type": "DAYS", "Value": 365}
    assert order["IdempotencyToken"] == record.token(issuer_environment()[Variable.DEPLOYMENT])


def test_the_sweeper_records_what_was_provisioned_and_the_api_then_serves_it(fleet: Fleet) -> None:
    certificate_id = fleet.provision(CSR)
    assert fleet.sweep() == {SweepOutcome.FINISHED: 1}
    assert fleet.record["state"] == "active"
    assert ("widget-1", f"certificate#{certificate_id}") in fleet.cloud.items
    answer = fleet.world.ask()
    assert isinstance(answer, IssuedCertificate)
    assert answer.certificate_id == certificate_id


def test_a_device_that_never_came_to_the_hook_is_not_shut_out(fleet: Fleet) -> None:
    first = fleet.sign(CSR)
    assert fleet.sweep() == {SweepOutcome.PARKED: 1}
    second = fleet.provision(CSR)
    assert second != first
    assert fleet.ask_hook(first) == DENIED
    fleet.sweep()
    assert (fleet.record["state"], fleet.record["certificate-id"]) == ("active", second)


def test_a_device_that_comes_late_to_the_hook_is_recorded_too(fleet: Fleet) -> None:
    certificate_id = fleet.sign(CSR)
    fleet.sweep()
    assert fleet.ask_hook(certificate_id)["allowProvisioning"] is True
    fleet.activate(certificate_id, "widget-1")
    fleet.sweep()
    assert fleet.record["state"] == "active"


def test_a_certificate_in_use_is_superseded_only_once_it_is_recorded_and_stays_good(fleet: Fleet) -> None:
    first = fleet.provision(CSR)
    with pytest.raises(ProviderError):
        fleet.sign(CSR)
    assert len(fleet.cloud.issued) == 1
    fleet.sweep()
    second = fleet.provision(CSR)
    fleet.sweep()
    assert fleet.record["certificate-id"] == second
    assert {fleet.cloud.certificates[one].status for one in (first, second)} == {"ACTIVE"}


def test_block_reaches_what_was_provisioned(fleet: Fleet) -> None:
    certificate_id = fleet.provision(CSR)
    revoker = Revoker(fleet.world)
    revoker.block()
    assert revoker.deliver().certificates == (certificate_id,)
    assert fleet.cloud.certificates[certificate_id].status == "REVOKED"
    with pytest.raises(ProviderError):
        fleet.sign(CSR)


def test_a_certificate_that_an_operator_revoked_is_not_replaced(fleet: Fleet) -> None:
    certificate_id = fleet.provision(CSR)
    fleet.sweep()
    fleet.cloud.revoke(certificate_id)
    with pytest.raises(ProviderError):
        fleet.sign(CSR)
    assert len(fleet.cloud.issued) == 1


def forged() -> str:
    der = bytearray(verified_csr("widget-1").der)
    der[-1] ^= 1
    return base64.b64encode(der).decode()


@pytest.mark.parametrize(
    ("csr", "status", "reason"),
    [
        (lambda: verified_csr("stranger").pem(), "allowed", Reason.UNKNOWN_DEVICE),
        (lambda: verified_csr("widget-1", 7).pem(), "allowed", Reason.KEY_MISMATCH),
        (lambda: CSR, "blocked", Reason.BLOCKED_DEVICE),
        (forged, "allowed", Reason.BAD_SIGNATURE),
        (lambda: "no request!", "allowed", Reason.NOT_BASE64),
        (lambda: "", "allowed", Reason.MISSING_BODY),
        (lambda: 7, "allowed", Reason.MISSING_BODY),
    ],
    ids=["unknown", "clone", "blocked", "forged", "nonsense", "empty", "no text"],
)
def test_the_provider_refuses_what_the_authorizer_refuses_and_nothing_is_issued(
    csr: Callable[[], Any], status: str, reason: Reason, fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.cloud.enroll("widget-1", verified_csr("widget-1").public_key.fingerprint, status=status)
    with pytest.raises(ProviderError) as refusal:
        fleet.sign(csr())
    assert (refusal.value.__cause__, str(refusal.value)) == (None, "no certificate for this request")
    assert (fleet.cloud.issued, fleet.cloud.items, fleet.cloud.things) == ([], {}, {})
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["reason"] for line in lines if line.get("event") == "denied"] == [reason]


def of_another_ca(fleet: Fleet, device: str = "widget-1", key: int = 0) -> str:
    """A certificate that the provider did not sign, as before it takes effect."""
    pem = fleet.cloud.sign(verified_csr(device, key).pem(), device)
    return fleet.cloud.add_certificate(pem, "PENDING_ACTIVATION").certificate_id


def signed_then_enrolled_so(key: int, **attributes: str) -> Callable[[Fleet], str]:
    def prepare(fleet: Fleet) -> str:
        certificate_id = fleet.sign(CSR)
        fleet.cloud.enroll("widget-1", verified_csr("widget-1", key).public_key.fingerprint, **attributes)
        return certificate_id

    return prepare


def signed_then_removed(fleet: Fleet) -> str:
    certificate_id = fleet.sign(CSR)
    fleet.cloud.registry.clear()
    return certificate_id


def settled(fleet: Fleet) -> str:
    certificate_id = fleet.provision(CSR)
    fleet.sweep()
    return certificate_id


@pytest.mark.parametrize(
    "prepare",
    [
        of_another_ca,
        lambda fleet: of_another_ca(fleet, "stranger"),
        lambda fleet: of_another_ca(fleet, key=7),
        lambda fleet: fleet.sign(CSR) and of_another_ca(fleet),
        signed_then_enrolled_so(0, status="blocked"),
        signed_then_enrolled_so(7),
        signed_then_removed,
        settled,
    ],
    ids=["not of the provider", "unknown", "clone", "another of the key", "blocked", "other key", "removed", "settled"],
)
def test_the_hook_denies_what_the_registry_or_the_ledger_does_not_have_so(
    prepare: Callable[[Fleet], str], fleet: Fleet
) -> None:
    certificate_id = prepare(fleet)
    before = dict(fleet.cloud.items)
    assert fleet.ask_hook(certificate_id) == DENIED
    assert fleet.cloud.items == before


@pytest.mark.parametrize(
    "changes",
    [
        {"certificateId": "0" * 64},
        {"certificatePem": "nonsense"},
        {"certificatePem": None},
        {"certificatePem": "-----BEGIN CERTIFICATE-----" * 1_000},
        {"parameters": {"ThingName": "widget-2"}},
        {"parameters": "ThingName"},
    ],
)
def test_the_hook_denies_an_event_that_does_not_agree_with_its_certificate(
    changes: dict[str, Any], fleet: Fleet
) -> None:
    assert fleet.ask_hook(fleet.sign(CSR), **changes) == DENIED


def test_the_hook_takes_the_name_that_the_certificate_has(fleet: Fleet) -> None:
    assert fleet.ask_hook(fleet.sign(CSR), parameters={"ThingName": "widget-1"})["allowProvisioning"] is True


@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.TIMED_OUT_BEFORE, Fault.TIMED_OUT_AFTER, Fault.REFUSED])
@pytest.mark.parametrize("call", ["GetItem", "PutItem"])
def test_the_hook_denies_where_a_table_does_not_answer(call: str, fault: Fault, fleet: Fleet) -> None:
    certificate_id = fleet.sign(CSR)
    fleet.cloud.always[call] = fault
    assert fleet.ask_hook(certificate_id) == DENIED
    fleet.cloud.always.clear()
    assert fleet.ask_hook(certificate_id)["allowProvisioning"] is True


def test_a_block_between_the_hook_s_reads_and_its_write_denies(fleet: Fleet) -> None:
    certificate_id = fleet.sign(CSR)
    revoker = Revoker(fleet.world)

    def block() -> None:
        revoker.block()
        revoker.deliver()

    fleet.cloud.before_call[len(fleet.cloud.calls) + 3] = block
    assert fleet.ask_hook(certificate_id) == DENIED
    assert fleet.record["state"] == "revoked"


@pytest.mark.parametrize("call", ["GetItem", "PutItem", "IssueCertificate", "GetCertificate", "CreateThing"])
@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.TIMED_OUT_BEFORE, Fault.REFUSED])
def test_where_aws_fails_the_provider_refuses_and_the_device_comes_through_later(
    call: str, fault: Fault, fleet: Fleet
) -> None:
    fleet.cloud.always[call] = fault
    with pytest.raises(ProviderError):
        fleet.sign(CSR)
    fleet.cloud.always.clear()
    for _ in range(3):  # after a throttle, devices wait for their turns
        fleet.cloud.clock.sleep(600)
        with contextlib.suppress(ProviderError):
            fleet.provision(CSR)
            break
    fleet.world.quiesce()
    fleet.world.require_invariants_at_quiescence()
    assert fleet.record["state"] == "active"


def test_a_thing_of_another_type_is_not_taken_over(fleet: Fleet) -> None:
    fleet.cloud.things["widget-1"] = {"type": "boiler", "attributes": {}}
    with pytest.raises(ProviderError):
        fleet.sign(CSR)


def test_a_device_that_asks_in_a_loop_is_held_back(fleet: Fleet) -> None:
    for _ in range(30):
        with contextlib.suppress(ProviderError):
            fleet.sign(CSR)
    assert len(fleet.cloud.issued) == 10


def test_nothing_of_a_request_is_logged(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.provision(CSR)
    out = capsys.readouterr().out
    assert "BEGIN" not in out
    events = [line["event"] for line in map(json.loads, out.splitlines()) if "event" in line]
    assert events == ["allowed", "issued", "provisioning allowed"]
