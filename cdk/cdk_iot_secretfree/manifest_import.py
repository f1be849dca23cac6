"""The import at scale: a bucket for manifests, and a Distributed Map that takes each through the enrolment gate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct
from secretfree.contract import DeviceProfile, ManifestFolder, MatchPolicy, Variable

from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.manifest_rights import grant_children, grant_drop, grant_function, grant_state_machine
from cdk_iot_secretfree.options import FunctionOptions
from cdk_iot_secretfree.provisioning import SecretFreeProvisioning
from cdk_iot_secretfree.registry import IDeviceRegistry
from cdk_iot_secretfree.validation import (
    require_instance,
    require_product_line,
    require_range,
    require_removal_policy,
    require_seconds,
)


@dataclass(frozen=True, kw_only=True)
class ImportTarget:
    """What an import enrols into, and by which rules. `SecretFreeProvisioning` and `into_registry` make it."""

    registry: IDeviceRegistry
    product: str
    match: MatchPolicy
    device_profile: DeviceProfile
    functions: FunctionOptions
    encryption_key: kms.IKey | None
    removal_policy: RemovalPolicy


class ManifestImport(Construct):
    """A bucket for manifests of devices, and the import that enrols their rows.

    Each upload below `manifests/` is one batch: the same checks as `secretfree enroll` makes, many rows at a time, and
    a results object with every refused row and its reason. Repeating an execution changes nothing and gives the same
    result. The function has a role of its own that may write the registry, which none of the runtime's may.

    Attributes:
        bucket: encrypted, versioned, private, TLS only.
        state_machine: one execution for each manifest.
        import_function: opens, checks, writes and closes.
        alarms: on an import that failed or ran out of time, and on a manifest whose import could not be started.

    Args:
        scope: the parent.
        id: the construct's id.
        provisioning: the product line. Registry, product, match policy, device profile, encryption key, functions and
            removal policy are its own.
        max_concurrency: runs of rows that are imported at one time, at most. Each writes some hundred rows a second.
        rows_per_batch: rows of one run, at most 500.
        timeout: after which an import has failed, one minute to one year; a day when absent.

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
        rows_per_batch: int = 200,
        timeout: Duration | None = None,
    ) -> None:
        super().__init__(scope, id)
        # Only this flag's result writer can leave the rows themselves out of what the children's results repeat.
        self.node.set_context("@aws-cdk/aws-stepfunctions:useDistributedMapResultWriterV2", value=True)
        target = _target(provisioning)
        self._max_concurrency = require_range("max_concurrency", max_concurrency, 1, 1_000)
        self._rows_per_batch = require_range("rows_per_batch", rows_per_batch, 1, 500)
        self._encryption_key = target.encryption_key
        self.bucket = _bucket(self, target.encryption_key, target.removal_policy)
        runtime = RuntimeFunction(
            self,
            "Function",
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
        self.state_machine = self._state_machine(_timeout(timeout), target.encryption_key, target.removal_policy)
        undelivered = self._start_on_upload()
        self.alarms = self._alarms(undelivered)

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
        rows_per_batch: int = 200,
        timeout: Duration | None = None,
    ) -> "ManifestImport":
        """An import into a registry whose provisioning is in another app or stack.

        Args:
            scope: the parent.
            id: the construct's id.
            registry: the table to enrol into, with an index on the key's fingerprint.
            product: the product line, as given to its `SecretFreeProvisioning`.
            match: the match policy of the provisioning; under `UDID` a row may come without a key.
            device_profile: that of the provisioning. It decides how device ids are spelt: with another one, devices
                are enrolled under ids that the provisioning never looks up.
            functions: how the function runs.
            encryption_key: a key of yours for the bucket; by default S3's own.
            removal_policy: of the bucket, its logs and the state machine. DESTROY works on an empty bucket.
            max_concurrency: as for `ManifestImport`.
            rows_per_batch: as for `ManifestImport`.
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
            scope, id, target, max_concurrency=max_concurrency, rows_per_batch=rows_per_batch, timeout=timeout
        )

    def grant_drop(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal put manifests into the bucket and read the results, and no more."""
        return grant_drop(self.bucket, grantee, self._encryption_key)

    def metric_failed(self, *, period: Duration | None = None) -> cloudwatch.IMetric:
        """Imports that failed. A refused row is no failure: the results object names it."""
        return self.state_machine.metric_failed(period=period or _ALARM_PERIOD, statistic="Sum")

    def metric_timed_out(self, *, period: Duration | None = None) -> cloudwatch.IMetric:
        """Imports that ran out of time."""
        return self.state_machine.metric_timed_out(period=period or _ALARM_PERIOD, statistic="Sum")

    def _state_machine(
        self, timeout: Duration, encryption_key: kms.IKey | None, removal_policy: RemovalPolicy
    ) -> sfn.StateMachine:
        log_group = logs.LogGroup(
            self, "ExecutionLog", retention=logs.RetentionDays.ONE_YEAR, removal_policy=removal_policy
        )
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("states.amazonaws.com"))
        grant_state_machine(role, self.import_function.function_arn, self.bucket, encryption_key)
        machine = sfn.StateMachine(
            self,
            "Resource",
            definition_body=sfn.DefinitionBody.from_chainable(self._definition()),
            # Its statements are written here: those that the library adds reach over the whole bucket.
            role=role.without_policy_updates(),
            timeout=timeout,
            tracing_enabled=True,
            logs=sfn.LogOptions(destination=log_group, level=sfn.LogLevel.ERROR, include_execution_data=False),
            removal_policy=removal_policy,
        )
        machine.node.add_dependency(role)
        grant_children(self, role, machine)
        return machine

    def _definition(self) -> sfn.IChainable:
        import_failed = sfn.Fail(
            self,
            "ImportFailed",
            error_path="$.account.Payload.error.error",
            cause_path="$.account.Payload.error.cause",
        )
        failed = self._close("CloseFailed", failure=sfn.JsonPath.object_at("$.failure")).next(import_failed)
        opened = self._task("Open", {"open": {**_EVENT}}, result_path="$.opened").add_catch(
            failed, result_path="$.failure"
        )
        refused = sfn.Pass(
            self, "ManifestRefused", input_path="$.opened.Payload.failure", result_path="$.failure"
        ).next(failed)
        closed = self._close(
            "Close", manifest=sfn.JsonPath.object_at("$.opened.Payload"), result=sfn.JsonPath.object_at("$.result")
        ).add_catch(failed, result_path="$.failure")
        is_complete = sfn.Condition.string_equals("$.account.Payload.status", "COMPLETE")
        closed.next(
            sfn.Choice(self, "IsComplete").when(is_complete, sfn.Succeed(self, "Imported")).otherwise(import_failed)
        )
        csv_rows = self._rows("csv", sfn.S3CsvItemReader(key=_KEY, bucket=self.bucket), closed, failed)
        json_lines = self._rows("jsonl", sfn.S3JsonLItemReader(key=_KEY, bucket=self.bucket), closed, failed)
        by_format = sfn.Choice(self, "ByFormat")
        by_format.when(sfn.Condition.string_equals("$.opened.Payload.format", "csv"), csv_rows)
        by_format.when(sfn.Condition.string_equals("$.opened.Payload.format", "jsonl"), json_lines)
        return opened.next(by_format.otherwise(refused))

    def _rows(
        self, source: str, reader: sfn.IItemReader, closed: sfn.IChainable, failed: sfn.IChainable
    ) -> sfn.IChainable:
        rows = sfn.DistributedMap(
            self,
            f"ImportRows-{source}",
            item_reader=reader,
            item_selector={
                "batch": sfn.JsonPath.string_at("$.opened.Payload.batch"),
                "source": source,
                "row": sfn.JsonPath.number_at("$$.Map.Item.Index"),
                "fields": sfn.JsonPath.object_at("$$.Map.Item.Value"),
            },
            item_batcher=sfn.ItemBatcher(
                max_items_per_batch=self._rows_per_batch, max_input_bytes_per_batch=_MAX_BATCH_BYTES
            ),
            # A run of rows is short and may be repeated, which is what express workflows are for.
            map_execution_type=sfn.StateMachineType.EXPRESS,
            max_concurrency=self._max_concurrency,
            result_writer_v2=sfn.ResultWriterV2(
                bucket=self.bucket,
                prefix=sfn.JsonPath.format(
                    f"{ManifestFolder.RESULTS}{{}}/children", sfn.JsonPath.string_at("$.opened.Payload.batch")
                ),
                writer_config=sfn.WriterConfig(
                    output_type=sfn.OutputType.JSONL, transformation=sfn.Transformation.COMPACT
                ),
            ),
            result_path="$.result",
        )
        rows.item_processor(self._task(f"ImportRun-{source}", sfn.JsonPath.entire_payload, output_path="$.Payload"))
        return rows.add_catch(failed, result_path="$.failure").next(closed)

    def _close(self, id: str, **account: Any) -> tasks.LambdaInvoke:  # noqa: A002 - the name that every construct has
        return self._task(id, {"close": {**_EVENT, **account}}, result_path="$.account")

    def _task(
        self,
        id: str,  # noqa: A002 - the name that every construct has
        payload: Mapping[str, Any] | str,
        *,
        result_path: str | None = None,
        output_path: str | None = None,
    ) -> tasks.LambdaInvoke:
        task = tasks.LambdaInvoke(
            self,
            id,
            lambda_function=self.import_function,
            payload=(
                sfn.TaskInput.from_json_path_at(payload)
                if isinstance(payload, str)
                else sfn.TaskInput.from_object(payload)
            ),
            result_path=result_path,
            output_path=output_path,
            retry_on_service_exceptions=False,
        )
        # A table that is busy, a Lambda that is throttled: each step may be repeated.
        task.add_retry(
            errors=["States.ALL"],
            interval=Duration.seconds(2),
            max_attempts=6,
            backoff_rate=2,
            max_delay=Duration.minutes(1),
            jitter_strategy=sfn.JitterType.FULL,
        )
        return task

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
            "FailedAlarm": (self.metric_failed(), "An import of a manifest failed; its summary.json says why"),
            "TimedOutAlarm": (self.metric_timed_out(), "An import of a manifest ran out of time; start it again"),
            "UndeliveredAlarm": (
                undelivered.metric_approximate_number_of_messages_visible(period=_ALARM_PERIOD),
                "A manifest was put into the bucket and its import could not be started",
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
# A child's input takes 256 KiB at most (Step Functions quotas); what is around the rows needs some of it.
_MAX_BATCH_BYTES: Final = 240 * 1024
_KEY: Final = sfn.JsonPath.string_at("$.opened.Payload.key")
_EVENT: Final = {
    "event": {"detail": sfn.JsonPath.object_at("$.detail"), "time": sfn.JsonPath.string_at("$.time")},
    "execution": sfn.JsonPath.string_at("$$.Execution.Id"),
}


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
        require_instance(
            "provisioning", given, ImportTarget, "a SecretFreeProvisioning; without one, ManifestImport.into_registry()"
        )
        target = given
    require_product_line(target.product, target.match, target.device_profile)
    require_instance("functions", target.functions, FunctionOptions, "FunctionOptions")
    key_index = target.registry.key_index
    require_instance("registry.key_index", key_index, str, "a registry with an index on key-fingerprint")
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
    # The library's own switch for this adds a function with a role over the notifications of all buckets' constructs.
    resource = bucket.node.default_child
    assert isinstance(resource, s3.CfnBucket)  # noqa: S101 - so it is made, for the type checker
    resource.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
        event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(event_bridge_enabled=True)
    )
    return bucket
