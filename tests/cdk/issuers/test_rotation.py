"""An issuer with a CA and those before it: registered all, signed by the first, trusted all."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from aws_cdk import Duration
from cdk_iot_secretfree import AuthoritySubject, DeviceAuthority, InvalidArgumentError, Issuer, SecretFreeProvisioning
from cdk_iot_secretfree.authority.certificate_end import end_of_first
from cdk_iot_secretfree.options import UsageMode
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from secretfree.contract import AuthorityField, IotRegistration, IssuerSetting, Output, Variable

FIRST = "arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/11111111-2222-3333-4444-555555555555"
NEXT = FIRST.replace("11111111-", "99999999-")


def line_of(stack):
    first, following = (
        DeviceAuthority.from_arn(stack, name, arn) for name, arn in (("Authority", FIRST), ("Authority2", NEXT))
    )
    line = SecretFreeProvisioning(
        stack,
        "Provisioning",
        product="widget",
        issuers=[Issuer.private_ca(following, previous=[first])],
    )
    line.add_outputs()


def root(stack, name, **settings):
    return DeviceAuthority.root(stack, name, subject=AuthoritySubject(common_name=f"{name} CA"), **settings)


@pytest.fixture(scope="module")
def made(synthesise):
    return synthesise(line_of)


def resources(made, function, action, in_list):
    """What a function may do `action` on."""
    return {
        resource
        for statement in made.statements(function)
        if action in in_list(statement["Action"])
        for resource in in_list(statement["Resource"])
    }


def test_all_are_registered_with_iot_core(made):
    registered = made.of_type("Custom::IotCaRegistration").values()
    assert {one["Properties"]["CertificateAuthorityArn"] for one in registered} == {FIRST, NEXT}


@pytest.mark.parametrize("function", ["issuer", "sweeper"])
def test_the_runtime_gets_the_signing_ca_and_the_previous_ones(made, function):
    settings = json.loads(made.deployed_environment(function)[Variable.ISSUERS])["private-ca"]
    assert settings[IssuerSetting.AUTHORITY_ARN] == NEXT
    assert settings[IssuerSetting.PREVIOUS_AUTHORITY_ARNS] == FIRST


def test_the_current_one_alone_signs_and_what_each_was_asked_for_is_collected(made, in_list):
    assert resources(made, "issuer", "acm-pca:IssueCertificate", in_list) == {NEXT}
    assert resources(made, "issuer", "acm-pca:GetCertificate", in_list) == {FIRST, NEXT}
    assert resources(made, "sweeper", "acm-pca:IssueCertificate", in_list) == set()
    assert resources(made, "sweeper", "acm-pca:GetCertificate", in_list) == {FIRST, NEXT}


def test_the_revoker_revokes_what_each_signed(made, in_list):
    assert resources(made, "revoker", "acm-pca:RevokeCertificate", in_list) == {FIRST, NEXT}
    assert json.loads(made.deployed_environment("revoker")[Variable.REVOKING_AUTHORITIES]) == [NEXT, FIRST]


def test_the_output_names_the_authorities_of_each_issuer(made):
    document = json.loads(made.json["Outputs"][Output.AUTHORITIES]["Value"])
    assert document["private-ca"] == {
        AuthorityField.CURRENT: NEXT,
        AuthorityField.PREVIOUS: [FIRST],
        AuthorityField.VALIDITY_DAYS: 365,
    }


def test_an_issuer_without_previous_ones_has_no_setting_for_them(sample):
    assert IssuerSetting.PREVIOUS_AUTHORITY_ARNS not in sample.issuer_settings("private-ca")


def test_the_sample_s_second_ca_leaves_the_first_as_it_is(sample, sample_with):
    rotated = sample_with(ca_generations="2,1")
    first = {name: one for name, one in sample.resources.items() if name.startswith("Authority")}
    assert first
    assert {name: rotated.resources[name] for name in first} == first
    assert len(rotated.of_type("AWS::ACMPCA::CertificateAuthority")) == 2


def test_an_authority_is_named_once(stack):
    one = root(stack, "One")
    with pytest.raises(InvalidArgumentError, match="each authority once"):
        Issuer.private_ca(one, previous=[one])


def test_authorities_that_are_not_registered_alike_are_refused(stack):
    other = root(stack, "Other", registration=IotRegistration.NONE)
    with pytest.raises(InvalidArgumentError, match="all registered with AWS IoT Core, or none"):
        Issuer.private_ca(root(stack, "One"), previous=[other])


def test_a_short_lived_authority_may_follow_a_general_purpose_one(stack):
    following = root(stack, "One", usage_mode=UsageMode.SHORT_LIVED_CERTIFICATE)
    assert Issuer.private_ca(following, previous=[root(stack, "Other")]).validity_days == 7


def pem_ending_in(days):
    """A CA's certificate, as an offline parent signs it."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
    made = builder.not_valid_after(now + timedelta(days=days)).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(("days", "warned"), [(300, True), (400, True), (500, False), (365 * 40, False)])
@pytest.mark.parametrize("how", ["by ARN", "offline parent"])
def test_a_ca_that_will_soon_be_too_old_to_sign_is_warned_of(synthesise, how, days, warned):
    def fill(stack):
        pem = pem_ending_in(days)
        if how == "by ARN":
            authority = DeviceAuthority.from_arn(stack, "Authority", FIRST, certificate_chain=pem)
        else:
            subject = AuthoritySubject(common_name="CA")
            authority = DeviceAuthority.pending_offline_parent(
                stack, "Authority", subject=subject, signed_certificate=pem, chain=pem
            )
        Issuer.private_ca(authority, validity=Duration.days(365))

    said = [one for one in synthesise(fill).warnings() if "This authority ends on" in one]
    assert bool(said) is warned


@pytest.mark.parametrize("pem", [None, "", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----", "nothing"])
def test_a_certificate_that_cannot_be_read_ends_at_no_known_date(pem):
    assert end_of_first(pem) is None


def test_the_end_of_a_certificate_is_read_to_the_second():
    pem = pem_ending_in(365 * 40)  # beyond 2049, where the form of the date changes
    assert end_of_first(pem) == x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
