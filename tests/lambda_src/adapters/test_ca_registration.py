"""Registering a private CA with IoT Core: both modes, repeated requests, and what is cleaned up."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import ANY, Stubber
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from secretfree.adapters.ca_registration import CaRegistration, CaRegistrationRequest
from secretfree.config.environment import ConfigurationError

CA_ARN = "arn:aws:acm-pca:eu-central-1:111122223333:certificate-authority/11111111-2222-3333-4444-555555555555"
ARN = f"{CA_ARN}/certificate/0123456789abcdef0123456789abcdef"
PASSTHROUGH = "arn:aws:acm-pca:::template/EndEntityClientAuthCertificate_APIPassthrough/V1"
PROPERTIES = {
    "CertificateAuthorityArn": CA_ARN,
    "Mode": "DEFAULT",
    "SigningAlgorithm": "SHA256WITHECDSA",
    "TemplateArn": PASSTHROUGH,
}
CODE = "ab" * 32
CACERT = "arn:aws:iot:eu-central-1:111122223333:cacert/1"
TAG = "secretfree:registered-by"
OWNER, ANOTHER = "0" * 32, "1" * 32


class Stubbed:
    def __init__(self, pem: str) -> None:
        self.pem = pem
        self.id = x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex()
        self.iot = boto3.client("iot")
        self.pca = boto3.client("acm-pca")
        self.iot_stub = Stubber(self.iot)
        self.pca_stub = Stubber(self.pca)
        self.slept: list[float] = []
        self.registration = CaRegistration(self.iot, self.pca, sleep=self.slept.append)

    def gives_ca(self) -> None:
        self.pca_stub.add_response(
            "get_certificate_authority_certificate", {"Certificate": self.pem}, {"CertificateAuthorityArn": CA_ARN}
        )

    def describes(self, status: str | None, *, owner: str | None = None) -> None:
        if status is None:
            self.iot_stub.add_client_error("describe_ca_certificate", "ResourceNotFoundException", http_status_code=404)
        else:
            self.iot_stub.add_response(
                "describe_ca_certificate",
                {"certificateDescription": {"status": status, "certificateArn": CACERT}},
                {"certificateId": self.id},
            )
            self.tagged(owner)

    def tagged(self, owner: str | None) -> None:
        tags = [{"Key": "team", "Value": OWNER}, *([] if owner is None else [{"Key": TAG, "Value": owner}])]
        # A page without the tag comes first.
        self.iot_stub.add_response("list_tags_for_resource", {"tags": [], "nextToken": "more"}, {"resourceArn": CACERT})
        self.iot_stub.add_response(
            "list_tags_for_resource", {"tags": tags}, {"resourceArn": CACERT, "nextToken": "more"}
        )

    def verifies(self, *, in_progress: int = 0) -> None:
        self.iot_stub.add_response("get_registration_code", {"registrationCode": CODE})
        self.pca_stub.add_response("issue_certificate", {"CertificateArn": ARN})
        for _ in range(in_progress):
            self.pca_stub.add_client_error("get_certificate", "RequestInProgressException")
        self.pca_stub.add_response("get_certificate", {"Certificate": "VERIFICATION"})

    def registers(self) -> None:
        self.iot_stub.add_response(
            "register_ca_certificate",
            {"certificateId": self.id},
            {
                "caCertificate": self.pem,
                "setAsActive": True,
                "allowAutoRegistration": False,
                "certificateMode": "DEFAULT",
                "verificationCertificate": "VERIFICATION",
                "tags": [{"Key": TAG, "Value": OWNER}],
            },
        )

    def ensure(self, previous: str | None = None, **properties: str) -> Any:
        request = CaRegistrationRequest.from_properties(PROPERTIES | properties, owner=OWNER)
        return self.registration.ensure(request, previous_physical_id=previous)


@pytest.fixture
def stubbed(certificate_pem: str) -> Iterator[Stubbed]:
    stubbed = Stubbed(certificate_pem)
    with stubbed.iot_stub, stubbed.pca_stub:
        yield stubbed
        stubbed.iot_stub.assert_no_pending_responses()
        stubbed.pca_stub.assert_no_pending_responses()


@pytest.fixture(scope="module")
def certificate_pem() -> str:
    from datetime import UTC, datetime, timedelta

    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Device CA")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(start).not_valid_after(start + timedelta(days=90))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def test_the_ca_is_registered_with_a_certificate_for_the_account_s_code(stubbed: Stubbed) -> None:
    sent: dict[str, Any] = {}
    stubbed.pca.meta.events.register(
        "provide-client-params.acm-pca.IssueCertificate", lambda params, **_: sent.update(params)
    )
    stubbed.gives_ca()
    stubbed.describes(None)
    stubbed.verifies(in_progress=2)
    stubbed.registers()
    registered = stubbed.ensure()
    assert registered.physical_id == f"{stubbed.id}/{OWNER}"
    assert stubbed.slept == [0.1, 0.2]
    csr = x509.load_pem_x509_csr(sent["Csr"])
    assert csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == CODE
    assert sent["ApiPassthrough"] == {"Subject": {"CommonName": CODE}}
    assert (sent["SigningAlgorithm"], sent["TemplateArn"]) == ("SHA256WITHECDSA", PASSTHROUGH)


def test_a_template_without_passthrough_takes_the_code_from_the_csr(stubbed: Stubbed) -> None:
    plain = "arn:aws:acm-pca:::template/EndEntityCertificate/V1"
    stubbed.gives_ca()
    stubbed.describes(None)
    stubbed.iot_stub.add_response("get_registration_code", {"registrationCode": CODE})
    stubbed.pca_stub.add_response(
        "issue_certificate",
        {"CertificateArn": ARN},
        {
            "CertificateAuthorityArn": CA_ARN,
            "Csr": ANY,
            "SigningAlgorithm": "SHA256WITHECDSA",
            "TemplateArn": plain,
            "Validity": {"Type": "DAYS", "Value": 1},
        },
    )
    stubbed.pca_stub.add_response("get_certificate", {"Certificate": "VERIFICATION"})
    stubbed.registers()
    stubbed.ensure(TemplateArn=plain)


def test_the_sni_only_mode_proves_nothing_and_needs_no_template(stubbed: Stubbed) -> None:
    stubbed.gives_ca()
    stubbed.describes(None)
    stubbed.iot_stub.add_response(
        "register_ca_certificate",
        {},
        {
            "caCertificate": stubbed.pem,
            "setAsActive": True,
            "allowAutoRegistration": False,
            "certificateMode": "SNI_ONLY",
            "tags": [{"Key": TAG, "Value": OWNER}],
        },
    )
    request = CaRegistrationRequest.from_properties(
        {"CertificateAuthorityArn": CA_ARN, "Mode": "SNI_ONLY"}, owner=OWNER
    )
    assert not stubbed.registration.ensure(request).shared


def test_a_ca_that_was_there_before_is_used_and_left_there(stubbed: Stubbed) -> None:
    stubbed.gives_ca()
    stubbed.describes("ACTIVE")
    registered = stubbed.ensure()
    assert registered.physical_id == f"{stubbed.id}/shared"
    stubbed.registration.remove(registered.physical_id)


@pytest.mark.parametrize("previous", [None, "mine", "shared"])
def test_the_registrations_own_tag_names_its_owner(stubbed: Stubbed, previous: str | None) -> None:
    """Also where an earlier try of the same request registered the CA and its answer was lost."""
    before = None if previous is None else f"{stubbed.id}/{OWNER if previous == 'mine' else 'shared'}"
    stubbed.gives_ca()
    stubbed.describes("ACTIVE", owner=OWNER)
    assert stubbed.ensure(previous=before).physical_id == f"{stubbed.id}/{OWNER}"
    stubbed.gives_ca()
    stubbed.describes("ACTIVE", owner=ANOTHER)
    assert stubbed.ensure(previous=before).physical_id == f"{stubbed.id}/shared"


def test_an_update_keeps_the_id_of_a_registration_without_a_tag(stubbed: Stubbed) -> None:
    """Another id would make CloudFormation delete the old one, and with it the registration in use."""
    stubbed.gives_ca()
    stubbed.describes("ACTIVE")
    assert stubbed.ensure(previous=stubbed.id).physical_id == stubbed.id


def test_an_inactive_ca_is_activated(stubbed: Stubbed) -> None:
    stubbed.gives_ca()
    stubbed.describes("INACTIVE")
    stubbed.iot_stub.add_response("update_ca_certificate", {}, {"certificateId": stubbed.id, "newStatus": "ACTIVE"})
    assert stubbed.ensure().shared


def test_losing_a_race_to_register_is_finding_it_there(stubbed: Stubbed) -> None:
    stubbed.gives_ca()
    stubbed.describes(None)
    stubbed.verifies()
    stubbed.iot_stub.add_client_error("register_ca_certificate", "ResourceAlreadyExistsException", http_status_code=409)
    assert stubbed.ensure().shared


def test_a_refusal_to_register_is_reported(stubbed: Stubbed) -> None:
    stubbed.gives_ca()
    stubbed.describes(None)
    stubbed.verifies()
    stubbed.iot_stub.add_client_error("register_ca_certificate", "RegistrationCodeValidationException")
    with pytest.raises(ClientError, match="RegistrationCodeValidationException"):
        stubbed.ensure()


def test_a_verification_certificate_that_never_comes_is_given_up(stubbed: Stubbed) -> None:
    stubbed.gives_ca()
    stubbed.describes(None)
    stubbed.iot_stub.add_response("get_registration_code", {"registrationCode": CODE})
    stubbed.pca_stub.add_response("issue_certificate", {"CertificateArn": ARN})
    for _ in range(40):
        stubbed.pca_stub.add_client_error("get_certificate", "RequestInProgressException")
    with pytest.raises(ClientError, match="RequestInProgressException"):
        stubbed.ensure()
    assert 90 <= sum(stubbed.slept) <= 100
    stubbed.pca_stub._queue.clear()


def test_an_unclear_state_is_not_taken_for_an_absent_ca(stubbed: Stubbed) -> None:
    stubbed.gives_ca()
    stubbed.iot_stub.add_client_error("describe_ca_certificate", "ThrottlingException")
    with pytest.raises(ClientError):
        stubbed.ensure()


@pytest.mark.parametrize("owner", [OWNER, None])
def test_deletion_deactivates_first(stubbed: Stubbed, owner: str | None) -> None:
    stubbed.describes("ACTIVE", owner=owner)
    stubbed.iot_stub.add_response(
        "update_ca_certificate",
        {},
        {"certificateId": stubbed.id, "newStatus": "INACTIVE", "newAutoRegistrationStatus": "DISABLE"},
    )
    stubbed.iot_stub.add_response("delete_ca_certificate", {}, {"certificateId": stubbed.id})
    stubbed.registration.remove(stubbed.id if owner is None else f"{stubbed.id}/{owner}")


@pytest.mark.parametrize(
    ("claimed", "found"), [(OWNER, ANOTHER), (OWNER, None), (None, ANOTHER)], ids=["re-registered", "by-hand", "old-id"]
)
def test_a_registration_that_another_made_since_is_not_deleted(
    stubbed: Stubbed, claimed: str | None, found: str | None
) -> None:
    stubbed.describes("ACTIVE", owner=found)
    stubbed.registration.remove(stubbed.id if claimed is None else f"{stubbed.id}/{claimed}")


def test_deleting_what_is_gone_or_was_never_made_is_success(stubbed: Stubbed) -> None:
    stubbed.describes(None)
    stubbed.registration.remove(f"{stubbed.id}/{OWNER}")
    stubbed.describes("ACTIVE", owner=OWNER)
    stubbed.iot_stub.add_client_error("update_ca_certificate", "ResourceNotFoundException", http_status_code=404)
    stubbed.registration.remove(f"{stubbed.id}/{OWNER}")
    stubbed.registration.remove("never-created")


def test_the_id_that_cloudformation_invents_where_no_answer_came_is_nobody_s(stubbed: Stubbed) -> None:
    stubbed.registration.remove("SecretFree-AuthorityRegistration-1ABCDEF23456")


@pytest.mark.parametrize("ours", [True, False])
def test_a_mode_that_cannot_be_changed_is_named(stubbed: Stubbed, ours: bool) -> None:
    stubbed.gives_ca()
    stubbed.iot_stub.add_response(
        "describe_ca_certificate",
        {"certificateDescription": {"status": "ACTIVE", "certificateMode": "SNI_ONLY", "certificateArn": CACERT}},
    )
    stubbed.tagged(None)
    with pytest.raises(ConfigurationError, match=r"Mode 'DEFAULT': .*SNI_ONLY"):
        stubbed.ensure(previous=stubbed.id if ours else None)


def test_another_s_registration_that_asks_less_of_devices_is_used(stubbed: Stubbed) -> None:
    stubbed.gives_ca()
    stubbed.iot_stub.add_response(
        "describe_ca_certificate",
        {"certificateDescription": {"status": "ACTIVE", "certificateMode": "DEFAULT", "certificateArn": CACERT}},
    )
    stubbed.tagged(None)
    assert stubbed.ensure(Mode="SNI_ONLY").shared


def test_a_deletion_that_is_refused_is_reported(stubbed: Stubbed) -> None:
    stubbed.describes("ACTIVE")
    stubbed.iot_stub.add_response("update_ca_certificate", {})
    stubbed.iot_stub.add_client_error("delete_ca_certificate", "CertificateStateException")
    with pytest.raises(ClientError):
        stubbed.registration.remove(stubbed.id)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"Mode": "BOTH"}, "Mode 'BOTH'; accepted: DEFAULT, SNI_ONLY"),
        ({"CertificateAuthorityArn": ""}, "CertificateAuthorityArn"),
        ({"SigningAlgorithm": None}, "SigningAlgorithm"),
        ({"TemplateArn": 7}, "TemplateArn"),
    ],
)
def test_a_malformed_property_is_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        CaRegistrationRequest.from_properties(PROPERTIES | change, owner=OWNER)
