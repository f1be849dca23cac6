"""EST in the template: its paths, its domain with mutual TLS, and a function that can issue nothing."""

import json

import pytest
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3 as s3
from cdk_iot_secretfree import (
    ApiDomain,
    ApiOptions,
    DeviceAuthority,
    EstOptions,
    InvalidArgumentError,
    Issuer,
    MatchPolicy,
    MutualTlsDomain,
    SecretFreeProvisioning,
    TlsPolicy,
)
from secretfree.config.est import EstConfig
from secretfree.contract import Output, Variable

ARN = "arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/11111111-2222-3333-4444-555555555555"
CERTIFICATE = "arn:aws:acm:eu-west-1:111122223333:certificate/11111111-2222-3333-4444-555555555555"
OPEN = {"cacerts": "GET", "simpleenroll": "POST", "csrattrs": "GET"}


def certificate(scope, name="Certificate"):
    return acm.Certificate.from_certificate_arn(scope, name, CERTIFICATE)


def domain(scope, **changes):
    bucket = s3.Bucket.from_bucket_name(scope, "Truststore", "truststores")
    given = {"name": "renew.example.com", "certificate": certificate(scope), "truststore_key": "devices.pem"}
    return MutualTlsDomain(**{**given, "truststore_bucket": bucket, **changes})


def with_est(scope, *, reenroll=False, match=MatchPolicy.UDID_AND_PUBLIC_KEY, default_issuer=None, **api):
    chosen = domain(scope, truststore_version="3") if reenroll else None
    line = SecretFreeProvisioning(
        scope,
        "Provisioning",
        product="widget",
        issuers=[Issuer.private_ca(DeviceAuthority.from_arn(scope, "Authority", ARN)), Issuer.iot_core()],
        match=match,
        api=ApiOptions(est=EstOptions(reenroll=chosen, default_issuer=default_issuer), **api),
    )
    line.add_outputs()
    return line


@pytest.fixture(scope="module")
def plain(synthesise):
    return synthesise(with_est)


@pytest.fixture(scope="module")
def mutual(synthesise):
    return synthesise(lambda scope: with_est(scope, reenroll=True, tls_policy=TlsPolicy.TLS_1_3))


def operations(made):
    """Method and authorization of each path of EST, below `.well-known/est`."""
    resources = made.of_type("AWS::ApiGateway::Resource")

    def path(name):
        own = resources[name]["Properties"]
        parent = own["ParentId"].get("Ref")
        return f"{path(parent)}/{own['PathPart']}" if parent else own["PathPart"]

    methods = [method["Properties"] for method in made.of_type("AWS::ApiGateway::Method").values()]
    found = {path(one["ResourceId"]["Ref"]): one for one in methods if "Ref" in one["ResourceId"]}
    est = {name: one for name, one in found.items() if name.startswith(".well-known/est/")}
    assert all("EstFunction" in json.dumps(one["Integration"]["Uri"]) for one in est.values())
    assert {one["AuthorizationType"] for one in est.values()} == {"NONE"}
    return {name.removeprefix(".well-known/est/"): one["HttpMethod"] for name, one in est.items()}


def test_without_the_option_there_is_none(sample):
    assert not any(
        f["Properties"]["Handler"].endswith(".est.handler") for f in sample.of_type("AWS::Lambda::Function").values()
    )


def test_each_operation_has_its_method_with_a_label_and_without(plain):
    assert operations(plain) == OPEN | {f"{{label}}/{name}": method for name, method in OPEN.items()}


def test_reenrolment_is_there_with_its_domain_alone(mutual):
    both = OPEN | {"simplereenroll": "POST"}
    assert operations(mutual) == both | {f"{{label}}/{name}": method for name, method in both.items()}


def test_it_has_the_authorizers_settings_and_its_own(plain, mutual):
    config = EstConfig.from_environment(plain.deployed_environment("est"))
    assert config.default_path == "new"
    assert config.authorities == {"new": (ARN,)}
    assert config.reenrollment is None
    authorizer = plain.environment("authorizer")
    assert authorizer.items() <= plain.environment("est").items()
    assert EstConfig.from_environment(mutual.deployed_environment("est")).reenrollment.domain == "renew.example.com"


