"""DeviceAuthority: the ways to a Private CA, and its registration with IoT Core."""

import json
import re

import pytest
from aws_cdk import CfnParameter, Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from cdk_iot_secretfree import (
    AuthoritySubject,
    DeviceAuthority,
    InvalidArgumentError,
    IotRegistration,
    Issuer,
    KeyAlgorithm,
    Revocation,
    RevocationList,
    SecretFreeProvisioning,
    UsageMode,
)
from secretfree.contract import IssuerSetting

ARN = "arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/11111111-2222-3333-4444-555555555555"
SUBJECT = AuthoritySubject(common_name="Widget device CA", organization="Widgets", country="DE")
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def root(scope, name="Root", **options):
    return DeviceAuthority.root(scope, name, subject=SUBJECT, **options)


class TestRoot:
    def test_it_signs_itself_and_is_activated(self, synthesise):
        made = synthesise(root)
        ca, certificate = (
            made.only("AWS::ACMPCA::CertificateAuthority"),
            made.only("AWS::ACMPCA::Certificate"),
        )
        assert (ca["Type"], ca["KeyAlgorithm"], ca["SigningAlgorithm"]) == ("ROOT", "EC_prime256v1", "SHA256WITHECDSA")
        assert ca["Subject"] == {"CommonName": "Widget device CA", "Organization": "Widgets", "Country": "DE"}
        assert certificate["TemplateArn"]["Fn::Join"][1][-1] == ":acm-pca:::template/RootCACertificate/V1"
        assert certificate["Validity"] == {"Type": "DAYS", "Value": 3650}
        assert made.only("AWS::ACMPCA::CertificateAuthorityActivation")["Status"] == "ACTIVE"

    def test_it_is_retained_with_its_certificate_and_activation_unless_the_first_deployment_fails(self, synthesise):
        kept = synthesise(root)
        for kind in ("CertificateAuthority", "Certificate", "CertificateAuthorityActivation"):
            (resource,) = kept.of_type(f"AWS::ACMPCA::{kind}").values()
            assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
        gone = synthesise(lambda stack: root(stack, removal_policy=RemovalPolicy.DESTROY))
        (resource,) = gone.of_type("AWS::ACMPCA::CertificateAuthority").values()
        assert resource["DeletionPolicy"] == "Delete"

    def test_a_snapshot_which_it_has_none_of_is_refused(self, stack):
        with pytest.raises(InvalidArgumentError, match=r"removal_policy: 'SNAPSHOT' was given; accepted: RETAIN, "):
            root(stack, removal_policy=RemovalPolicy.SNAPSHOT)

    @pytest.mark.parametrize(
        ("key", "signing"),
        [
            (KeyAlgorithm.RSA_2048, "SHA256WITHRSA"),
            (KeyAlgorithm.RSA_3072, "SHA256WITHRSA"),
            (KeyAlgorithm.RSA_4096, "SHA256WITHRSA"),
            (KeyAlgorithm.EC_P256, "SHA256WITHECDSA"),
            (KeyAlgorithm.EC_P384, "SHA384WITHECDSA"),
            (KeyAlgorithm.EC_P521, "SHA512WITHECDSA"),
        ],
    )
    def test_the_signing_algorithm_fits_the_key(self, stack, key, signing):
        assert root(stack, key_algorithm=key).signing_algorithm == signing


