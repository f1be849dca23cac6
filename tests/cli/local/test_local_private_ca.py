"""The Private CA emulator, through boto3 against its process: what AWS Private CA would answer."""

from __future__ import annotations

import base64
import subprocess
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, SignatureAlgorithmOID

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("local-private-ca")]  # one process for all of them

TEMPLATE = "arn:aws:acm-pca:::template/{}/V1"
ROOT = TEMPLATE.format("RootCACertificate")
CLIENT = TEMPLATE.format("EndEntityClientAuthCertificate")
CLIENT_PASSTHROUGH = TEMPLATE.format("EndEntityClientAuthCertificate_APIPassthrough")
DAYS_30 = {"Type": "DAYS", "Value": 30}


class Authority:
    """An active root CA in the emulator."""

    def __init__(
        self,
        client: Any,
        *,
        key_algorithm: str = "EC_prime256v1",
        signing_algorithm: str = "SHA256WITHECDSA",
        usage_mode: str = "GENERAL_PURPOSE",
        days: int = 365,
    ) -> None:
        self.client = client
        self.signing_algorithm = signing_algorithm
        self.arn = create(
            client, key_algorithm=key_algorithm, signing_algorithm=signing_algorithm, usage_mode=usage_mode
        )
        csr = client.get_certificate_authority_csr(CertificateAuthorityArn=self.arn)["Csr"]
        issued = self.issue(csr.encode(), TemplateArn=ROOT, Validity={"Type": "DAYS", "Value": days})
        self.pem = self.get(issued)["Certificate"]
        client.import_certificate_authority_certificate(CertificateAuthorityArn=self.arn, Certificate=self.pem.encode())
        self.certificate = x509.load_pem_x509_certificate(self.pem.encode())

    def issue(self, csr: bytes, **arguments: Any) -> str:
        request = {"SigningAlgorithm": self.signing_algorithm, "TemplateArn": CLIENT, "Validity": DAYS_30, **arguments}
        return self.client.issue_certificate(CertificateAuthorityArn=self.arn, Csr=csr, **request)["CertificateArn"]

    def get(self, certificate_arn: str) -> dict[str, str]:
        return self.client.get_certificate(CertificateAuthorityArn=self.arn, CertificateArn=certificate_arn)

    def certificate_for(self, csr: bytes, **arguments: Any) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.get(self.issue(csr, **arguments))["Certificate"].encode())


@pytest.fixture(scope="module")
def client(start_private_ca) -> Any:
    return start_private_ca().client


@pytest.fixture(scope="module")
def authority(client) -> Authority:
    return Authority(client)


def create(
    client: Any,
    *,
    key_algorithm: str = "EC_prime256v1",
    signing_algorithm: str = "SHA256WITHECDSA",
    usage_mode: str = "GENERAL_PURPOSE",
    kind: str = "ROOT",
    common_name: str = "Factory root",
    **arguments: Any,
) -> str:
    return client.create_certificate_authority(
        CertificateAuthorityType=kind,
        UsageMode=usage_mode,
        CertificateAuthorityConfiguration={
            "KeyAlgorithm": key_algorithm,
            "SigningAlgorithm": signing_algorithm,
            "Subject": {"CommonName": common_name, "Organization": "Acme", "Country": "SE"},
        },
        **arguments,
    )["CertificateAuthorityArn"]


def make_csr(
    common_name: str = "device-1", *, key: Any = None, names: tuple[str, ...] = (), algorithm: Any = None
) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
        )
    request = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), algorithm or hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


@pytest.mark.parametrize(
    ("key_algorithm", "signing_algorithm", "curve"),
    [
        ("EC_prime256v1", "SHA256WITHECDSA", "secp256r1"),
        ("EC_secp384r1", "SHA384WITHECDSA", "secp384r1"),
        ("EC_secp521r1", "SHA512WITHECDSA", "secp521r1"),
    ],
)
def test_the_ca_has_the_elliptic_curve_asked_for(client, key_algorithm, signing_algorithm, curve):
    ca = Authority(client, key_algorithm=key_algorithm, signing_algorithm=signing_algorithm)
    assert ca.certificate.public_key().curve.name == curve


@pytest.mark.parametrize(("key_algorithm", "size"), [("RSA_2048", 2048), ("RSA_3072", 3072)])
def test_the_ca_has_the_rsa_size_asked_for(client, key_algorithm, size):
    ca = Authority(client, key_algorithm=key_algorithm, signing_algorithm="SHA256WITHRSA")
    assert ca.certificate.public_key().key_size == size


