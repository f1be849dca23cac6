"""The import at scale: a bucket for manifests, and the state machine that enrols the rows of each manifest."""

from dataclasses import dataclass
from typing import ClassVar, Final

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct
from secretfree.contract import DeviceProfile, ManifestFolder, MatchPolicy, Variable

from cdk_iot_secretfree.acknowledgments import ALARM_WITHOUT_ACTION, BUCKET, INLINE_POLICY, acknowledge, with_own_key
from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.function_options import FunctionKind, FunctionOptions
from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.manifest_rights import grant_drop, grant_function
from cdk_iot_secretfree.manifest_workflow import RowsAtOnce, make_import_workflow
from cdk_iot_secretfree.provisioning import SecretFreeProvisioning
from cdk_iot_secretfree.registry import IDeviceRegistry
from cdk_iot_secretfree.validation import (
    refuse,
    require_product,
    require_range,
    require_removal_policy,
    require_seconds,
)


@dataclass(frozen=True, kw_only=True)
class ImportTarget:
    """The registry that an import writes, and the rules it applies."""

    made_by: ClassVar[str] = "ManifestImport.into_registry() with a registry"

    registry: IDeviceRegistry
    product: str
    match: MatchPolicy
    device_profile: DeviceProfile
    functions: FunctionOptions
    encryption_key: kms.IKey | None
    removal_policy: RemovalPolicy


@checks_arguments
class ManifestImport(Construct):
    """A bucket for manifests of devices, and the import that enrols their rows.

    Each upload below `manifests/` is one batch. The import makes the same checks as `secretfree enroll`, on many rows
    in parallel. It writes a results object with every refused row and the reason. A repeated execution changes nothing
    and gives the same result. The import has its own function and role, because the runtime's roles may
    not write the registry.

    Attributes:
        bucket: encrypted, versioned, private, TLS only.
        state_machine: one execution for each manifest.
        import_function: opens a manifest, checks and writes its rows, and closes it.
        alarms: for an import that failed or timed out, and for a manifest whose import could not be started.

    Args:
        scope: the parent.
        id: the construct's id.
        provisioning: the product line. The import takes its registry, product, match policy, device profile,
            encryption key, functions and removal policy.
        max_concurrency: calls of the function at the same time, at most 1,000. Each writes about 100 rows a second.
        rows_per_call: rows that one call of the function enrols, at most 500.
        timeout: time after which an import fails, one minute to one year; one day when absent.

    Raises:
        InvalidArgumentError: for a registry without a key index, and numbers out of range.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        provisioning: SecretFreeProvisioning | ImportTarget,
        *,
        max_concurrency: int = 10,
        rows_per_call: int = 200,
        timeout: Duration | None = None,
    ) -> None:
        super().__init__(scope, id)
        # Only with this flag can the result writer omit the rows from the children's results.
        self.node.set_context("@aws-cdk/aws-stepfunctions:useDistributedMapResultWriterV2", value=True)
        target = _target(provisioning)
        rows = RowsAtOnce(
            calls=require_range("max_concurrency", max_concurrency, 1, 1_000),
            rows_per_call=require_range("rows_per_call", rows_per_call, 1, 500),
        )
        self._encryption_key = target.encryption_key
        self.bucket = _bucket(self, target.encryption_key, target.removal_policy)
        runtime = RuntimeFunction(
            self,
            "Function",
            kind=FunctionKind.MANIFEST_IMPORT,
            handler="secretfree.handlers.manifest_import.handler",
            description="Opens manifests, enrols their rows and closes the account of each import",
            environment={
                Variable.PRODUCT: target.product,
                Variable.DEVICE_PROFILE: target.device_profile.value,
                Variable.MATCH_POLICY: target.match.value,
                Variable.REGISTRY_TABLE: target.registry.table_name,
                Variable.REGISTRY_KEY_INDEX: str(target.registry.key_index),
                Variable.IMPORT_BUCKET: self.bucket.bucket_name,
            },
            options=target.functions,
            timeout=_FUNCTION_TIMEOUT,
            removal_policy=target.removal_policy,
        )
        self.import_function = runtime.function
        grant_function(runtime, self.bucket, target.registry, target.encryption_key)
        self.state_machine = make_import_workflow(
            self,
            function=runtime.function,
            bucket=self.bucket,
            rows=rows,
            timeout=_timeout(timeout),
            functions=target.functions,
            encryption_key=target.encryption_key,
            removal_policy=target.removal_policy,
        )
        undelivered = self._start_on_upload()
        self.alarms = self._alarms(undelivered)
        acknowledge(
            self,
            {
                **INLINE_POLICY,
                **ALARM_WITHOUT_ACTION,
                "AwsSolutions-SF1": "Logs of every event would hold the rows. Errors are logged, without data.",
                "AwsSolutions-SQS3": "This queue has the dead letters of the rule.",
            },
        )
        acknowledge(self.bucket, BUCKET if target.encryption_key else with_own_key(BUCKET))

    @staticmethod
    def into_registry(
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        registry: IDeviceRegistry,
        product: str,
        match: MatchPolicy,
        device_profile: DeviceProfile,
        functions: FunctionOptions,
        encryption_key: kms.IKey | None = None,
        removal_policy: RemovalPolicy = RemovalPolicy.RETAIN,
        max_concurrency: int = 10,
        rows_per_call: int = 200,
        timeout: Duration | None = None,
    ) -> "ManifestImport":
        """Make an import into a registry whose provisioning is in another app or stack.

        Args:
            scope: the parent.
            id: the construct's id.
            registry: the table to enrol into, with an index on the key's fingerprint.
            product: the product line, as given to its `SecretFreeProvisioning`.
            match: the match policy of the provisioning. Under `UDID` a row may omit the key.
            device_profile: the device profile of the provisioning. It decides how device ids are spelt. With another
                profile, the import enrols ids that the provisioning never looks up.
            functions: how the function runs.
            encryption_key: your key for the bucket; by default S3's own.
            removal_policy: of the bucket, its logs and the state machine. DESTROY works on an empty bucket.
            max_concurrency: as for `ManifestImport`.
            rows_per_call: as for `ManifestImport`.
            timeout: as for `ManifestImport`.

        Raises:
            InvalidArgumentError: naming the argument, what was given and what is accepted.
        """
        target = ImportTarget(
            registry=registry,
            product=product,
            match=match,
            device_profile=device_profile,
            functions=functions,
            encryption_key=encryption_key,
            removal_policy=removal_policy,
        )
        return ManifestImport(
            scope, id, target, max_concurrency=max_concurrency, rows_per_call=rows_per_call, timeout=timeout
        )

    def grant_drop(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal put manifests into the bucket and read the results, nothing else."""
        return grant_drop(self.bucket, grantee, self._encryption_key)

    def metric_failed(self, *, period: Duration | None = None) -> cloudwatch.Metric:
        """Imports that failed. A refused row does not fail an import: the results object lists it."""
        return self.state_machine.metric_failed(period=period or _ALARM_PERIOD, statistic="Sum")

    def metric_timed_out(self, *, period: Duration | None = None) -> cloudwatch.Metric:
        """Imports that timed out."""
        return self.state_machine.metric_timed_out(period=period or _ALARM_PERIOD, statistic="Sum")

    def _start_on_upload(self) -> sqs.Queue:
        undelivered = sqs.Queue(
            self,
            "Undelivered",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
        )
        events.Rule(
            self,
            "OnUpload",
            event_pattern=events.EventPattern(
                source=["aws.s3"],
                detail_type=["Object Created"],
                detail={
                    "bucket": {"name": [self.bucket.bucket_name]},
                    "object": {"key": [{"prefix": ManifestFolder.MANIFESTS.value}]},
                },
            ),
            targets=[targets.SfnStateMachine(self.state_machine, dead_letter_queue=undelivered)],
        )
        return undelivered

    def _alarms(self, undelivered: sqs.Queue) -> tuple[cloudwatch.Alarm, ...]:
        watched = {
            "FailedAlarm": (self.metric_failed(), "An import of a manifest failed; its summary.json has the reason"),
            "TimedOutAlarm": (self.metric_timed_out(), "An import of a manifest timed out; start it again"),
            "UndeliveredAlarm": (
                undelivered.metric_approximate_number_of_messages_visible(period=_ALARM_PERIOD),
                "A manifest was uploaded, and its import could not be started",
            ),
        }
        return tuple(
            cloudwatch.Alarm(
                self,
                id,
                metric=metric,
                alarm_description=description,
                threshold=1,
                evaluation_periods=1,
                comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
                treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            )
            for id, (metric, description) in watched.items()  # noqa: A001
        )


