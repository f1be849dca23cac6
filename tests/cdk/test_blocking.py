"""What revokes the certificates of blocked devices: its feed, its rights, its dead letters."""

import json

import pytest
from aws_cdk import Duration
from cdk_iot_secretfree import (
    DeviceAuthority,
    DeviceRegistry,
    InvalidArgumentError,
    Issuer,
    Retirement,
    SecretFreeProvisioning,
    UsageMode,
)
from secretfree.config.revocation import RevocationConfig
from secretfree.contract import Variable

ARN = "arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/11111111-2222-3333-4444-555555555555"
STREAM_ARN = "arn:aws:dynamodb:eu-west-1:111122223333:table/devices/stream/2026-01-01T00:00:00.000"


def product_line(scope, *, registry=None, usage_mode=UsageMode.GENERAL_PURPOSE):
    authority = DeviceAuthority.from_arn(scope, "Authority", ARN, usage_mode=usage_mode)
    return SecretFreeProvisioning(
        scope,
        "Provisioning",
        product="widget",
        issuers=[Issuer.private_ca(authority)],
        registry=registry,
        retirement=Retirement.AT_END,
    )


@pytest.fixture(scope="module")
def feed(sample):
    (mapping,) = [
        resource["Properties"]
        for resource in sample.of_type("AWS::Lambda::EventSourceMapping").values()
        if "StreamArn" in json.dumps(resource["Properties"]["EventSourceArn"])
    ]
    return mapping


def test_the_registry_streams_both_images(sample):
    (registry,) = [r for name, r in sample.of_type("AWS::DynamoDB::GlobalTable").items() if "Registry" in name]
    assert registry["Properties"]["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}


def test_changes_and_removals_are_delivered_and_new_devices_are_not(feed):
    (accepted,) = feed["FilterCriteria"]["Filters"]
    assert json.loads(accepted["Pattern"]) == {"eventName": ["MODIFY", "REMOVE"]}


def test_one_change_that_fails_is_found_retried_and_given_up_in_the_end(feed, sample):
    assert feed["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert feed["BisectBatchOnFunctionError"] is True
    assert 0 < feed["MaximumRetryAttempts"] <= 100
    assert 3600 <= feed["MaximumRecordAgeInSeconds"] < 86_400  # the stream itself keeps a day
    assert feed["StartingPosition"] == "TRIM_HORIZON"
    queue = feed["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"][0]
    assert sample.resources[queue]["Properties"]["MessageRetentionPeriod"] == 14 * 86_400


def test_it_may_revoke_and_disconnect_and_neither_issue_nor_delete(sample):
    assert sample.actions("revoker") == {
        "acm-pca:RevokeCertificate",
        "dynamodb:DescribeStream",
        "dynamodb:GetItem",
        "dynamodb:GetRecords",
        "dynamodb:GetShardIterator",
        "dynamodb:ListStreams",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "iot:DeleteConnection",
        "iot:UpdateCertificate",
        "sqs:SendMessage",
    }


def test_it_revokes_at_the_product_lines_own_ca_alone(sample):
    (statement,) = [s for s in sample.statements("revoker") if s["Action"] == "acm-pca:RevokeCertificate"]
    (authority,) = sample.of_type("AWS::ACMPCA::CertificateAuthority")
    assert statement["Resource"] == {"Fn::GetAtt": [authority, "Arn"]}


def test_it_takes_its_environment(sample):
    environment = sample.deployed_environment("revoker")
    assert RevocationConfig.from_environment(environment).revoking_authorities == ("deployed",)


def test_a_short_lived_ca_is_asked_for_no_revocation(synthesise):
    made = synthesise(lambda scope: product_line(scope, usage_mode=UsageMode.SHORT_LIVED_CERTIFICATE))
    assert "acm-pca:RevokeCertificate" not in made.actions("revoker")
    assert made.environment("revoker")[Variable.REVOKING_AUTHORITIES] == "[]"


def test_a_table_of_elsewhere_without_a_stream_is_warned_about(synthesise):
    lines = []

    def fill(scope):
        lines.append(product_line(scope, registry=DeviceRegistry.from_table_name(scope, "Devices", "devices")))

    made = synthesise(fill)
    assert lines[0].blocking is None
    assert not made.of_type("AWS::Lambda::EventSourceMapping")
    assert any("stays active" in warning for warning in made.warnings())


def test_a_table_of_elsewhere_is_followed_by_its_stream(synthesise):
    def fill(scope):
        registry = DeviceRegistry.from_table_name(scope, "Devices", "devices", stream_arn=STREAM_ARN)
        line = product_line(scope, registry=registry)
        line.add_alarms()
        assert line.blocking.metric_lag(period=Duration.minutes(1)).period.to_seconds() == 60

    made = synthesise(fill)
    assert made.only("AWS::Lambda::EventSourceMapping")["EventSourceArn"] == STREAM_ARN
    assert not made.warnings()


@pytest.mark.parametrize("given", ["", "devices", STREAM_ARN.partition("/stream")[0], STREAM_ARN + "*"])
def test_what_is_no_stream_is_refused(stack, given):
    with pytest.raises(InvalidArgumentError, match="stream_arn"):
        DeviceRegistry.from_table_name(stack, "Devices", "devices", stream_arn=given)
