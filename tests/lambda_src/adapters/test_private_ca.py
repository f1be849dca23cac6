"""Issuing through AWS Private CA: the exact requests, and what each failure means."""

from collections.abc import Iterator
from dataclasses import replace
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
from secretfree.adapters.iot_core import IotCoreThings
from secretfree.adapters.issuers.private_ca import PrivateCaConfig, PrivateCaIssuer
from secretfree.config.issuers import SubjectConfig
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.ports import (
    CertificateOrder,
    CertificateRevokedError,
    DeviceCertificate,
    RequestFailedError,
    ThrottledError,
    UnreachableError,
)
from secretfree.request.device_id import DeviceId

CA_ARN = "arn:aws:acm-pca:eu-central-1:111122223333:certificate-authority/11111111-2222-3333-4444-555555555555"
CERTIFICATE_ARN = f"{CA_ARN}/certificate/0123456789abcdef0123456789abcdef"
TEMPLATE = "arn:aws:acm-pca:::template/EndEntityClientAuthCertificate_APIPassthrough/V1"
CONFIG = PrivateCaConfig(
    authority_arn=CA_ARN,
    signing_algorithm="SHA384WITHECDSA",
    template_arn=TEMPLATE,
    validity=timedelta(days=90),
    registered=True,
)
TOKEN = "0" * 36


def self_signed(common_name: str) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(start).not_valid_after(start + timedelta(days=90))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


LEAF, ISSUING, ROOT = self_signed("widget-1"), self_signed("Issuing CA"), self_signed("Root CA")


class Stubbed:
    def __init__(self) -> None:
        self.authority = boto3.client("acm-pca")
        self.iot = boto3.client("iot")
        self.pca_stub = Stubber(self.authority)
        self.iot_stub = Stubber(self.iot)
        self.things = IotCoreThings(self.iot, thing_type="widget", policy_name="policy")

    def issuer(self, config: PrivateCaConfig = CONFIG, subject: SubjectConfig | None = None) -> PrivateCaIssuer:
        subject = subject or SubjectConfig(organization="Example", organizational_unit="Widgets", country="DE")
        return PrivateCaIssuer(lambda _arn: self.authority, self.iot, self.things, config=config, subject=subject)


@pytest.fixture
def stubbed() -> Iterator[Stubbed]:
    stubbed = Stubbed()
    with stubbed.pca_stub, stubbed.iot_stub:
        yield stubbed
        stubbed.pca_stub.assert_no_pending_responses()
        stubbed.iot_stub.assert_no_pending_responses()


@pytest.fixture
def order(verified_csr: Any) -> CertificateOrder:
    csr = verified_csr("whatever-the-CSR-says")
    return CertificateOrder(device_id=DeviceId.parse("widget-1"), csr=csr, token=TOKEN)


def certificate(stubbed: Stubbed) -> DeviceCertificate:
    stubbed.pca_stub.add_response("get_certificate", {"Certificate": LEAF, "CertificateChain": ISSUING + ROOT})
    collected = stubbed.issuer().collect(CERTIFICATE_ARN)
    assert collected is not None
    return collected


def pem_of(der: bytes) -> bytes:
    return x509.load_der_x509_csr(der).public_bytes(Encoding.PEM)


def test_the_request_takes_the_key_from_the_csr_and_all_else_from_the_policy(
    stubbed: Stubbed, order: CertificateOrder
) -> None:
    stubbed.pca_stub.add_response(
        "issue_certificate",
        {"CertificateArn": CERTIFICATE_ARN},
        {
            "CertificateAuthorityArn": CA_ARN,
            "Csr": pem_of(order.csr.der),
            "SigningAlgorithm": "SHA384WITHECDSA",
            "TemplateArn": TEMPLATE,
            "Validity": {"Type": "DAYS", "Value": 90},
            "ApiPassthrough": {
                "Subject": {
                    "Country": "DE",
                    "Organization": "Example",
                    "OrganizationalUnit": "Widgets",
                    "CommonName": "widget-1",
                }
            },
            "IdempotencyToken": TOKEN,
        },
    )
    assert stubbed.issuer().request(order) == CERTIFICATE_ARN


def test_a_policy_without_organisation_leaves_the_common_name_alone(stubbed: Stubbed, order: CertificateOrder) -> None:
    seen: dict[str, Any] = {}
    stubbed.authority.meta.events.register(
        "provide-client-params.acm-pca.IssueCertificate", lambda params, **_: seen.update(params)
    )
    stubbed.pca_stub.add_response("issue_certificate", {"CertificateArn": CERTIFICATE_ARN})
    stubbed.issuer(subject=SubjectConfig()).request(order)
    assert seen["ApiPassthrough"] == {"Subject": {"CommonName": "widget-1"}}


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("ThrottlingException", 400, ThrottledError),
        ("LimitExceededException", 400, SecretFreeError),  # a quota is used up: waiting does not help
        ("TooManyRequests", 429, ThrottledError),
        ("TransactionConflictException", 400, ThrottledError),
        ("InternalFailure", 500, UnreachableError),
    ],
)
def test_what_may_pass_is_distinguished_from_what_will_not(
    stubbed: Stubbed, order: CertificateOrder, code: str, status: int, expected: type[Exception]
) -> None:
    stubbed.pca_stub.add_client_error("issue_certificate", code, http_status_code=status)
    with pytest.raises(expected):
        stubbed.issuer().request(order)


@pytest.mark.parametrize("code", ["InvalidArgsException", "InvalidStateException", "ValidationException"])
def test_a_validity_beyond_the_ca_s_is_the_operator_s_to_mend(
    stubbed: Stubbed, order: CertificateOrder, code: str
) -> None:
    stubbed.pca_stub.add_client_error("issue_certificate", code, "validity exceeds the CA's")
    with pytest.raises(SecretFreeError, match="SECRETFREE_ISSUERS") as raised:
        stubbed.issuer().request(order)
    assert (raised.value.code, raised.value.reason) == (ErrorCode.INTERNAL, Reason.CONFIGURATION)


