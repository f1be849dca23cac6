"""The way in for a CSR in the body: where it stands, what it knows, and that it can issue nothing."""

import json

import pytest
from cdk_iot_secretfree import ApiOptions, DeviceAuthority, Issuer, MatchPolicy, SecretFreeProvisioning
from secretfree.config.csr_front import CsrFrontConfig
from secretfree.contract import Variable

ARN = "arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/11111111-2222-3333-4444-555555555555"


def with_front(scope, match=MatchPolicy.UDID_AND_PUBLIC_KEY):
    authority = DeviceAuthority.from_arn(scope, "Authority", ARN)
    SecretFreeProvisioning(
        scope,
        "Provisioning",
        product="widget",
        issuers=[Issuer.private_ca(authority), Issuer.iot_core()],
        match=match,
        api=ApiOptions(csr_in_body=True),
    )


@pytest.fixture(scope="module")
def made(synthesise):
    return synthesise(with_front)


def test_without_the_option_there_is_none(sample):
    assert not any("csr_front" in f["Properties"]["Handler"] for f in sample.of_type("AWS::Lambda::Function").values())


def test_each_issuer_has_a_post_below_its_path_that_the_front_answers(made):
    resources = made.of_type("AWS::ApiGateway::Resource")
    below = {
        name: resources[resource["Properties"]["ParentId"]["Ref"]]["Properties"]["PathPart"]
        for name, resource in resources.items()
        if resource["Properties"]["PathPart"] == "csr"
    }
    assert sorted(below.values()) == ["new", "proto"]
    methods = [
        method["Properties"]
        for method in made.of_type("AWS::ApiGateway::Method").values()
        if method["Properties"]["ResourceId"].get("Ref") in below
    ]
    assert [method["HttpMethod"] for method in methods] == ["POST", "POST"]
    assert {method["AuthorizationType"] for method in methods} == {"NONE"}
    assert all("CsrFront" in json.dumps(method["Integration"]["Uri"]) for method in methods)


def test_it_has_the_authorizers_settings_and_the_issuers_functions(made):
    config = CsrFrontConfig.from_environment(made.deployed_environment("csr_front"))
    assert set(config.issuer_functions) == {"new", "proto"}
    assert config.retry_after == 5
    authorizer, front = made.environment("authorizer"), made.environment("csr_front")
    own = {Variable.ISSUER_FUNCTIONS, Variable.RETRY_AFTER_SECONDS}
    assert {name: value for name, value in front.items() if name not in own} == authorizer


def test_it_reads_one_table_and_invokes_the_issuers_and_nothing_else(made):
    assert made.actions("csr_front") == {"dynamodb:GetItem", "lambda:InvokeFunction"}
    invoked = [s["Resource"] for s in made.statements("csr_front") if "lambda:InvokeFunction" in s["Action"]]
    assert "Authorizer" not in json.dumps(invoked)


def test_by_the_device_id_alone_it_reads_the_bindings_too(synthesise):
    made = synthesise(lambda scope: with_front(scope, MatchPolicy.UDID))
    assert Variable.LEDGER_TABLE in made.environment("csr_front")
    assert made.environment("authorizer")[Variable.LEDGER_TABLE] == made.environment("csr_front")[Variable.LEDGER_TABLE]