def test_it_reads_and_invokes_and_nothing_else(plain):
    assert plain.actions("est") == {
        "acm-pca:GetCertificateAuthorityCertificate",
        "dynamodb:GetItem",
        "lambda:InvokeFunction",
    }
    assert [s["Resource"] for s in plain.statements("est") if "acm-pca" in json.dumps(s)] == [ARN]


def test_reenrolment_adds_the_look_up_of_one_certificate(plain, mutual):
    assert mutual.actions("est") - plain.actions("est") == {"iot:DescribeCertificate"}
    tables = [s["Resource"] for s in mutual.statements("est") if s["Action"] == "dynamodb:GetItem"]
    assert "Ledger" in json.dumps(tables)
    assert "Ledger" not in json.dumps([s["Resource"] for s in plain.statements("est")])


def test_by_the_device_id_alone_the_ledger_is_granted_once(synthesise):
    made = synthesise(lambda scope: with_est(scope, reenroll=True, match=MatchPolicy.UDID))
    granted = [s for s in made.statements("est") if "Ledger" in json.dumps(s["Resource"])]
    assert [s["Action"] for s in granted] == ["dynamodb:GetItem"]


def test_the_domain_asks_for_client_certificates_of_the_truststore(mutual):
    made = mutual.only("AWS::ApiGateway::DomainName")
    assert made["DomainName"] == "renew.example.com"
    assert made["MutualTlsAuthentication"]["TruststoreVersion"] == "3"
    assert json.dumps(made["MutualTlsAuthentication"]["TruststoreUri"]).count("truststores") == 1
    assert made["SecurityPolicy"] == TlsPolicy.TLS_1_3.value
    assert "BasePath" not in mutual.only("AWS::ApiGateway::BasePathMapping")
    # New devices, which have no certificate, keep the API's own endpoint.
    assert mutual.only("AWS::ApiGateway::RestApi")["DisableExecuteApiEndpoint"] is False
    assert Output.EST_REENROLL_URL in mutual.json["Outputs"]


def test_a_certificate_that_is_not_of_acm_comes_with_the_proof_of_ownership(synthesise):
    def fill(scope):
        owned = domain(scope, ownership_certificate=certificate(scope, "Ownership"))
        line(scope, EstOptions(reenroll=owned))

    made = synthesise(fill).only("AWS::ApiGateway::DomainName")
    assert made["OwnershipVerificationCertificateArn"] == CERTIFICATE


def line(scope, est, **api):
    return SecretFreeProvisioning(
        scope, "Line", product="widget", issuers=[Issuer.iot_core()], api=ApiOptions(est=est, **api)
    )


def test_the_default_issuer_can_be_chosen(synthesise):
    made = synthesise(lambda scope: with_est(scope, default_issuer="iot-core"))
    assert made.environment("est")[Variable.EST_ISSUER] == "proto"


@pytest.mark.parametrize(
    ("argument", "make"),
    [
        ("default_issuer", lambda stack: line(stack, EstOptions(default_issuer="private-ca"))),
        ("default_issuer", lambda _: EstOptions(default_issuer="Not A Name")),
        ("name", lambda stack: domain(stack, name="*.example.com")),
        ("truststore_key", lambda stack: domain(stack, truststore_key="")),
        ("truststore_version", lambda stack: domain(stack, truststore_version=" ")),
        ("reenroll", lambda _: EstOptions(reenroll="renew.example.com")),
        ("est", lambda _: ApiOptions(est=True)),
        (
            "reenroll",
            lambda stack: ApiOptions(
                est=EstOptions(reenroll=domain(stack)),
                domain=ApiDomain(name="renew.example.com", certificate=certificate(stack, "Own")),
            ),
        ),
        (
            "reenroll",
            lambda stack: ApiOptions(
                est=EstOptions(reenroll=domain(stack)),
                private_endpoints=[
                    ec2.InterfaceVpcEndpoint.from_interface_vpc_endpoint_attributes(
                        stack, "Endpoint", port=443, vpc_endpoint_id="vpce-1"
                    )
                ],
            ),
        ),
        (
            "est",
            lambda stack: SecretFreeProvisioning(
                stack,
                "Line",
                product="widget",
                issuers=[Issuer.iot_core(path="cacerts")],
                api=ApiOptions(est=EstOptions()),
            ),
        ),
    ],
)
def test_what_cannot_work_is_refused_by_name(argument, make, stack):
    with pytest.raises(InvalidArgumentError, match=f"^{argument}: "):
        make(stack)
