"""Things, attachments and Amazon's CA at IoT Core: the exact requests, and what each failure means."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from secretfree.adapters.certificates import key_fingerprint
from secretfree.adapters.iot_core import IotCoreThings
from secretfree.adapters.issuers.iot_core import IotCoreIssuer, SearchBounds
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.ports import (
    CertificateOrder,
    CertificateRevokedError,
    CertificateStatus,
    DeviceCertificate,
    RequestFailedError,
    SearchTooWideError,
    StillAttachedError,
    ThrottledError,
)
from secretfree.request.device_id import DeviceId

DEVICE = DeviceId.parse("widget-1")
ARN = "arn:aws:iot:eu-central-1:111122223333:cert/" + "c" * 64
ID = "c" * 64
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def self_signed() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "AWS IoT Certificate")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=90))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


PEM = self_signed()
OTHER_PEM = self_signed()


class Stubbed:
    def __init__(self) -> None:
        self.client = boto3.client("iot")
        self.stub = Stubber(self.client)
        self.things = IotCoreThings(
            self.client,
            thing_type="widget",
            policy_name="policy",
            groups=("all",),
            attributes={"line": "7"},
        )
        self.issuer = IotCoreIssuer(self.client, self.things)

    def describes(self, status: str, certificate_id: str = ID, pem: str = PEM) -> None:
        description = {
            "certificateArn": ARN.replace(ID, certificate_id),
            "certificateId": certificate_id,
            "status": status,
            "certificatePem": pem,
        }
        self.stub.add_response(
            "describe_certificate", {"certificateDescription": description}, {"certificateId": certificate_id}
        )

    def fails(self, method: str, code: str, status: int = 400) -> None:
        self.stub.add_client_error(method, code, http_status_code=status)


@pytest.fixture
def stubbed() -> Iterator[Stubbed]:
    stubbed = Stubbed()
    with stubbed.stub:
        yield stubbed
        stubbed.stub.assert_no_pending_responses()


CREATE_THING = {
    "thingName": "widget-1",
    "thingTypeName": "widget",
    "attributePayload": {"attributes": {"line": "7"}},
}


def test_the_thing_is_made_with_its_type_and_attributes(stubbed: Stubbed) -> None:
    stubbed.stub.add_response("create_thing", {}, CREATE_THING)
    stubbed.things.ensure_thing(DEVICE)


def test_a_thing_with_other_settings_is_ours_if_it_is_of_our_type(stubbed: Stubbed) -> None:
    stubbed.fails("create_thing", "ResourceAlreadyExistsException", 409)
    stubbed.stub.add_response("describe_thing", {"thingTypeName": "widget"}, {"thingName": "widget-1"})
    stubbed.things.ensure_thing(DEVICE)


@pytest.mark.parametrize("answer", [{"thingTypeName": "boiler"}, {}])
def test_a_thing_of_another_type_or_none_is_a_conflict(stubbed: Stubbed, answer: dict[str, str]) -> None:
    stubbed.fails("create_thing", "ResourceAlreadyExistsException", 409)
    stubbed.stub.add_response("describe_thing", answer)
    with pytest.raises(SecretFreeError, match="not taken over") as raised:
        stubbed.things.ensure_thing(DEVICE)
    assert (raised.value.code, raised.value.reason) == (ErrorCode.CONFLICT, Reason.CONFLICTING_THING)


def test_a_missing_thing_type_is_ours_to_mend(stubbed: Stubbed) -> None:
    stubbed.fails("create_thing", "ResourceNotFoundException", 404)
    with pytest.raises(SecretFreeError) as raised:
        stubbed.things.ensure_thing(DEVICE)
    assert raised.value.code is ErrorCode.INTERNAL


def test_the_certificate_is_attached_to_its_thing_exclusively(stubbed: Stubbed) -> None:
    stubbed.stub.add_response("attach_policy", {}, {"policyName": "policy", "target": ARN})
    stubbed.stub.add_response(
        "attach_thing_principal",
        {},
        {"thingName": "widget-1", "principal": ARN, "thingPrincipalType": "EXCLUSIVE_THING"},
    )
    stubbed.stub.add_response("add_thing_to_thing_group", {}, {"thingGroupName": "all", "thingName": "widget-1"})
    for attachment in stubbed.things.attachments(DEVICE, ARN):
        attachment()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("ACTIVE", CertificateStatus.ACTIVE),
        ("REVOKED", CertificateStatus.REVOKED),
        ("INACTIVE", CertificateStatus.INACTIVE),
        ("PENDING_TRANSFER", CertificateStatus.INACTIVE),
        ("REGISTER_INACTIVE", CertificateStatus.INACTIVE),
    ],
)
def test_a_certificate_is_described(stubbed: Stubbed, status: str, expected: CertificateStatus) -> None:
    stubbed.describes(status)
    registered = stubbed.things.describe(ID)
    assert registered is not None
    assert (registered.certificate_arn, registered.status) == (ARN, expected)


def test_a_certificate_that_waits_for_its_provisioning_is_not_registered_yet(stubbed: Stubbed) -> None:
    stubbed.describes("PENDING_ACTIVATION")
    assert stubbed.things.describe(ID) is None


def test_an_unknown_certificate_is_none_and_a_throttle_is_not(stubbed: Stubbed) -> None:
    stubbed.fails("describe_certificate", "ResourceNotFoundException", 404)
    assert stubbed.things.describe(ID) is None
    stubbed.fails("describe_certificate", "ThrottlingException")
    with pytest.raises(ThrottledError):
        stubbed.things.describe(ID)


def test_retiring_closes_the_door_first_then_detaches_then_deletes(stubbed: Stubbed) -> None:
    stubbed.describes("ACTIVE")
    stubbed.stub.add_response("list_attached_policies", {"policies": [{"policyName": "policy"}]}, {"target": ARN})
    stubbed.stub.add_response("update_certificate", {}, {"certificateId": ID, "newStatus": "INACTIVE"})
    stubbed.stub.add_response("detach_policy", {}, {"policyName": "policy", "target": ARN})
    stubbed.stub.add_response("detach_thing_principal", {}, {"thingName": "widget-1", "principal": ARN})
    stubbed.stub.add_response("delete_certificate", {}, {"certificateId": ID, "forceDelete": True})
    stubbed.things.retire(DEVICE, ID)


def test_retiring_what_is_half_or_wholly_gone_is_success(stubbed: Stubbed) -> None:
    stubbed.describes("INACTIVE")
    stubbed.stub.add_response("list_attached_policies", {"policies": [{"policyName": "policy"}]}, {"target": ARN})
    for method in ("detach_policy", "detach_thing_principal", "delete_certificate"):
        stubbed.fails(method, "ResourceNotFoundException", 404)
    stubbed.things.retire(DEVICE, ID)
    stubbed.fails("describe_certificate", "ResourceNotFoundException", 404)
    stubbed.things.retire(DEVICE, ID)


def test_what_was_just_detached_may_be_deleted_in_a_while(stubbed: Stubbed) -> None:
    stubbed.describes("INACTIVE")
    stubbed.stub.add_response("list_attached_policies", {"policies": [{"policyName": "policy"}]}, {"target": ARN})
    stubbed.stub.add_response("detach_policy", {})
    stubbed.stub.add_response("detach_thing_principal", {})
    stubbed.fails("delete_certificate", "DeleteConflictException", 409)
    with pytest.raises(StillAttachedError):
        stubbed.things.retire(DEVICE, ID)


def test_retiring_reports_what_else_stands_in_the_way(stubbed: Stubbed) -> None:
    stubbed.describes("INACTIVE")
    stubbed.stub.add_response("list_attached_policies", {"policies": [{"policyName": "policy"}]}, {"target": ARN})
    stubbed.stub.add_response("detach_policy", {})
    stubbed.fails("detach_thing_principal", "ResourceNotFoundException", 404)
    stubbed.fails("delete_certificate", "DeleteConflictException", 409)
    with pytest.raises(SecretFreeError, match="DeleteConflictException"):
        stubbed.things.retire(DEVICE, ID)


def test_a_certificate_with_another_s_policy_is_not_even_deactivated(stubbed: Stubbed) -> None:
    stubbed.describes("ACTIVE")
    policies = [{"policyName": "policy"}, {"policyName": "another-line"}]
    stubbed.stub.add_response("list_attached_policies", {"policies": policies})
    with pytest.raises(SecretFreeError, match="another-line") as raised:
        stubbed.things.retire(DEVICE, ID)
    assert raised.value.reason is Reason.FOREIGN_CERTIFICATE


@pytest.mark.parametrize("code", ["CertificateStateException", "DeleteConflictException"])
def test_what_is_active_or_attached_is_not_discarded(stubbed: Stubbed, code: str) -> None:
    stubbed.fails("delete_certificate", code, 409)
    assert not stubbed.things.discard(ID)


def test_discarding_uses_no_force_and_one_that_is_gone_is_success(stubbed: Stubbed) -> None:
    stubbed.stub.add_response("delete_certificate", {}, {"certificateId": ID, "forceDelete": False})
    assert stubbed.things.discard(ID)
    stubbed.fails("delete_certificate", "ResourceNotFoundException", 404)
    assert stubbed.things.discard(ID)


def test_amazon_s_ca_gets_the_verified_csr_and_makes_an_inactive_certificate(
    stubbed: Stubbed, verified_csr: Any
) -> None:
    csr = verified_csr("widget-1")
    pem = x509.load_der_x509_csr(csr.der).public_bytes(Encoding.PEM).decode()
    stubbed.stub.add_response(
        "create_certificate_from_csr",
        {"certificateArn": ARN, "certificateId": ID, "certificatePem": PEM},
        {"certificateSigningRequest": pem, "setAsActive": False},
    )
    made = stubbed.issuer.request(CertificateOrder(device_id=DEVICE, csr=csr, token="0" * 36))
    assert (made.certificate_id, made.certificate_arn, made.certificate_pem) == (ID, ARN, PEM)
    assert stubbed.issuer.install(made, resumed=False) == ARN


def test_a_csr_that_iot_core_does_not_take_is_a_bad_request(stubbed: Stubbed, verified_csr: Any) -> None:
    stubbed.fails("create_certificate_from_csr", "InvalidRequestException")
    with pytest.raises(SecretFreeError) as raised:
        stubbed.issuer.request(CertificateOrder(device_id=DEVICE, csr=verified_csr("widget-1"), token="0" * 36))
    assert raised.value.code is ErrorCode.INVALID_REQUEST


def recorded() -> DeviceCertificate:
    return DeviceCertificate(certificate_id=ID, certificate_pem=PEM, chain=None, not_after=NOW)


def test_a_certificate_taken_up_again_is_looked_at_first(stubbed: Stubbed) -> None:
    stubbed.describes("INACTIVE")
    assert stubbed.issuer.install(recorded(), resumed=True) == ARN
    stubbed.describes("REVOKED")
    with pytest.raises(CertificateRevokedError):
        stubbed.issuer.install(recorded(), resumed=True)
    stubbed.fails("describe_certificate", "ResourceNotFoundException", 404)
    with pytest.raises(RequestFailedError):
        stubbed.issuer.install(recorded(), resumed=True)


def test_activation_is_one_call(stubbed: Stubbed) -> None:
    stubbed.stub.add_response("update_certificate", {}, {"certificateId": ID, "newStatus": "ACTIVE"})
    stubbed.issuer.activate(ID)
    assert not stubbed.issuer.repeatable_for
    assert not stubbed.issuer.installs_active


def test_there_is_no_reference_to_collect(stubbed: Stubbed) -> None:
    with pytest.raises(SecretFreeError, match="no references"):
        stubbed.issuer.collect("arn")


def entry(letter: str, *, status: str = "INACTIVE", created: datetime = NOW) -> dict[str, Any]:
    return {"certificateId": letter * 64, "status": status, "creationDate": created}


def search(stubbed: Stubbed, known: tuple[str, ...] = ()) -> list[str]:
    found = stubbed.issuer.search().find(
        key_fingerprint(PEM), since=NOW, until=NOW + timedelta(seconds=45), known=known
    )
    return [certificate.certificate_id for certificate in found]


def test_a_lost_certificate_is_found_by_its_key_among_the_inactive_ones_of_its_time(stubbed: Stubbed) -> None:
    listed = [
        entry("a"),
        entry("b"),
        entry("d", status="ACTIVE"),
        entry("e", created=NOW + timedelta(hours=1)),
        entry("f"),
        entry("9", created=NOW - timedelta(hours=1)),
    ]
    stubbed.stub.add_response(
        "list_certificates", {"certificates": listed, "nextMarker": "2"}, {"pageSize": 250, "ascendingOrder": False}
    )
    stubbed.describes("INACTIVE", "a" * 64)
    stubbed.describes("INACTIVE", "b" * 64, OTHER_PEM)
    assert search(stubbed, known=("f" * 64,)) == ["a" * 64]


def test_one_activated_meanwhile_is_not_taken(stubbed: Stubbed) -> None:
    stubbed.stub.add_response("list_certificates", {"certificates": [entry("a")]})
    stubbed.describes("ACTIVE", "a" * 64)
    assert search(stubbed) == []


def test_the_search_goes_on_to_the_next_page(stubbed: Stubbed) -> None:
    stubbed.stub.add_response("list_certificates", {"certificates": [entry("d", status="ACTIVE")], "nextMarker": "2"})
    stubbed.stub.add_response(
        "list_certificates",
        {"certificates": [entry("a")]},
        {"pageSize": 250, "ascendingOrder": False, "marker": "2"},
    )
    stubbed.describes("INACTIVE", "a" * 64)
    assert search(stubbed) == ["a" * 64]


def test_an_endless_list_is_given_up(stubbed: Stubbed) -> None:
    for _ in range(SearchBounds().pages):
        stubbed.stub.add_response(
            "list_certificates", {"certificates": [entry("d", status="ACTIVE")], "nextMarker": "2"}
        )
    with pytest.raises(SearchTooWideError):
        search(stubbed)


def test_a_search_lists_each_page_once_however_many_lost_ones_it_finds(stubbed: Stubbed) -> None:
    """M lost requests and C newer certificates: C / 250 pages, and one look at each candidate."""
    newest_first = [NOW + timedelta(hours=number) for number in reversed(range(5))]
    for number, created in enumerate(newest_first):
        page: dict[str, Any] = {"certificates": [entry(f"{number}", created=created)]}
        if created > NOW:
            page["nextMarker"] = f"{number}"
        stubbed.stub.add_response("list_certificates", page)
    finding = stubbed.issuer.search()
    for number, created in reversed(list(enumerate(newest_first))):
        stubbed.describes("INACTIVE", f"{number}" * 64)
        found = finding.find(key_fingerprint(PEM), since=created, until=created, known=())
        assert [certificate.certificate_id for certificate in found] == [f"{number}" * 64]
    stubbed.stub.assert_no_pending_responses()


def test_a_search_lists_no_further_than_it_is_asked(stubbed: Stubbed) -> None:
    for number in range(3):
        created = NOW - timedelta(hours=number)
        stubbed.stub.add_response(
            "list_certificates", {"certificates": [entry(f"{number}", created=created)], "nextMarker": f"{number}"}
        )
    finding = stubbed.issuer.search()
    between = NOW - timedelta(minutes=90)
    for _ in range(2):
        assert finding.find(key_fingerprint(PEM), since=between, until=between, known=()) == []
    stubbed.stub.assert_no_pending_responses()
