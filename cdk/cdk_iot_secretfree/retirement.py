"""Retires old certificates once a device connects with a newer one: presence events, a queue, and a function."""

from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct
from secretfree.contract import Variable

from cdk_iot_secretfree.connect_events import ConnectEvents
from cdk_iot_secretfree.function_options import FunctionKind
from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.product_line import ProductLine
from cdk_iot_secretfree.queues import make_queue
from cdk_iot_secretfree.things import grant_certificate_look_up, grant_closing


class ConnectRetirement(Construct):
    """The queue of the connects of AWS IoT Core, and the function that retires.

    AWS IoT Core reports the connects of all clients of the account and Region. The function ignores clients that are
    not devices of the product line. A lost event delays a retirement until the device connects again.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        line: ProductLine,
    ) -> None:
        super().__init__(scope, id)
        removal_policy = line.removal_policy
        self._dead_letters = make_queue(self, "DeadLetters", removal_policy, retention_period=_DEAD_LETTERS_KEPT_FOR)
        self._queue = make_queue(
            self,
            "Queue",
            removal_policy,
            retention_period=_KEPT_FOR,
            visibility_timeout=_VISIBILITY,
            dead_letter_queue=sqs.DeadLetterQueue(queue=self._dead_letters, max_receive_count=_MOST_RECEIVES),
        )
        ConnectEvents.of(self).send_to(self._queue)
        self._retirer = RuntimeFunction(
            self,
            "Retirer",
            kind=FunctionKind.RETIRER,
            handler="secretfree.handlers.retirer.handler",
            description=f"Retires the old certificates of devices of {line.product} that connect with a new one",
            environment={
                **line.environment,
                **line.ledger.environment,
                Variable.POLICY_NAME: line.device_policy.policy_name,
                Variable.THING_TYPE: line.thing_type_name,
                Variable.LEDGER_TABLE: line.ledger.table_name,
            },
            options=line.functions,
            timeout=_TIMEOUT,
            removal_policy=removal_policy,
        )
        line.ledger.grant_retire(self._retirer.rights)
        grant_certificate_look_up(self._retirer)
        grant_closing(self._retirer)
        self._retirer.allow(
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"], [self._queue.queue_arn]
        )
        lambda_.EventSourceMapping(
            self,
            "Feed",
            target=self._retirer.function,
            event_source_arn=self._queue.queue_arn,
            batch_size=_BATCH_SIZE,
            max_batching_window=_BATCHING_WINDOW,
            max_concurrency=_WORKERS,
            report_batch_item_failures=True,
        )

    @property
    def function(self) -> lambda_.Function:
        """The function that retires."""
        return self._retirer.function

    @property
    def queue(self) -> sqs.IQueue:
        """The waiting connects."""
        return self._queue

    @property
    def dead_letters(self) -> sqs.IQueue:
        """Connects whose old certificates could not be retired, kept for 14 days."""
        return self._dead_letters

    def metric_dead_letters(self, *, period: Duration | None = None) -> cloudwatch.Metric:
        """Connects that failed at every try.

        The old certificates stay valid until the device's next connect or their end.
        """
        return self._dead_letters.metric_approximate_number_of_messages_visible(period=period, statistic="Maximum")


_BATCH_SIZE: Final = 50
_BATCHING_WINDOW: Final = Duration.seconds(2)
# A retirement takes half a second, so five at a time stay within UpdateCertificate's default quota of ten a second.
_WORKERS: Final = 5
_TIMEOUT: Final = Duration.minutes(1)
# Lambda's documentation asks for six times the function's timeout.
_VISIBILITY: Final = Duration.minutes(6)
# The tries outlast an outage of AWS IoT Core of an hour.
_MOST_RECEIVES: Final = 10
_KEPT_FOR: Final = Duration.days(4)
_DEAD_LETTERS_KEPT_FOR: Final = Duration.days(14)
