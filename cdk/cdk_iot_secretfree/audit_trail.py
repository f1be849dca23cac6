"""The audit trail: what was enrolled, issued, blocked and removed, in a bucket that protects it from deletion."""

from typing import Final

from aws_cdk import Annotations, Duration, RemovalPolicy, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_kinesisfirehose as firehose
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct
from secretfree.contract import AuditFolder

from cdk_iot_secretfree.acknowledgments import (
    ALARM_WITHOUT_ACTION,
    BUCKET,
    INLINE_POLICY,
    acknowledge,
    acknowledge_wildcard,
    with_own_key,
)
from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.function_options import FunctionKind
from cdk_iot_secretfree.functions import RuntimeFunction, make_log_group
from cdk_iot_secretfree.grants import grant_to_principal
from cdk_iot_secretfree.key_grants import grant_key
from cdk_iot_secretfree.provisioning import SecretFreeProvisioning


@checks_arguments
class AuditTrail(Construct):
    """Keeps the history of a product line's devices and certificates in a bucket with Object Lock.

    Both tables send their changes to a Kinesis data stream, and Firehose writes them into the bucket. In between, a
    function without rights turns each change into an event with an allow-list of fields. It drops changes without
    evidence, such as a lease. An event is in the bucket about 15 minutes after the change. `secretfree audit DEVICE_ID`
    reads the events of one device.

    The bucket stays when the stack is deleted. A table that another app made does not send its changes by default: the
    construct then warns, and names the command that switches this on.

    Attributes:
        bucket: encrypted, versioned, private, TLS only, with Object Lock.
        stream: the changes of both tables, for seven days.
        delayed_alarm: fires when an event waits for the bucket for more than an hour.

    Args:
        scope: the parent.
        id: the construct's id.
        provisioning: the product line.
        retention: how long no event can be deleted, and by whom; ten years in governance mode when absent. In
            governance mode a principal with `s3:BypassGovernanceRetention` can delete, in compliance mode no one can.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        provisioning: SecretFreeProvisioning,
        *,
        retention: s3.ObjectLockRetention | None = None,
    ) -> None:
        super().__init__(scope, id)
        self._encryption_key = provisioning.encryption_key
        self.bucket = self._make_bucket(retention or s3.ObjectLockRetention.governance(_RETENTION))
        self.stream = kinesis.Stream(
            self,
            "Changes",
            stream_mode=kinesis.StreamMode.ON_DEMAND,
            encryption=kinesis.StreamEncryption.MANAGED,
            retention_period=_CHANGES_KEPT_FOR,
            removal_policy=RemovalPolicy.DESTROY,
        )
        self._transformation = RuntimeFunction(
            self,
            "Transformation",
            kind=FunctionKind.AUDIT_TRAIL,
            handler="secretfree.handlers.audit_transformation.handler",
            description=f"Turns changes of the tables of {provisioning.product} into events of the audit trail",
            environment=provisioning.runtime_environment(),
            options=provisioning.function_options,
            timeout=_TIMEOUT,
            removal_policy=provisioning.removal_policy,
        )
        self._delivery = self._make_delivery(provisioning)
        for table in (provisioning.registry.table, provisioning.ledger.table):
            self._send_changes(table)
        self.delayed_alarm = self._make_alarm()
        encrypted_before = "The source is a Kinesis data stream, which encrypts the events itself."
        acknowledge(self, {**INLINE_POLICY, **ALARM_WITHOUT_ACTION, "AwsSolutions-KDF1": encrypted_before})
        acknowledge(self.bucket, with_own_key(BUCKET) if self._encryption_key is None else BUCKET)

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal run `secretfree audit`: list and read the bucket, nothing else."""
        grant_key(self._encryption_key, grantee, service="s3", writes=False)
        return grant_to_principal(
            self,
            grantee,
            actions=["s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:ListBucketVersions"],
            resources=[self.bucket.bucket_arn, self.bucket.arn_for_objects("*")],
        )

    def metric_delay(self, *, period: Duration | None = None) -> cloudwatch.IMetric:
        """Age, in seconds, of the oldest change that is not in the bucket yet."""
        return cloudwatch.Metric(
            namespace="AWS/Firehose",
            metric_name="DeliveryToS3.DataFreshness",
            dimensions_map={"DeliveryStreamName": self._delivery.ref},
            statistic="Maximum",
            period=period or Duration.minutes(5),
        )

    def _make_bucket(self, retention: s3.ObjectLockRetention) -> s3.Bucket:
        key = self._encryption_key
        return s3.Bucket(
            self,
            "Bucket",
            encryption=s3.BucketEncryption.KMS if key else s3.BucketEncryption.S3_MANAGED,
            encryption_key=key,
            bucket_key_enabled=True if key else None,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            versioned=True,
            object_lock_enabled=True,
            object_lock_default_retention=retention,
            lifecycle_rules=[s3.LifecycleRule(abort_incomplete_multipart_upload_after=Duration.days(7))],
            # The bucket of a failed first deployment is empty, so CloudFormation deletes it.
            removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
        )

    def _make_delivery(self, provisioning: SecretFreeProvisioning) -> firehose.CfnDeliveryStream:
        log = make_log_group(self, "DeliveryLog", provisioning.function_options, provisioning.removal_policy)
        log_stream = logs.LogStream(self, "DeliveryErrors", log_group=log, removal_policy=RemovalPolicy.DESTROY)
        function_arn = f"{self._transformation.function.function_arn}:$LATEST"
        role = self._make_role(function_arn)
        log.grant_write(role)
        delivery = firehose.CfnDeliveryStream(
            self,
            "Delivery",
            delivery_stream_type="KinesisStreamAsSource",
            kinesis_stream_source_configuration=firehose.CfnDeliveryStream.KinesisStreamSourceConfigurationProperty(
                kinesis_stream_arn=self.stream.stream_arn, role_arn=role.role_arn
            ),
            extended_s3_destination_configuration=firehose.CfnDeliveryStream.ExtendedS3DestinationConfigurationProperty(
                bucket_arn=self.bucket.bucket_arn,
                role_arn=role.role_arn,
                prefix=f"{AuditFolder.EVENTS}!{{partitionKeyFromLambda:shard}}/!{{timestamp:yyyy/MM/dd}}/",
                error_output_prefix=f"{AuditFolder.UNREADABLE}!{{firehose:error-output-type}}/",
                compression_format="GZIP",
                buffering_hints=firehose.CfnDeliveryStream.BufferingHintsProperty(
                    interval_in_seconds=_DELIVERED_EVERY.to_seconds(), size_in_m_bs=_DELIVERED_MEGABYTES
                ),
                dynamic_partitioning_configuration=firehose.CfnDeliveryStream.DynamicPartitioningConfigurationProperty(
                    enabled=True
                ),
                processing_configuration=firehose.CfnDeliveryStream.ProcessingConfigurationProperty(
                    enabled=True,
                    processors=[
                        firehose.CfnDeliveryStream.ProcessorProperty(
                            type="Lambda",
                            parameters=[
                                firehose.CfnDeliveryStream.ProcessorParameterProperty(
                                    parameter_name=name, parameter_value=value
                                )
                                for name, value in (("LambdaArn", function_arn), ("RoleArn", role.role_arn))
                            ],
                        )
                    ],
                ),
                cloud_watch_logging_options=firehose.CfnDeliveryStream.CloudWatchLoggingOptionsProperty(
                    enabled=True, log_group_name=log.log_group_name, log_stream_name=log_stream.log_stream_name
                ),
            ),
        )
        # Firehose tests the role when it creates the stream.
        delivery.node.add_dependency(role)
        return delivery

    def _make_role(self, function_arn: str) -> iam.Role:
        role = iam.Role(
            self,
            "DeliveryRole",
            assumed_by=iam.ServicePrincipal(
                "firehose.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": Stack.of(self).account}}
            ),
        )
        grant_key(self._encryption_key, role, service="s3", writes=True)
        for actions, resources in (
            (_STREAM_ACTIONS, [self.stream.stream_arn]),
            (_BUCKET_ACTIONS, [self.bucket.bucket_arn]),
            (_OBJECT_ACTIONS, [self.bucket.arn_for_objects(f"{folder}*") for folder in AuditFolder]),
            (_FUNCTION_ACTIONS, [function_arn]),
        ):
            role.add_to_policy(iam.PolicyStatement(actions=list(actions), resources=resources))
            for resource in resources:
                acknowledge_wildcard(role, resource)
        return role

    def _send_changes(self, table: dynamodb.ITable) -> None:
        resource = table.node.default_child
        if isinstance(resource, dynamodb.CfnGlobalTable):
            # The CDK renders the stack's own Region as the last replica.
            own = len(Stack.of(table).resolve(resource.replicas)) - 1
            resource.add_property_override(
                f"Replicas.{own}.KinesisStreamSpecification", {"StreamArn": self.stream.stream_arn}
            )
            return
        Annotations.of(self).add_warning_v2(
            f"cdk-iot-secretfree:auditOfForeignTable:{table.node.path}",
            "The audit trail does not cover a table that another app made. Switch it on for that table: "
            "aws dynamodb enable-kinesis-streaming-destination --table-name TABLE --stream-arn STREAM, where STREAM is "
            "the ARN of AuditTrail.stream.",
        )

    def _make_alarm(self) -> cloudwatch.Alarm:
        return cloudwatch.Alarm(
            self,
            "DelayedAlarm",
            metric=self.metric_delay(),
            alarm_description=(
                "The audit trail is late. The stream keeps changes for seven days. The log group DeliveryLog has the "
                "reason."
            ),
            threshold=_LATE.to_seconds(),
            evaluation_periods=3,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )


# The Cyber Resilience Act requires a manufacturer to keep a product's documentation for ten years.
_RETENTION: Final = Duration.days(3653)
# Long enough to repair a failed delivery after a weekend.
_CHANGES_KEPT_FOR: Final = Duration.days(7)
_DELIVERED_EVERY: Final = Duration.minutes(15)
# The least that Firehose takes with dynamic partitioning.
_DELIVERED_MEGABYTES: Final = 64
_TIMEOUT: Final = Duration.minutes(1)
_LATE: Final = Duration.hours(1)
# The Firehose guide, "Controlling access": a stream as source, a bucket as destination, a function between.
_STREAM_ACTIONS: Final = (
    "kinesis:DescribeStream",
    "kinesis:GetRecords",
    "kinesis:GetShardIterator",
    "kinesis:ListShards",
)
_BUCKET_ACTIONS: Final = ("s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads")
_OBJECT_ACTIONS: Final = ("s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject")
_FUNCTION_ACTIONS: Final = ("lambda:GetFunctionConfiguration", "lambda:InvokeFunction")