def test_the_signing_algorithm_asked_for_signs_the_certificate(authority):
    certificate = authority.certificate_for(make_csr(), SigningAlgorithm="SHA512WITHECDSA")
    assert certificate.signature_algorithm_oid == SignatureAlgorithmOID.ECDSA_WITH_SHA512
    certificate.verify_directly_issued_by(authority.certificate)


def test_an_rsa_ca_signs_with_pss_when_asked(client):
    ca = Authority(client, key_algorithm="RSA_2048", signing_algorithm="SHA256WITHRSA")
    certificate = ca.certificate_for(make_csr(), SigningAlgorithm="SHA256WITHRSA_PSS")
    assert isinstance(certificate.signature_algorithm_parameters, padding.PSS)
    certificate.verify_directly_issued_by(ca.certificate)


@pytest.mark.parametrize("algorithm", ["SHA256WITHRSA", "ML_DSA_44", "SM3WITHSM2"])
def test_a_signing_algorithm_of_another_family_is_refused(authority, algorithm):
    with pytest.raises(authority.client.exceptions.InvalidArgsException):
        authority.issue(make_csr(), SigningAlgorithm=algorithm)


def test_a_ca_whose_signing_algorithm_does_not_fit_its_key_is_not_made(client):
    with pytest.raises(client.exceptions.InvalidArgsException):
        create(client, key_algorithm="RSA_2048", signing_algorithm="SHA256WITHECDSA")


def test_the_client_template_makes_a_client_certificate_and_never_a_ca(authority):
    certificate = authority.certificate_for(make_csr())
    extensions = certificate.extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(False, None)
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert (usage.value.digital_signature, usage.value.key_encipherment, usage.value.key_cert_sign) == (
        True,
        True,
        False,
    )


def test_the_plain_template_copies_subject_and_names_from_the_csr_and_ignores_the_api(authority):
    certificate = authority.certificate_for(
        make_csr("from-csr", names=("csr.example",)), ApiPassthrough={"Subject": {"CommonName": "from-api"}}
    )
    assert certificate.subject.rfc4514_string() == "CN=from-csr"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["csr.example"]


def test_the_passthrough_template_takes_the_subject_from_the_api(authority):
    certificate = authority.certificate_for(
        make_csr("from-csr"),
        TemplateArn=CLIENT_PASSTHROUGH,
        ApiPassthrough={"Subject": {"Country": "SE", "Organization": "Acme", "CommonName": "from-api"}},
    )
    assert certificate.subject.rfc4514_string() == "CN=from-api,O=Acme,C=SE"


def test_what_the_template_fixes_wins_over_the_api(authority):
    certificate = authority.certificate_for(
        make_csr(),
        TemplateArn=CLIENT_PASSTHROUGH,
        ApiPassthrough={
            "Extensions": {
                "ExtendedKeyUsage": [{"ExtendedKeyUsageType": "SERVER_AUTH"}],
                "KeyUsage": {"KeyCertSign": True},
                "CustomExtensions": [
                    {"ObjectIdentifier": "2.5.29.19", "Value": base64.b64encode(b"\x30\x03\x01\x01\xff").decode()},
                    {"ObjectIdentifier": "1.3.6.1.4.1.55555.1", "Value": base64.b64encode(b"\x05\x00").decode()},
                ],
            }
        },
    )
    extensions = certificate.extensions
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1")).value.value == b"\x05\x00"


def test_the_apis_names_replace_the_csrs(authority):
    certificate = authority.certificate_for(
        make_csr(names=("csr.example",)),
        TemplateArn=CLIENT_PASSTHROUGH,
        ApiPassthrough={"Extensions": {"SubjectAlternativeNames": [{"DnsName": "api.example"}]}},
    )
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["api.example"]


def test_a_common_name_of_65_characters_is_refused(authority):
    request = {"CertificateAuthorityArn": authority.arn, "Csr": make_csr(), "Validity": DAYS_30}
    with pytest.raises(ClientError) as refused:
        authority.client.issue_certificate(
            **request,
            SigningAlgorithm="SHA256WITHECDSA",
            TemplateArn=CLIENT_PASSTHROUGH,
            ApiPassthrough={"Subject": {"CommonName": "x" * 65}},
        )
    assert code_of(refused) == "ValidationException"


