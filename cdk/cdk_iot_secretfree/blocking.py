"""Blocking: a function on the registry's stream revokes a device's certificates and ends its connection."""

from collections.abc import Sequence
from typing import Final

from aws_cdk import Annotations, Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct
from secretfree.contract import Variable

from cdk_iot_secretfree.acknowledgments import acknowledge
from cdk_iot_secretfree.function_options import FunctionKind
from cdk_iot_secretfree.functions import RuntimeFunction, send_failed_to
from cdk_iot_secretfree.issuers.issuer import Issuer
from cdk_iot_secretfree.product_line import ProductLine
from cdk_iot_secretfree.registry import IDeviceRegistry


class Blocking(Construct):
    """The function on the registry's stream, and the queue of the changes that it failed to process.

    Every writer of the registry triggers it. A status other than `allowed`, a removed item and a replaced key revoke
    the device's certificates. New items are filtered out before the function, so that an import costs nothing.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        line: ProductLine,
        *,
        stream_arn: str,
    ) -> None:
        super().__init__(scope, id)
        product = line.product
        stack = Stack.of(self)
        authorities = _revoking_authorities(line.issuers)
        self._dead_letters = sqs.Queue(
            self,
            "DeadLetters",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=_DEAD_LETTERS_KEPT_FOR,
            removal_policy=line.removal_policy,
        )
        acknowledge(self._dead_letters, {"AwsSolutions-SQS3": "This queue has the dead letters of the stream."})
        self._revoker = RuntimeFunction(
            self,
            "Revoker",
            kind=FunctionKind.REVOKER,
            handler="secretfree.handlers.revoker.handler",
            description=f"Revokes the certificates of devices of {product} that are blocked, removed or have a new key",
            environment={
                **line.environment,
                **line.ledger.environment,
                Variable.MATCH_POLICY: line.match.value,
                Variable.REGISTRY_TABLE: line.registry.table_name,
                Variable.LEDGER_TABLE: line.ledger.table_name,
                Variable.REVOKING_AUTHORITIES: stack.to_json_string(list(authorities)),
            },
            options=line.functions,
            timeout=_TIMEOUT,
            removal_policy=line.removal_policy,
        )
        line.registry.grant_lookup(self._revoker.rights, by_key=False)
        line.ledger.grant_revoke(self._revoker.rights)
        self._revoker.allow(
            ["iot:UpdateCertificate"], [stack.format_arn(service="iot", resource="cert", resource_name="*")]
        )
        self._revoker.allow(
            ["iot:DeleteConnection"], [stack.format_arn(service="iot", resource="client", resource_name="*")]
        )
        if authorities:
            self._revoker.allow(["acm-pca:RevokeCertificate"], list(authorities))
        self._revoker.allow(list(_STREAM_ACTIONS), [stream_arn])
        # The IAM reference gives ListStreams no resource type.
        self._revoker.allow(["dynamodb:ListStreams"], ["*"])
        self._revoker.allow(["sqs:SendMessage"], [self._dead_letters.queue_arn])
        feed = lambda_.EventSourceMapping(
            self,
            "Feed",
            target=self._revoker.function,
            event_source_arn=stream_arn,
            starting_position=lambda_.StartingPosition.TRIM_HORIZON,
            filters=[lambda_.FilterCriteria.filter({"eventName": lambda_.FilterRule.or_("MODIFY", "REMOVE")})],
            batch_size=_BATCH_SIZE,
            report_batch_item_failures=True,
            bisect_batch_on_error=True,
            retry_attempts=_RETRIES,
            max_record_age=_MOST_AGE,
        )
        send_failed_to(feed, self._dead_letters)
        # Lambda refuses the mapping while the role may not read the stream.
        feed.node.add_dependency(self._revoker.role)

    @property
    def function(self) -> lambda_.Function:
        """The function that revokes."""
        return self._revoker.function

    @property
    def dead_letters(self) -> sqs.IQueue:
        """Changes that failed at every try. Each message names records of the stream and is kept for 14 days."""
        return self._dead_letters

    def metric_dead_letters(self, *, period: Duration | None = None) -> cloudwatch.Metric:
        """Changes that failed at every try. Their devices may still be connected."""
        return self._dead_letters.metric_approximate_number_of_messages_visible(period=period, statistic="Maximum")

    def metric_lag(self, *, period: Duration | None = None) -> cloudwatch.Metric:
        """Age, in milliseconds, of the last change that the function received: how late a block takes effect."""
        return self.function.metric("IteratorAge", period=period, statistic="Maximum")


def known_stream(scope: Construct, registry: IDeviceRegistry) -> str | None:
    """The ARN of the registry's stream. Without a known one, warn and return None."""
    stream_arn: str | None = registry.table.table_stream_arn
    if stream_arn is None:
        Annotations.of(scope).add_warning_v2(
            "cdk-iot-secretfree:registryWithoutStream",
            "The registry is a table without a known stream: a blocked or removed device gets no new certificate, but "
            "the one that it has stays active, and the device stays connected. Switch on the table's stream with new "
            "and old images, and give DeviceRegistry.from_table_name(..., stream_arn=...).",
        )
    return stream_arn


def _revoking_authorities(issuers: Sequence[Issuer]) -> Sequence[str]:
    """The CAs that accept revocations. A short-lived CA does not."""
    authorities = [authority for issuer in issuers for authority in issuer.authorities]
    return list(dict.fromkeys(authority.arn for authority in authorities if not authority.is_short_lived))


_STREAM_ACTIONS: Final = ("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator")
_BATCH_SIZE: Final = 10
_TIMEOUT: Final = Duration.minutes(2)
# A change that keeps failing delays the later ones of its shard, so the tries are limited. They outlast an outage of
# AWS IoT Core of some hours.
_RETRIES: Final = 50
_MOST_AGE: Final = Duration.hours(12)
_DEAD_LETTERS_KEPT_FOR: Final = Duration.days(14)