class TestRegistration:
    def test_it_is_registered_with_iot_core_once_it_is_active(self, synthesise):
        made = synthesise(root)
        (registration,) = made.of_type("Custom::IotCaRegistration").values()
        (activation,) = made.of_type("AWS::ACMPCA::CertificateAuthorityActivation")
        assert activation in registration["DependsOn"]
        properties = registration["Properties"]
        assert properties["Mode"] == "DEFAULT"
        assert properties["SigningAlgorithm"] == "SHA256WITHECDSA"
        assert properties["TemplateArn"]["Fn::Join"][1][-1].endswith(":template/EndEntityClientAuthCertificate/V1")

    def test_the_verification_certificate_is_pinned_to_its_template(self, synthesise):
        made = synthesise(root)
        assert made.actions("account_resources") == {
            "acm-pca:GetCertificate",
            "acm-pca:GetCertificateAuthorityCertificate",
            "acm-pca:IssueCertificate",
            "iot:DeleteCACertificate",
            "iot:DescribeCACertificate",
            "iot:GetRegistrationCode",
            "iot:ListTagsForResource",
            "iot:RegisterCACertificate",
            "iot:TagResource",
            "iot:UpdateCACertificate",
        }
        (issue,) = [s for s in made.statements("account_resources") if s["Action"] == "acm-pca:IssueCertificate"]
        assert "acm-pca:TemplateArn" in issue["Condition"]["StringEquals"]

    def test_for_sni_alone_no_certificate_is_issued(self, synthesise):
        made = synthesise(lambda stack: root(stack, registration=IotRegistration.SNI_ONLY))
        assert made.only("Custom::IotCaRegistration")["Mode"] == "SNI_ONLY"
        assert not made.actions("account_resources") & {"acm-pca:IssueCertificate", "iot:GetRegistrationCode"}

    def test_it_can_be_left_out(self, synthesise):
        made = synthesise(lambda stack: root(stack, registration=IotRegistration.NONE))
        assert not made.of_type("AWS::Lambda::Function")


class TestSubordinate:
    def test_its_parent_signs_it_and_it_may_sign_devices_only(self, synthesise):
        def fill(stack):
            parent = root(stack, registration=IotRegistration.NONE, key_algorithm=KeyAlgorithm.RSA_4096)
            DeviceAuthority.subordinate_of(stack, "Devices", parent, subject=SUBJECT)

        made = synthesise(fill)
        certificates = made.of_type("AWS::ACMPCA::Certificate")
        ((name, signed),) = [(n, c["Properties"]) for n, c in certificates.items() if n.startswith("Devices")]
        assert signed["TemplateArn"]["Fn::Join"][1][-1].endswith("SubordinateCACertificate_PathLen0/V1")
        assert signed["SigningAlgorithm"] == "SHA256WITHRSA"  # of the parent's key
        assert signed["CertificateAuthorityArn"]["Fn::GetAtt"][0].startswith("Root")
        assert any(d.startswith("RootActivation") for d in certificates[name]["DependsOn"])
        activations = made.of_type("AWS::ACMPCA::CertificateAuthorityActivation")
        (activation,) = [a["Properties"] for n, a in activations.items() if n.startswith("Devices")]
        assert activation["CertificateChain"]["Fn::GetAtt"][1] == "CompleteCertificateChain"

    def test_a_parent_brought_by_arn_signs_too_if_its_chain_is_given(self, synthesise):
        def fill(stack):
            parent = DeviceAuthority.from_arn(
                stack, "Root", ARN, certificate_chain=PEM, registration=IotRegistration.NONE
            )
            DeviceAuthority.subordinate_of(stack, "Devices", parent, subject=SUBJECT, path_length=1)

        made = synthesise(fill)
        signed = made.only("AWS::ACMPCA::Certificate")
        assert signed["CertificateAuthorityArn"] == ARN
        assert signed["TemplateArn"]["Fn::Join"][1][-1].endswith("SubordinateCACertificate_PathLen1/V1")
        assert made.only("AWS::ACMPCA::CertificateAuthorityActivation")["CertificateChain"] == PEM

    def test_a_parent_that_cannot_sign_is_refused(self, stack):
        pending = DeviceAuthority.pending_offline_parent(stack, "Pending", subject=SUBJECT)
        short = root(stack, "Short", usage_mode=UsageMode.SHORT_LIVED_CERTIFICATE)
        brought = DeviceAuthority.from_arn(stack, "Brought", ARN)
        for parent, accepted in (
            (pending, "has its certificate already"),
            (short, "UsageMode.GENERAL_PURPOSE"),
            (brought, "from_arn with its certificate_chain"),
            ("root", "a DeviceAuthority"),
        ):
            with pytest.raises(InvalidArgumentError, match=rf"parent: .*{accepted}"):
                DeviceAuthority.subordinate_of(stack, "Sub", parent, subject=SUBJECT)

    def test_it_cannot_outlive_its_parent(self, stack):
        parent = root(stack, validity=Duration.days(100))
        with pytest.raises(InvalidArgumentError, match=r"validity: '100 days' was given; accepted: less than its par"):
            DeviceAuthority.subordinate_of(stack, "Sub", parent, subject=SUBJECT, validity=Duration.days(100))

    def test_a_renewed_certificate_is_registered_in_its_turn(self, synthesise):
        made = synthesise(root)
        (activation,) = made.template.find_resources("AWS::ACMPCA::CertificateAuthorityActivation")
        registration = made.only("Custom::IotCaRegistration")
        assert registration["Revision"] == {"Fn::GetAtt": [activation, "CompleteCertificateChain"]}
        assert registration["ServiceTimeout"] == "1200"

    @pytest.mark.parametrize("path_length", [-1, 4])
    def test_a_path_length_without_a_template_is_refused(self, stack, path_length):
        with pytest.raises(InvalidArgumentError, match=r"path_length: .*from 0 to 3"):
            DeviceAuthority.subordinate_of(stack, "Sub", root(stack), subject=SUBJECT, path_length=path_length)


