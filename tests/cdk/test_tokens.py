"""CDK tokens, whose values are known at deploy time only: accepted, or refused by the argument's name."""

import json
import re

import pytest
from aws_cdk import CfnParameter, Duration, Stack
from aws_cdk.assertions import Template
from cdk_iot_secretfree import (
    ApiOptions,
    AuthoritySubject,
    CertificateSubject,
    DeviceAuthority,
    DevicePolicy,
    FunctionOptions,
    InvalidArgumentError,
    Issuer,
    ManifestImport,
    Revocation,
    RevocationList,
    SecretFreeProvisioning,
    ThingGroup,
    ThingType,
)


@pytest.fixture
def number(stack: Stack) -> float:
    return CfnParameter(stack, "Number", type="Number").value_as_number


@pytest.fixture
def text(stack: Stack) -> str:
    return CfnParameter(stack, "Text").value_as_string


def provisioning(stack: Stack, **arguments: object) -> SecretFreeProvisioning:
    settings = {"product": "widget", "issuers": [Issuer.iot_core()], **arguments}
    return SecretFreeProvisioning(stack, "Provisioning", **settings)


def authority(stack: Stack, **arguments: object) -> DeviceAuthority:
    return DeviceAuthority.root(stack, "Authority", subject=AuthoritySubject(common_name="ca"), **arguments)


NUMBERS = {
    "memory_size": lambda _, n: FunctionOptions(memory_size=n),
    "issuer_concurrency": lambda _, n: FunctionOptions(issuer_concurrency=n),
    "authorizer_concurrency": lambda _, n: FunctionOptions(authorizer_concurrency=n),
    "rate_limit": lambda _, n: ApiOptions(rate_limit=n),
    "burst_limit": lambda _, n: ApiOptions(burst_limit=n),
    "issuance_rate": lambda stack, n: provisioning(stack, issuance_rate=n),
    "rows_per_call": lambda stack, n: ManifestImport(stack, "Import", provisioning(stack), rows_per_call=n),
    "path_length": lambda stack, n: DeviceAuthority.subordinate_of(
        stack, "Sub", authority(stack), subject=AuthoritySubject(common_name="sub"), path_length=n
    ),
}
DURATIONS = {
    "retry_after": lambda _, d: ApiOptions(retry_after=d),
    "sweep_interval": lambda _, d: FunctionOptions(sweep_interval=d),
    "renewal_window": lambda stack, d: provisioning(stack, renewal_window=d),
    "validity": lambda stack, d: authority(stack, validity=d),
    "expiration": lambda stack, d: authority(stack, revocation=Revocation(crl=RevocationList(expiration=d))),
    "timeout": lambda stack, d: ManifestImport(stack, "Import", provisioning(stack), timeout=d),
}
NAMES = {
    "product": lambda stack, t: provisioning(stack, product=t),
    "topic_prefix": lambda _, t: DevicePolicy.least_privilege(t),
    "stage_name": lambda _, t: ApiOptions(stage_name=t),
    "name": lambda _, t: Issuer.iot_core(name=t),
    "path": lambda _, t: Issuer.iot_core(path=t),
}


def refused(argument, make):
    with pytest.raises(InvalidArgumentError) as caught:
        make()
    assert caught.value.argument == argument
    assert str(caught.value).startswith(f"{argument}: 'a token' was given; accepted: ")
    assert str(caught.value).endswith("known at synth")
    assert not re.search(r"e\+\d|Token\[", str(caught.value))


@pytest.mark.parametrize("argument", NUMBERS)
def test_a_number_is_refused_by_name(stack, number, argument):
    refused(argument, lambda: NUMBERS[argument](stack, number))


@pytest.mark.parametrize("argument", DURATIONS)
def test_a_duration_is_refused_by_name(stack, number, argument):
    refused(argument, lambda: DURATIONS[argument](stack, Duration.days(number)))


@pytest.mark.parametrize("argument", DURATIONS)
def test_what_is_no_duration_is_refused_by_name(stack, argument):
    with pytest.raises(InvalidArgumentError, match=f"{argument}: '7' was given"):
        DURATIONS[argument](stack, 7)


@pytest.mark.parametrize("argument", NAMES)
def test_a_name_that_synth_needs_is_refused_by_name(stack, text, argument):
    refused(argument, lambda: NAMES[argument](stack, text))


def test_a_text_that_only_the_deployment_needs_is_accepted(stack, text):
    provisioning(
        stack,
        subject=CertificateSubject(organization=text),
        thing_attributes={"site": text},
        thing_type=ThingType.named(text),
        thing_groups=[ThingGroup.named(text)],
        device_policy=DevicePolicy.from_name(text),
    )
    functions = Template.from_stack(stack).find_resources("AWS::Lambda::Function").values()
    (issuer,) = (f for f in functions if f["Properties"]["Handler"] == "secretfree.handlers.issuer.handler")
    variables = issuer["Properties"]["Environment"]["Variables"]
    for variable in ("SECRETFREE_SUBJECT", "SECRETFREE_THING_ATTRIBUTES", "SECRETFREE_THING_GROUPS"):
        assert '{"Ref": "Text"}' in json.dumps(variables[variable])