def test_a_csr_that_the_authority_does_not_take_is_a_bad_request(stubbed: Stubbed, order: CertificateOrder) -> None:
    stubbed.pca_stub.add_client_error("issue_certificate", "MalformedCSRException")
    with pytest.raises(SecretFreeError) as raised:
        stubbed.issuer().request(order)
    assert raised.value.code is ErrorCode.INVALID_REQUEST


def test_the_id_is_the_digest_of_the_der_and_the_chain_comes_along(stubbed: Stubbed) -> None:
    collected = certificate(stubbed)
    expected = x509.load_pem_x509_certificate(LEAF.encode()).fingerprint(hashes.SHA256()).hex()
    assert collected.certificate_id == expected
    assert collected.certificate_pem == LEAF
    assert collected.chain is not None
    assert collected.chain.pem == ISSUING + ROOT
    assert collected.not_after == datetime(2026, 4, 1, tzinfo=UTC)


def test_line_ends_are_made_uniform(stubbed: Stubbed) -> None:
    stubbed.pca_stub.add_response("get_certificate", {"Certificate": LEAF.replace("\n", "\r\n").strip()})
    collected = stubbed.issuer().collect(CERTIFICATE_ARN)
    assert collected is not None
    assert (collected.certificate_pem, collected.chain) == (LEAF, None)


def test_a_certificate_in_the_making_is_none_and_one_that_failed_an_error(stubbed: Stubbed) -> None:
    stubbed.pca_stub.add_client_error("get_certificate", "RequestInProgressException")
    assert stubbed.issuer().collect(CERTIFICATE_ARN) is None
    stubbed.pca_stub.add_client_error("get_certificate", "RequestFailedException")
    with pytest.raises(RequestFailedError):
        stubbed.issuer().collect(CERTIFICATE_ARN)
    stubbed.pca_stub.add_client_error("get_certificate", "ThrottlingException")
    with pytest.raises(ThrottledError):
        stubbed.issuer().collect(CERTIFICATE_ARN)


def test_what_another_ca_was_asked_for_is_not_collected_from_this_one(stubbed: Stubbed) -> None:
    with pytest.raises(RequestFailedError):
        stubbed.issuer().collect(CERTIFICATE_ARN.replace("11111111-2222", "99999999-2222"))


def test_a_certificate_is_registered_active_naming_the_ca_that_signed_it(stubbed: Stubbed) -> None:
    collected = certificate(stubbed)
    stubbed.iot_stub.add_response(
        "register_certificate",
        {"certificateArn": "arn:cert", "certificateId": collected.certificate_id},
        {"certificatePem": LEAF, "caCertificatePem": ISSUING, "status": "ACTIVE"},
    )
    assert stubbed.issuer().install(collected, resumed=False) == "arn:cert"


def test_without_a_registered_ca_the_certificate_is_registered_alone(stubbed: Stubbed) -> None:
    collected = certificate(stubbed)
    stubbed.iot_stub.add_response(
        "register_certificate_without_ca", {"certificateArn": "arn:cert"}, {"certificatePem": LEAF, "status": "ACTIVE"}
    )
    assert stubbed.issuer(replace(CONFIG, registered=False)).install(collected, resumed=False) == "arn:cert"


def described(status: str, certificate_id: str) -> dict[str, Any]:
    return {
        "certificateDescription": {
            "certificateArn": "arn:cert",
            "certificateId": certificate_id,
            "status": status,
            "certificatePem": LEAF,
        }
    }


@pytest.mark.parametrize("status", ["ACTIVE", "INACTIVE", "REVOKED", "PENDING_TRANSFER"])
def test_already_registered_is_success_if_active_and_never_reactivated(stubbed: Stubbed, status: str) -> None:
    collected = certificate(stubbed)
    stubbed.iot_stub.add_client_error("register_certificate", "ResourceAlreadyExistsException", http_status_code=409)
    stubbed.iot_stub.add_response(
        "describe_certificate",
        described(status, collected.certificate_id),
        {"certificateId": collected.certificate_id},
    )
    if status == "ACTIVE":
        assert stubbed.issuer().install(collected, resumed=False) == "arn:cert"
    else:
        with pytest.raises(CertificateRevokedError):
            stubbed.issuer().install(collected, resumed=False)


def test_already_registered_under_another_id_is_a_conflict(stubbed: Stubbed) -> None:
    collected = certificate(stubbed)
    stubbed.iot_stub.add_client_error("register_certificate", "ResourceAlreadyExistsException", http_status_code=409)
    stubbed.iot_stub.add_client_error("describe_certificate", "ResourceNotFoundException", http_status_code=404)
    with pytest.raises(SecretFreeError) as raised:
        stubbed.issuer().install(collected, resumed=False)
    assert raised.value.code is ErrorCode.CONFLICT


def test_another_refusal_to_register_is_ours_to_mend(stubbed: Stubbed) -> None:
    collected = certificate(stubbed)
    stubbed.iot_stub.add_client_error("register_certificate", "CertificateValidationException")
    with pytest.raises(SecretFreeError) as raised:
        stubbed.issuer().install(collected, resumed=False)
    assert raised.value.code is ErrorCode.INTERNAL


def test_activation_and_recovery_cost_no_call(stubbed: Stubbed) -> None:
    issuer = stubbed.issuer()
    issuer.activate("c" * 64)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert issuer.search().find("f" * 64, since=now, until=now, known=()) == ()
    assert issuer.installs_active