class TestOfflineParent:
    def test_the_first_deployment_outputs_the_request_and_warns(self, synthesise):
        made = synthesise(lambda stack: DeviceAuthority.pending_offline_parent(stack, "Devices", subject=SUBJECT))
        assert made.only("AWS::ACMPCA::CertificateAuthority")["Type"] == "SUBORDINATE"
        ((name, output),) = made.json["Outputs"].items()
        assert "CertificateSigningRequest" in name
        assert output["Value"]["Fn::GetAtt"][1] == "CertificateSigningRequest"
        assert any("waits for its certificate" in warning for warning in made.warnings())
        assert not made.of_type("Custom::IotCaRegistration")
        assert not made.of_type("AWS::ACMPCA::CertificateAuthorityActivation")

    def test_the_second_activates_and_registers_the_same_ca(self, synthesise):
        def with_certificate(stack):
            DeviceAuthority.pending_offline_parent(
                stack, "Devices", subject=SUBJECT, signed_certificate=PEM, chain=PEM + PEM
            )

        first = synthesise(lambda stack: DeviceAuthority.pending_offline_parent(stack, "Devices", subject=SUBJECT))
        second = synthesise(with_certificate)
        kind = "AWS::ACMPCA::CertificateAuthority"
        assert first.of_type(kind) == second.of_type(kind)
        activation = second.only("AWS::ACMPCA::CertificateAuthorityActivation")
        assert (activation["Certificate"], activation["CertificateChain"]) == (PEM, PEM + PEM)
        assert second.of_type("Custom::IotCaRegistration")
        assert second.warnings() == []

    def test_while_it_waits_the_product_line_can_be_deployed(self, synthesise):
        def fill(stack):
            authority = DeviceAuthority.pending_offline_parent(stack, "Devices", subject=SUBJECT)
            SecretFreeProvisioning(stack, "P", product="widget", issuers=[Issuer.private_ca(authority)])

        assert synthesise(fill).issuer_settings("private-ca")[IssuerSetting.REGISTERED] == "false"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"signed_certificate": PEM}, "chain: 'None' was given; accepted: PEM"),
            ({"chain": PEM}, "signed_certificate: 'None' was given"),
            ({"signed_certificate": PEM + PEM, "chain": PEM}, "signed_certificate: '2 PEM certificates' was given"),
            ({"signed_certificate": "MIIB", "chain": PEM}, "signed_certificate: '0 PEM certificates'"),
            ({"signed_certificate": PEM, "chain": "-----BEGIN CERTIFICATE-----"}, "chain: '1 PEM certificates'"),
        ],
    )
    def test_what_is_no_certificate_and_chain_is_refused(self, stack, arguments, message):
        with pytest.raises(InvalidArgumentError, match=message):
            DeviceAuthority.pending_offline_parent(stack, "Devices", subject=SUBJECT, **arguments)

    def test_a_certificate_known_at_deploy_time_only_is_taken_as_it_is(self, synthesise):
        def fill(stack):
            signed = CfnParameter(stack, "Signed").value_as_string
            DeviceAuthority.pending_offline_parent(
                stack, "Devices", subject=SUBJECT, signed_certificate=signed, chain=PEM
            )

        activation = synthesise(fill).only("AWS::ACMPCA::CertificateAuthorityActivation")
        assert activation["Certificate"] == {"Ref": "Signed"}

    def test_a_private_key_never_enters_a_template_nor_a_message(self, stack):
        key = "-----BEGIN EC PRIVATE KEY-----\nMHcSECRET\n-----END EC PRIVATE KEY-----\n"  # pragma: allowlist secret
        with pytest.raises(InvalidArgumentError, match=r"chain: 'a private key \(not shown\)'") as refused:
            DeviceAuthority.pending_offline_parent(
                stack, "Devices", subject=SUBJECT, signed_certificate=PEM, chain=PEM + key
            )
        assert "MHcSECRET" not in str(refused.value)


