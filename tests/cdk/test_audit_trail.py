"""The audit trail: both tables feed it, nothing can be deleted from it, and its function has no rights."""

import json

import pytest
from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from cdk_iot_secretfree import AuditTrail, DeviceRegistry, Issuer, SecretFreeProvisioning
from secretfree.config.audit import AuditConfig


def product_line(scope, *, registry=None):
    return SecretFreeProvisioning(
        scope, "Provisioning", product="widget", issuers=[Issuer.iot_core()], registry=registry
    )


@pytest.fixture(scope="module")
def audited(sample_with):
    return sample_with(audit="true")


@pytest.fixture(scope="module")
def bucket(audited):
    (found,) = [
        resource
        for name, resource in audited.of_type("AWS::S3::Bucket").items()
        if resource["Properties"].get("ObjectLockEnabled")
    ]
    return found


def test_the_sample_has_none_as_it_comes(sample):
    assert not sample.of_type("AWS::Kinesis::Stream")
    assert "AuditBucket" not in sample.json["Outputs"]


def test_both_tables_send_their_changes_to_the_one_stream(audited):
    (stream,) = audited.of_type("AWS::Kinesis::Stream")
    for table in audited.of_type("AWS::DynamoDB::GlobalTable").values():
        (replica,) = table["Properties"]["Replicas"]
        assert replica["KinesisStreamSpecification"] == {"StreamArn": {"Fn::GetAtt": [stream, "Arn"]}}
        assert replica["Region"] == {"Ref": "AWS::Region"}


def test_the_logical_ids_of_the_tables_are_those_without_it(audited, sample):
    assert set(audited.of_type("AWS::DynamoDB::GlobalTable")) == set(sample.of_type("AWS::DynamoDB::GlobalTable"))


def test_nothing_is_deleted_from_the_bucket_for_ten_years(bucket):
    properties = bucket["Properties"]
    rule = properties["ObjectLockConfiguration"]["Rule"]["DefaultRetention"]
    assert rule == {"Mode": "GOVERNANCE", "Days": 3653}
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["DeletionPolicy"] == "RetainExceptOnCreate"
    assert bucket["UpdateReplacePolicy"] == "Retain"


def test_the_retention_is_a_choice(synthesise):
    stack = synthesise(
        lambda scope: AuditTrail(
            scope, "Audit", product_line(scope), retention=s3.ObjectLockRetention.compliance(Duration.days(30))
        )
    )
    rule = stack.only("AWS::S3::Bucket")["ObjectLockConfiguration"]["Rule"]["DefaultRetention"]
    assert rule == {"Mode": "COMPLIANCE", "Days": 30}


def test_the_transformation_has_no_rights_and_its_configuration_parses(audited):
    assert audited.actions("audit_transformation") == set()
    AuditConfig.from_environment(audited.deployed_environment("audit_transformation"))


def test_the_delivery_may_read_the_stream_call_the_function_and_put_objects(audited):
    (role,) = [name for name in audited.of_type("AWS::IAM::Role") if "DeliveryRole" in name]
    statements = [
        statement
        for policy in audited.of_type("AWS::IAM::Policy").values()
        if {"Ref": role} in policy["Properties"]["Roles"]
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
    ]
    granted = {action for one in statements for action in _listed(one["Action"])}
    assert not {action for action in granted if "Delete" in action or "Bypass" in action or "*" in action}
    assert "s3:PutObject" in granted
    assert all(one["Resource"] != "*" for one in statements)
    trust = audited.resources[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_what_cannot_be_transformed_is_kept_apart_from_the_events(audited):
    delivery = audited.only("AWS::KinesisFirehose::DeliveryStream")["ExtendedS3DestinationConfiguration"]
    assert delivery["Prefix"] == "events/!{partitionKeyFromLambda:shard}/!{timestamp:yyyy/MM/dd}/"
    assert delivery["ErrorOutputPrefix"] == "unreadable/!{firehose:error-output-type}/"
    assert delivery["CloudWatchLoggingOptions"]["Enabled"] is True


def test_a_reader_reads_and_lists_and_nothing_else(synthesise):
    def fill(scope):
        audit = AuditTrail(scope, "Audit", product_line(scope))
        audit.grant_read(iam.User(scope, "Auditor"))

    stack = synthesise(fill)
    (policy,) = [p for p in stack.of_type("AWS::IAM::Policy").values() if p["Properties"].get("Users")]
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Action"] == ["s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:ListBucketVersions"]


def test_a_table_of_elsewhere_is_named_in_a_warning_with_the_command(synthesise):
    def fill(scope):
        registry = DeviceRegistry.from_table_name(scope, "Devices", "devices", key_index="by-key")
        AuditTrail(scope, "Audit", product_line(scope, registry=registry))

    warnings = synthesise(fill).warnings()
    assert any("enable-kinesis-streaming-destination" in warning for warning in warnings)


def test_a_late_delivery_sets_off_an_alarm_and_silence_does_not(audited):
    (alarm,) = [
        alarm["Properties"]
        for alarm in audited.of_type("AWS::CloudWatch::Alarm").values()
        if alarm["Properties"].get("Namespace") == "AWS/Firehose"
    ]
    assert alarm["MetricName"] == "DeliveryToS3.DataFreshness"
    assert alarm["TreatMissingData"] == "notBreaching"
    assert "DeliveryLog" in json.dumps(alarm["AlarmDescription"])


def _listed(value):
    return value if isinstance(value, list) else [value]