_FUNCTION_TIMEOUT: Final = Duration.minutes(15)
_ALARM_PERIOD: Final = Duration.minutes(5)
_KEEP_FORMER_VERSIONS: Final = Duration.days(365)


def _target(given: SecretFreeProvisioning | ImportTarget) -> ImportTarget:
    if isinstance(given, SecretFreeProvisioning):
        target = ImportTarget(
            registry=given.registry,
            product=given.product,
            match=given.match,
            device_profile=given.device_profile,
            functions=given.function_options,
            encryption_key=given.encryption_key,
            removal_policy=given.removal_policy,
        )
    else:
        target = given
    require_product(target.product)
    if target.registry.key_index is None:
        refuse("registry.key_index", None, "a registry with an index on key-fingerprint")
    require_removal_policy(target.removal_policy)
    return target


def _timeout(given: Duration | None) -> Duration:
    timeout = Duration.days(1) if given is None else given
    require_seconds("timeout", timeout, 60, 366 * 86_400, "1 minute to 1 year")
    return timeout


def _bucket(scope: Construct, encryption_key: kms.IKey | None, removal_policy: RemovalPolicy) -> s3.Bucket:
    bucket = s3.Bucket(
        scope,
        "Bucket",
        encryption=s3.BucketEncryption.KMS if encryption_key else s3.BucketEncryption.S3_MANAGED,
        encryption_key=encryption_key,
        bucket_key_enabled=True if encryption_key else None,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        enforce_ssl=True,
        versioned=True,
        lifecycle_rules=[
            s3.LifecycleRule(
                abort_incomplete_multipart_upload_after=Duration.days(7),
                noncurrent_version_expiration=_KEEP_FORMER_VERSIONS,
            )
        ],
        removal_policy=removal_policy,
    )
    # The property `event_bridge_enabled` of the CDK's Bucket would add a function with rights on every bucket.
    resource = bucket.node.default_child
    assert isinstance(resource, s3.CfnBucket)  # noqa: S101 - the Bucket's default child, for the type checker
    resource.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
        event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(event_bridge_enabled=True)
    )
    return bucket