class TestBrought:
    def test_an_existing_ca_is_registered_and_nothing_is_made(self, synthesise):
        made = synthesise(lambda stack: DeviceAuthority.from_arn(stack, "Ca", ARN, key_algorithm=KeyAlgorithm.RSA_2048))
        properties = made.only("Custom::IotCaRegistration")
        assert (properties["CertificateAuthorityArn"], properties["SigningAlgorithm"]) == (ARN, "SHA256WITHRSA")
        assert not made.of_type("AWS::ACMPCA::CertificateAuthority")

    def test_a_new_certificate_of_an_existing_ca_is_registered_when_the_revision_changes(self, synthesise):
        for revision in (None, "2027"):
            made = synthesise(
                lambda stack, revision=revision: DeviceAuthority.from_arn(stack, "Ca", ARN, revision=revision)
            )
            assert made.only("Custom::IotCaRegistration").get("Revision") == revision

    @pytest.mark.parametrize("arn", ["", "arn:aws:acm:eu-west-1:111122223333:certificate/1", ARN + "x"])
    def test_what_is_no_private_cas_arn_is_refused(self, stack, arn):
        with pytest.raises(InvalidArgumentError, match=r"authority_arn: .*arn:aws:acm-pca:REGION:ACCOUNT"):
            DeviceAuthority.from_arn(stack, "Ca", arn)

    def test_two_registrations_of_one_ca_in_a_stack_are_warned_about(self, synthesise):
        def fill(stack):
            for name in ("One", "Two"):
                DeviceAuthority.from_arn(stack, name, ARN)
            DeviceAuthority.from_arn(stack, "Other", ARN.replace("1111", "2222", 1))

        (warning,) = synthesise(fill).warnings()
        assert "Share one DeviceAuthority" in warning

    def test_a_ca_of_another_region_is_taken(self, stack_in_ireland):
        elsewhere = ARN.replace("eu-west-1", "us-east-1")
        assert DeviceAuthority.from_arn(stack_in_ireland, "Ca", elsewhere).arn == elsewhere

    def test_cas_of_all_partitions_are_taken(self, stack):
        for partition in ("aws-cn", "aws-us-gov"):
            arn = ARN.replace("arn:aws:", f"arn:{partition}:")
            assert DeviceAuthority.from_arn(stack, partition, arn).arn == arn

    def test_revoking_is_granted_on_that_ca_alone(self, synthesise):
        def fill(stack):
            role = iam.Role(stack, "Officer", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
            DeviceAuthority.from_arn(stack, "Ca", ARN, registration=IotRegistration.NONE).grant_revoke(role)

        (statement,) = synthesise(fill).only("AWS::IAM::Policy")["PolicyDocument"]["Statement"]
        assert (statement["Action"], statement["Resource"]) == ("acm-pca:RevokeCertificate", ARN)


class TestRevocation:
    def test_none_by_default(self, synthesise):
        assert "RevocationConfiguration" not in synthesise(root).only("AWS::ACMPCA::CertificateAuthority")

    def test_a_list_is_kept_in_a_private_bucket_that_only_this_accounts_cas_write(self, synthesise):
        made = synthesise(lambda stack: root(stack, revocation=Revocation(crl=RevocationList())))
        crl = made.only("AWS::ACMPCA::CertificateAuthority")["RevocationConfiguration"]["CrlConfiguration"]
        assert (crl["Enabled"], crl["ExpirationInDays"], crl["S3ObjectAcl"]) == (True, 7, "BUCKET_OWNER_FULL_CONTROL")
        bucket = made.only("AWS::S3::Bucket")
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        statements = made.only("AWS::S3::BucketPolicy")["PolicyDocument"]["Statement"]
        allowed = [statement for statement in statements if statement["Effect"] == "Allow"]
        assert {statement["Principal"]["Service"] for statement in allowed} == {"acm-pca.amazonaws.com"}
        assert all(s["Condition"]["StringEquals"]["aws:SourceAccount"] == {"Ref": "AWS::AccountId"} for s in allowed)
        (ca,) = made.of_type("AWS::ACMPCA::CertificateAuthority").values()
        assert any(re.search("Policy", dependency) for dependency in ca["DependsOn"])

    def test_a_bucket_of_your_own_and_ocsp(self, synthesise):
        def fill(stack):
            bucket = s3.Bucket.from_bucket_name(stack, "Bucket", "my-lists")
            crl = RevocationList(bucket=bucket, expiration=Duration.days(30))
            root(stack, revocation=Revocation(crl=crl, ocsp=True))

        made = synthesise(fill)
        revocation = made.only("AWS::ACMPCA::CertificateAuthority")["RevocationConfiguration"]
        assert revocation["CrlConfiguration"]["S3BucketName"] == "my-lists"
        assert revocation["CrlConfiguration"]["ExpirationInDays"] == 30
        assert revocation["OcspConfiguration"] == {"Enabled": True}
        assert not made.of_type("AWS::S3::Bucket")
        (warning,) = made.warnings()
        assert "acm-pca.amazonaws.com" in warning

    def test_a_list_can_be_fetched_under_a_name_of_your_own(self, synthesise):
        crl = RevocationList(custom_cname="crl.example.com")
        made = synthesise(lambda stack: root(stack, revocation=Revocation(crl=crl)))
        configuration = made.only("AWS::ACMPCA::CertificateAuthority")["RevocationConfiguration"]["CrlConfiguration"]
        assert configuration["CustomCname"] == "crl.example.com"
        assert made.warnings() == []

    @pytest.mark.parametrize("name", ["", "https://crl.example.com", "crl.example.com/list", "a." * 130 + "com"])
    def test_what_is_no_host_name_is_refused(self, name):
        with pytest.raises(InvalidArgumentError, match=r"custom_cname: .*a host name"):
            RevocationList(custom_cname=name)

    def test_the_bucket_of_a_failed_first_deployment_which_is_not_empty_stays(self, synthesise):
        made = synthesise(lambda stack: root(stack, revocation=Revocation(crl=RevocationList())))
        (bucket,) = made.of_type("AWS::S3::Bucket").values()
        assert bucket["DeletionPolicy"] == "Retain"

    @pytest.mark.parametrize("revocation", [Revocation(ocsp=True), Revocation(crl=RevocationList())])
    def test_short_lived_certificates_have_none(self, stack, revocation):
        with pytest.raises(InvalidArgumentError, match=r"revocation: .*none in UsageMode.SHORT_LIVED_CERTIFICATE"):
            root(stack, usage_mode=UsageMode.SHORT_LIVED_CERTIFICATE, revocation=revocation)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"common_name": ""}, "common_name: .*1 to 64 printable"),
        ({"common_name": "x" * 65}, "common_name: .*1 to 64 printable"),
        ({"common_name": "ca", "country": "Germany"}, "country: 'Germany' was given; accepted: two capital letters"),
        ({"common_name": "ca", "locality": "a\nb"}, "locality: .*1 to 128 printable"),
    ],
)
def test_a_subject_that_private_ca_would_refuse_is_refused(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        AuthoritySubject(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"key_algorithm": "RSA_1024"}, "key_algorithm: 'RSA_1024' was given; accepted: KeyAlgorithm.RSA_2048"),
        ({"usage_mode": "SHORT"}, "usage_mode: 'SHORT' was given; accepted: UsageMode.GENERAL_PURPOSE"),
        ({"registration": True}, "registration: 'True' was given; accepted: IotRegistration.DEFAULT"),
        ({"validity": Duration.hours(1)}, "validity: .*whole days"),
    ],
)
def test_choices_that_do_not_exist_are_refused(stack, arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        root(stack, **arguments)


def test_no_template_of_an_authority_holds_a_key(synthesise):
    assert "PRIVATE KEY" not in json.dumps(synthesise(root).json)
