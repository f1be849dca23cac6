"""Following: registers in this Region what other Regions issue, as this Region's replica announces it."""

from typing import Final

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct
from secretfree.contract import AnnouncementAttribute, Variable

from cdk_iot_secretfree.function_options import FunctionKind
from cdk_iot_secretfree.functions import RuntimeFunction, send_failed_to
from cdk_iot_secretfree.issuers.settings import runtime_settings
from cdk_iot_secretfree.membership import RegionMembership
from cdk_iot_secretfree.product_line import ProductLine
from cdk_iot_secretfree.things import grant_retirement, grant_things


class Following(Construct):
    """The function on the stream of announcements, its queue for later tries, and its dead letters.

    Without the queue, one device that has to wait would delay all devices of its shard.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        line: ProductLine,
        *,
        membership: RegionMembership,
    ) -> None:
        super().__init__(scope, id)
        stack = Stack.of(self)
        followed = [issuer for issuer in line.issuers if issuer.authority is not None]
        self._dead_letters = _queue(self, "DeadLetters", line.removal_policy, retention=_DEAD_LETTERS_KEPT_FOR)
        self._later = _queue(self, "Later", line.removal_policy, dead_letters=self._dead_letters)
        self._follower = RuntimeFunction(
            self,
            "Follower",
            kind=FunctionKind.FOLLOWER,
            handler="secretfree.handlers.follower.handler",
            description=f"Registers the certificates of {line.product} that other Regions issued, and revokes theirs",
            environment={
                **line.issuing_environment(stack),
                Variable.ISSUERS: runtime_settings(stack, followed),
                Variable.LATER_QUEUE_URL: self._later.queue_url,
            },
            options=line.functions,
            timeout=_TIMEOUT,
            removal_policy=line.removal_policy,
        )
        membership.grants.follow(self._follower.rights)
        membership.registry.grant_lookup(self._follower.rights, by_key=False)
        line.ledger.grant_follow(self._follower.rights)
        grant_retirement(self._follower)
        grant_things(self._follower, line.thing_groups)
        # One call for a CA that the Regions share, one for another Region's own CA. Neither has a resource type.
        self._follower.allow(["iot:RegisterCertificate", "iot:RegisterCertificateWithoutCA"], ["*"])
        self._follower.allow(
            ["iot:DeleteConnection"], [stack.format_arn(service="iot", resource="client", resource_name="*")]
        )
        self._follower.allow(list(_STREAM_ACTIONS), [membership.announcements_stream])
        # The IAM reference gives ListStreams no resource type.
        self._follower.allow(["dynamodb:ListStreams"], ["*"])
        self._follower.allow(list(_QUEUE_ACTIONS), [self._later.queue_arn])
        self._follower.allow(["sqs:SendMessage"], [self._dead_letters.queue_arn])
        self._feed_from_stream(membership)
        lambda_.EventSourceMapping(
            self,
            "LaterFeed",
            target=self._follower.function,
            event_source_arn=self._later.queue_arn,
            batch_size=_BATCH_SIZE,
            report_batch_item_failures=True,
        ).node.add_dependency(self._follower.role)

    @property
    def function(self) -> lambda_.Function:
        """The function that registers and revokes."""
        return self._follower.function

    @property
    def later(self) -> sqs.IQueue:
        """Devices to retry: a worker of this Region is issuing to the device, or AWS throttled a call."""
        return self._later

    @property
    def dead_letters(self) -> sqs.IQueue:
        """Messages that failed at every try, kept for 14 days. Send them back to `later` to try again."""
        return self._dead_letters

    def metric_dead_letters(self, *, period: Duration | None = None) -> cloudwatch.Metric:
        """Announcements that failed at every try.

        Their devices cannot connect here until they request a certificate here.
        """
        return self._dead_letters.metric_approximate_number_of_messages_visible(period=period, statistic="Maximum")

    def _feed_from_stream(self, membership: RegionMembership) -> None:
        others = lambda_.FilterRule.not_equals(membership.region)
        image = {AnnouncementAttribute.REGION.value: {"S": others}}
        feed = lambda_.EventSourceMapping(
            self,
            "Feed",
            target=self._follower.function,
            event_source_arn=membership.announcements_stream,
            starting_position=lambda_.StartingPosition.TRIM_HORIZON,
            filters=[
                lambda_.FilterCriteria.filter(
                    {
                        "eventName": lambda_.FilterRule.or_("INSERT", "MODIFY"),
                        "dynamodb": {"NewImage": image},
                    }
                )
            ],
            batch_size=_BATCH_SIZE,
            parallelization_factor=_PARALLEL,
            report_batch_item_failures=True,
            bisect_batch_on_error=True,
            retry_attempts=_RETRIES,
            max_record_age=_MOST_AGE,
        )
        send_failed_to(feed, self._dead_letters)
        feed.node.add_dependency(self._follower.role)


def _queue(
    scope: Construct,
    id: str,  # noqa: A002 - the name that every construct has
    removal_policy: RemovalPolicy,
    *,
    retention: Duration | None = None,
    dead_letters: sqs.IQueue | None = None,
) -> sqs.Queue:
    return sqs.Queue(
        scope,
        id,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        retention_period=retention or Duration.days(4),
        visibility_timeout=_VISIBILITY,
        dead_letter_queue=None
        if dead_letters is None
        else sqs.DeadLetterQueue(queue=dead_letters, max_receive_count=_MOST_RECEIVES),
        removal_policy=removal_policy,
    )


_STREAM_ACTIONS: Final = ("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator")
_QUEUE_ACTIONS: Final = ("sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage")
_BATCH_SIZE: Final = 10
_PARALLEL: Final = 10
_TIMEOUT: Final = Duration.minutes(1)
_VISIBILITY: Final = Duration.minutes(1)
# With the visibility timeout, the tries last an hour: an outage of AWS IoT Core or of the registry's replication.
_MOST_RECEIVES: Final = 60
_RETRIES: Final = 50
_MOST_AGE: Final = Duration.hours(12)
_DEAD_LETTERS_KEPT_FOR: Final = Duration.days(14)