@pytest.mark.parametrize(
    "template",
    [
        TEMPLATE.format("NoSuchCertificate"),
        "arn:aws:acm-pca:::template/EndEntityClientAuthCertificate/V2",
        "arn:aws:acm-pca:::EndEntityClientAuthCertificate/V1",
    ],
)
def test_an_unknown_template_is_refused(authority, template):
    with pytest.raises(authority.client.exceptions.InvalidArgsException):
        authority.issue(make_csr(), TemplateArn=template)


def test_validity_counts_from_issuance_and_begins_an_hour_before(authority):
    before = datetime.now(UTC).replace(microsecond=0)
    certificate = authority.certificate_for(make_csr(), Validity={"Type": "DAYS", "Value": 7})
    issued_at = certificate.not_valid_before_utc + timedelta(minutes=60)
    assert before <= issued_at <= datetime.now(UTC)
    assert certificate.not_valid_after_utc - issued_at == timedelta(days=7)


def test_absolute_validity_is_an_epoch_second(authority):
    end = int(time.time()) + 3600
    certificate = authority.certificate_for(make_csr(), Validity={"Type": "ABSOLUTE", "Value": end})
    assert certificate.not_valid_after_utc == datetime.fromtimestamp(end, UTC)


def test_a_certificate_never_outlives_its_ca(authority):
    with pytest.raises(ClientError) as refused:
        authority.issue(make_csr(), Validity={"Type": "DAYS", "Value": 366})
    assert code_of(refused) == "ValidationException"


def test_a_short_lived_ca_issues_for_seven_days_at_most(client):
    ca = Authority(client, usage_mode="SHORT_LIVED_CERTIFICATE")
    ca.issue(make_csr(), Validity={"Type": "DAYS", "Value": 7})
    with pytest.raises(ClientError) as refused:
        ca.issue(make_csr(), Validity={"Type": "DAYS", "Value": 8})
    assert code_of(refused) == "ValidationException"


def test_the_same_idempotency_token_means_the_same_certificate(authority):
    csr = make_csr()
    first = authority.issue(csr, IdempotencyToken="token-1")
    assert authority.issue(csr, IdempotencyToken="token-1") == first
    assert authority.issue(csr, IdempotencyToken="token-2") != first
    assert authority.issue(csr) != first


def test_an_idempotency_token_is_forgotten_after_its_window(start_private_ca):
    ca = Authority(start_private_ca(environment={"SECRETFREE_PRIVATE_CA_IDEMPOTENCY_SECONDS": "0.3"}).client)
    first = ca.issue(make_csr(), IdempotencyToken="token")
    time.sleep(0.35)
    assert ca.issue(make_csr(), IdempotencyToken="token") != first


