"""The state machine of an import: open the manifest, enrol its rows in parallel, close the import."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct
from secretfree.contract import ManifestFolder

from cdk_iot_secretfree.function_options import FunctionOptions
from cdk_iot_secretfree.functions import make_log_group
from cdk_iot_secretfree.manifest_rights import grant_children, grant_state_machine


@dataclass(frozen=True, kw_only=True)
class RowsAtOnce:
    """How many calls of the function run at the same time, and how many rows each enrols."""

    calls: int
    rows_per_call: int


def make_import_workflow(
    scope: Construct,
    *,
    function: lambda_.IFunction,
    bucket: s3.Bucket,
    rows: RowsAtOnce,
    timeout: Duration,
    functions: FunctionOptions,
    encryption_key: kms.IKey | None,
    removal_policy: RemovalPolicy,
) -> sfn.StateMachine:
    """Make the state machine and its role, which may call `function` and read and write `bucket`."""
    log_group = make_log_group(scope, "ExecutionLog", functions, removal_policy)
    role = iam.Role(scope, "Role", assumed_by=iam.ServicePrincipal("states.amazonaws.com"))
    grant_state_machine(role, function.function_arn, bucket, encryption_key)
    machine = sfn.StateMachine(
        scope,
        "Resource",
        definition_body=sfn.DefinitionBody.from_chainable(_Definition(scope, function, bucket, rows).chain()),
        # `grant_state_machine` writes the role's statements. The CDK's own would cover the whole bucket.
        role=role.without_policy_updates(),
        timeout=timeout,
        tracing_enabled=True,
        logs=sfn.LogOptions(destination=log_group, level=sfn.LogLevel.ERROR, include_execution_data=False),
        removal_policy=removal_policy,
    )
    machine.node.add_dependency(role)
    grant_children(scope, role, machine)
    return machine


@dataclass(frozen=True)
class _Definition:
    """The states, which are constructs below `scope`."""

    scope: Construct
    function: lambda_.IFunction
    bucket: s3.Bucket
    rows: RowsAtOnce

    def chain(self) -> sfn.IChainable:
        """Return the first state, with all others behind it."""
        import_failed = sfn.Fail(
            self.scope,
            "ImportFailed",
            error_path="$.account.Payload.error.error",
            cause_path="$.account.Payload.error.cause",
        )
        failed = self._close("CloseFailed", failure=sfn.JsonPath.object_at("$.failure")).next(import_failed)
        opened = self._task("Open", {"open": {**_EVENT}}, result_path="$.opened").add_catch(
            failed, result_path="$.failure"
        )
        refused = sfn.Pass(
            self.scope, "ManifestRefused", input_path="$.opened.Payload.failure", result_path="$.failure"
        ).next(failed)
        closed = self._close(
            "Close", manifest=sfn.JsonPath.object_at("$.opened.Payload"), result=sfn.JsonPath.object_at("$.result")
        ).add_catch(failed, result_path="$.failure")
        is_complete = sfn.Condition.string_equals("$.account.Payload.status", "COMPLETE")
        closed.next(
            sfn.Choice(self.scope, "IsComplete")
            .when(is_complete, sfn.Succeed(self.scope, "Imported"))
            .otherwise(import_failed)
        )
        csv_rows = self._rows("csv", sfn.S3CsvItemReader(key=_KEY, bucket=self.bucket), closed, failed)
        json_lines = self._rows("jsonl", sfn.S3JsonLItemReader(key=_KEY, bucket=self.bucket), closed, failed)
        by_format = sfn.Choice(self.scope, "ByFormat")
        by_format.when(sfn.Condition.string_equals("$.opened.Payload.format", "csv"), csv_rows)
        by_format.when(sfn.Condition.string_equals("$.opened.Payload.format", "jsonl"), json_lines)
        return opened.next(by_format.otherwise(refused))

    def _rows(
        self, source: str, reader: sfn.IItemReader, closed: sfn.IChainable, failed: sfn.IChainable
    ) -> sfn.IChainable:
        rows = sfn.DistributedMap(
            self.scope,
            f"ImportRows-{source}",
            item_reader=reader,
            item_selector={
                "batch": sfn.JsonPath.string_at("$.opened.Payload.batch"),
                "source": source,
                "row": sfn.JsonPath.number_at("$$.Map.Item.Index"),
                "fields": sfn.JsonPath.object_at("$$.Map.Item.Value"),
            },
            item_batcher=sfn.ItemBatcher(
                max_items_per_batch=self.rows.rows_per_call, max_input_bytes_per_batch=_MAX_BATCH_BYTES
            ),
            # A call is short and may be repeated, so an express workflow is enough.
            map_execution_type=sfn.StateMachineType.EXPRESS,
            max_concurrency=self.rows.calls,
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
            self.scope,
            id,
            lambda_function=self.function,
            payload=(
                sfn.TaskInput.from_json_path_at(payload)
                if isinstance(payload, str)
                else sfn.TaskInput.from_object(payload)
            ),
            result_path=result_path,
            output_path=output_path,
            retry_on_service_exceptions=False,
        )
        # The table may be busy, or the Lambda throttled. Every step is safe to repeat.
        task.add_retry(
            errors=["States.ALL"],
            interval=Duration.seconds(2),
            max_attempts=6,
            backoff_rate=2,
            max_delay=Duration.minutes(1),
            jitter_strategy=sfn.JitterType.FULL,
        )
        return task


# A child's input takes 256 KiB at most (Step Functions quotas). The rest of the input needs some of that.
_MAX_BATCH_BYTES: Final = 240 * 1024
_KEY: Final = sfn.JsonPath.string_at("$.opened.Payload.key")
_EVENT: Final = {
    "event": {"detail": sfn.JsonPath.object_at("$.detail"), "time": sfn.JsonPath.string_at("$.time")},
    "execution": sfn.JsonPath.string_at("$$.Execution.Id"),
}