def test_a_csr_whose_signature_is_not_by_its_key_is_refused(authority):
    der = bytearray(x509.load_pem_x509_csr(make_csr()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    forged = b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE REQUEST-----\n"
    with pytest.raises(authority.client.exceptions.MalformedCSRException):
        authority.issue(forged)


@pytest.mark.parametrize(
    "csr", [b"not a CSR", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"]
)
def test_what_is_no_csr_is_refused(authority, csr):
    with pytest.raises(authority.client.exceptions.MalformedCSRException):
        authority.issue(csr)


def test_a_certificate_is_in_progress_for_the_time_set(start_private_ca):
    client = start_private_ca(environment={"SECRETFREE_PRIVATE_CA_ISSUANCE_SECONDS": "0.4"}).client
    arn = create(client)
    csr = client.get_certificate_authority_csr(CertificateAuthorityArn=arn)["Csr"]
    issued = client.issue_certificate(
        CertificateAuthorityArn=arn,
        Csr=csr.encode(),
        SigningAlgorithm="SHA256WITHECDSA",
        TemplateArn=ROOT,
        Validity=DAYS_30,
    )["CertificateArn"]
    with pytest.raises(client.exceptions.RequestInProgressException):
        client.get_certificate(CertificateAuthorityArn=arn, CertificateArn=issued)
    time.sleep(0.45)
    assert client.get_certificate(CertificateAuthorityArn=arn, CertificateArn=issued)["Certificate"]


@pytest.mark.parametrize("answer", ["accept", "refuse"])
def test_a_sha1_csr_is_taken_or_refused_as_set(start_private_ca, tmp_path, answer):
    ca = Authority(start_private_ca(environment={"SECRETFREE_PRIVATE_CA_SHA1_CSR": answer}).client)
    (tmp_path / "key.pem").write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    csr = subprocess.run(
        ["openssl", "req", "-new", "-sha1", "-key", "key.pem", "-subj", "/CN=device-1"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    ).stdout
    if answer == "accept":
        assert ca.certificate_for(csr).subject.rfc4514_string() == "CN=device-1"
    else:
        with pytest.raises(ca.client.exceptions.MalformedCSRException):
            ca.issue(csr)


def test_issuing_above_the_rate_is_throttled(start_private_ca):
    ca = Authority(start_private_ca(environment={"SECRETFREE_PRIVATE_CA_ISSUE_RATE": "3"}).client)
    codes = []
    for _ in range(6):
        try:
            ca.issue(make_csr())
        except ClientError as error:
            codes.append(error.response["Error"]["Code"])
    assert codes
    assert set(codes) == {"ThrottlingException"}


def test_one_cas_behaviour_can_be_set_by_a_tag_while_it_runs(client):
    slow, fast = Authority(client), Authority(client)
    tag = {"Key": "emulator:issuance-seconds", "Value": "60"}
    client.tag_certificate_authority(CertificateAuthorityArn=slow.arn, Tags=[tag])
    issued = slow.issue(make_csr())
    with pytest.raises(client.exceptions.RequestInProgressException):
        slow.get(issued)
    assert fast.get(fast.issue(make_csr()))["Certificate"]
    client.untag_certificate_authority(CertificateAuthorityArn=slow.arn, Tags=[tag])
    assert slow.get(issued)["Certificate"]


def test_a_tag_that_sets_nothing_sensible_is_refused(authority):
    with pytest.raises(authority.client.exceptions.InvalidTagException):
        authority.client.tag_certificate_authority(
            CertificateAuthorityArn=authority.arn, Tags=[{"Key": "emulator:issue-rate", "Value": "many"}]
        )


def test_the_certificates_arn_ends_in_its_serial_number_in_decimal(authority):
    arn = authority.issue(make_csr())
    certificate = x509.load_pem_x509_certificate(authority.get(arn)["Certificate"].encode())
    assert arn == f"{authority.arn}/certificate/{certificate.serial_number}"


def test_a_leaf_comes_with_the_cas_chain_and_the_root_with_none(authority, client):
    answer = authority.get(authority.issue(make_csr()))
    assert answer["CertificateChain"] == authority.pem
    arn = create(client)
    csr = client.get_certificate_authority_csr(CertificateAuthorityArn=arn)["Csr"]
    root = client.issue_certificate(
        CertificateAuthorityArn=arn,
        Csr=csr.encode(),
        SigningAlgorithm="SHA256WITHECDSA",
        TemplateArn=ROOT,
        Validity=DAYS_30,
    )["CertificateArn"]
    assert "CertificateChain" not in client.get_certificate(CertificateAuthorityArn=arn, CertificateArn=root)


def test_a_subordinate_ca_issues_with_the_chain_up_to_the_root(authority, client):
    arn = create(client, kind="SUBORDINATE", common_name="Line 1")
    csr = client.get_certificate_authority_csr(CertificateAuthorityArn=arn)["Csr"].encode()
    signed = authority.get(authority.issue(csr, TemplateArn=TEMPLATE.format("SubordinateCACertificate_PathLen0")))
    client.import_certificate_authority_certificate(
        CertificateAuthorityArn=arn,
        Certificate=signed["Certificate"].encode(),
        CertificateChain=signed["CertificateChain"].encode(),
    )
    subordinate = x509.load_pem_x509_certificate(signed["Certificate"].encode())
    assert subordinate.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)
    issued = client.issue_certificate(
        CertificateAuthorityArn=arn,
        Csr=make_csr(),
        SigningAlgorithm="SHA256WITHECDSA",
        TemplateArn=CLIENT,
        Validity={"Type": "DAYS", "Value": 1},
    )["CertificateArn"]
    answer = client.get_certificate(CertificateAuthorityArn=arn, CertificateArn=issued)
    chain = x509.load_pem_x509_certificates(answer["CertificateChain"].encode())
    assert chain == [subordinate, authority.certificate]
    with pytest.raises(client.exceptions.InvalidArgsException):
        client.issue_certificate(
            CertificateAuthorityArn=arn,
            Csr=make_csr(),
            SigningAlgorithm="SHA256WITHECDSA",
            TemplateArn=TEMPLATE.format("SubordinateCACertificate_PathLen0"),
            Validity={"Type": "DAYS", "Value": 1},
        )


def test_a_ca_without_its_certificate_issues_to_nobody(client):
    arn = create(client)
    with pytest.raises(client.exceptions.InvalidStateException):
        client.issue_certificate(
            CertificateAuthorityArn=arn, Csr=make_csr(), SigningAlgorithm="SHA256WITHECDSA", Validity=DAYS_30
        )


def test_the_root_template_is_for_the_cas_own_key_alone(authority):
    with pytest.raises(authority.client.exceptions.InvalidArgsException):
        authority.issue(make_csr(), TemplateArn=ROOT)


def test_a_certificate_of_another_key_is_not_imported(authority, client):
    with pytest.raises(client.exceptions.CertificateMismatchException):
        client.import_certificate_authority_certificate(
            CertificateAuthorityArn=create(client), Certificate=authority.pem.encode()
        )


def test_a_certificate_is_revoked_by_its_serial_number_in_hex_and_once_only(authority):
    arn = authority.issue(make_csr())
    serial = f"{int(arn.rpartition('/')[2]):x}"
    request = {"CertificateAuthorityArn": authority.arn, "RevocationReason": "SUPERSEDED"}
    authority.client.revoke_certificate(CertificateSerial=serial, **request)
    with pytest.raises(authority.client.exceptions.RequestAlreadyProcessedException):
        authority.client.revoke_certificate(CertificateSerial=serial, **request)
    assert authority.get(arn)["Certificate"]


def test_a_serial_number_in_decimal_revokes_nothing(authority):
    serial = authority.issue(make_csr()).rpartition("/")[2]
    with pytest.raises(
        (authority.client.exceptions.ResourceNotFoundException, authority.client.exceptions.InvalidRequestException)
    ):
        authority.client.revoke_certificate(
            CertificateAuthorityArn=authority.arn, CertificateSerial=serial, RevocationReason="SUPERSEDED"
        )


def test_unknown_arns_are_not_found_and_malformed_ones_are_named_so(authority):
    missing = authority.arn[:-36] + "00000000-0000-4000-8000-000000000000"
    with pytest.raises(authority.client.exceptions.ResourceNotFoundException):
        authority.client.describe_certificate_authority(CertificateAuthorityArn=missing)
    with pytest.raises(authority.client.exceptions.InvalidArnException):
        authority.client.describe_certificate_authority(CertificateAuthorityArn="arn:aws:acm-pca:eu-west-1:1:x/y")
    with pytest.raises(authority.client.exceptions.ResourceNotFoundException):
        authority.get(f"{authority.arn}/certificate/1")


def test_a_ca_must_be_disabled_before_it_is_deleted(client):
    ca = Authority(client)
    with pytest.raises(client.exceptions.InvalidStateException):
        client.delete_certificate_authority(CertificateAuthorityArn=ca.arn)
    client.update_certificate_authority(CertificateAuthorityArn=ca.arn, Status="DISABLED")
    with pytest.raises(client.exceptions.InvalidStateException):
        ca.issue(make_csr())
    client.delete_certificate_authority(CertificateAuthorityArn=ca.arn)


def test_the_same_token_makes_one_ca(client):
    assert create(client, IdempotencyToken="ca-1") == create(client, IdempotencyToken="ca-1")
    assert create(client, IdempotencyToken="ca-2") != create(client, IdempotencyToken="ca-1")


def test_cas_certificates_and_revocations_outlive_the_process(start_private_ca):
    first = start_private_ca()
    ca = Authority(first.client)
    kept, revoked = ca.issue(make_csr(), IdempotencyToken="kept"), ca.issue(make_csr())
    serial = f"{int(revoked.rpartition('/')[2]):X}"
    revocation = {"CertificateAuthorityArn": ca.arn, "CertificateSerial": serial, "RevocationReason": "KEY_COMPROMISE"}
    first.client.revoke_certificate(**revocation)
    pem = ca.get(kept)["Certificate"]
    assert first.process.stop()

    ca.client = start_private_ca(store=first.store).client
    assert ca.get(kept)["Certificate"] == pem
    assert ca.issue(make_csr(), IdempotencyToken="kept") == kept
    ca.certificate_for(make_csr()).verify_directly_issued_by(ca.certificate)
    with pytest.raises(ca.client.exceptions.RequestAlreadyProcessedException):
        ca.client.revoke_certificate(**revocation)


def test_the_store_is_readable_by_its_owner_only(start_private_ca):
    assert start_private_ca().store.stat().st_mode & 0o077 == 0


def test_rsa_devices_get_certificates_too(authority):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert authority.certificate_for(make_csr(key=key)).public_key() == key.public_key()
