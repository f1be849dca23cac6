"""When a certificate is issued: in the request itself, or from a queue at a pace within the quotas."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct
from secretfree.contract import Variable

from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.function_options import FunctionKind, FunctionOptions
from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.issuers.issuer import Issuer
from cdk_iot_secretfree.ledger import IIssuanceLedger
from cdk_iot_secretfree.queues import deny_other_senders, make_queue
from cdk_iot_secretfree.things import grant_certificate_look_up
from cdk_iot_secretfree.validation import require_range, require_seconds


@dataclass(frozen=True, kw_only=True)
class IssuingLine:
    """What the functions of one issuer need from their product line.

    `environment` is the environment of an issuing function, and `grant` gives a function the rights to issue.
    `issuers` is the number of issuers that share the quotas.
    """

    product: str
    issuer: Issuer
    issuers: int
    environment: Mapping[Variable, str]
    ledger: IIssuanceLedger
    grant: Callable[[RuntimeFunction], None]
    functions: FunctionOptions
    removal_policy: RemovalPolicy


@dataclass(frozen=True, kw_only=True)
class IssuingFunctions:
    """The functions of one issuer: the one behind the API and, in queue mode, the queue behind it."""

    answering: RuntimeFunction
    queue: "IssuanceQueue | None" = None


@checks_arguments
class IssuanceMode(ABC):
    """When a certificate is issued."""

    @staticmethod
    def direct() -> "IssuanceMode":
        """Issue in the request itself. Most devices get their certificate with the first answer. The default."""
        return _Direct()

    @staticmethod
    def queued(
        *, rate: int = 10, max_concurrency: int | None = None, retention: Duration | None = None
    ) -> "IssuanceMode":
        """Issue from a queue, at a fixed pace, for launches. The device gets 202 with Retry-After and collects later.

        Args:
            rate: new certificates a second of the whole product line, 1 to 1,000, in equal shares of its issuers. Keep
                it at or below the account's quotas for `RegisterCertificate` and `UpdateCertificate` (10 by default).
            max_concurrency: workers of each issuer, 2 (the least that SQS takes) to 1,000, and at most three times
                `rate`; by default enough for issuances of a second and a half. Together they keep to `rate`.
            retention: how long a request may wait, 1 hour to 14 days; 4 days by default. A device that posts
                after that queues anew.

        Raises:
            InvalidArgumentError: naming the argument, what was given and what is accepted.
        """
        require_range("rate", rate, 1, 1_000, "certificates a second")
        least = max(_LEAST_CONCURRENCY, min(_MOST_CONCURRENCY, ceil(rate * _SECONDS_AN_ISSUANCE)))
        workers = least if max_concurrency is None else max_concurrency
        most = min(_MOST_CONCURRENCY, max(_LEAST_CONCURRENCY, rate * _LONGEST_PAUSE))
        require_range("max_concurrency", workers, _LEAST_CONCURRENCY, most, "workers")
        kept = retention or Duration.days(4)
        require_seconds("retention", kept, _LEAST_RETENTION, _MOST_RETENTION, "1 hour to 14 days")
        return _Queued(rate=rate, max_concurrency=workers, retention=kept)

    @abstractmethod
    def bind(self, scope: Construct, line: IssuingLine) -> IssuingFunctions:
        """Make the functions of one issuer."""


@checks_arguments
class IssuanceQueue(Construct):
    """The queue of one issuer, its dead letters and its worker.

    The worker's role has the rights of a direct issuer, and takes messages. Only the front's role may send them. A
    message that failed again and again stays in the dead letters for fourteen days, for inspection. Do not send it
    again: the device queues anew at its next request.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        line: IssuingLine,
        rate: int,
        max_concurrency: int,
        retention: Duration,
    ) -> None:
        super().__init__(scope, id)
        self._dead_letters = make_queue(
            self, "DeadLetters", line.removal_policy, retention_period=_DEAD_LETTERS_KEPT_FOR
        )
        self._queue = make_queue(
            self,
            "Resource",
            line.removal_policy,
            retention_period=retention,
            visibility_timeout=_VISIBILITY,
            dead_letter_queue=sqs.DeadLetterQueue(queue=self._dead_letters, max_receive_count=_MOST_RECEIVES),
        )
        interval = Duration.millis(ceil(1000 * max_concurrency * line.issuers / rate))
        self._worker = RuntimeFunction(
            self,
            "Worker",
            kind=FunctionKind.QUEUE_WORKER,
            handler="secretfree.handlers.queue_worker.handler",
            description=f"Issues queued certificates to devices of {line.product}: {line.issuer.name}",
            environment={
                **line.environment,
                Variable.QUEUE_URL: self._queue.queue_url,
                Variable.QUEUE_MOST_RECEIVES: str(_MOST_RECEIVES),
                Variable.ISSUANCE_INTERVAL_MILLISECONDS: str(int(interval.to_milliseconds())),
            },
            options=line.functions,
            timeout=_WORKER_TIMEOUT,
            removal_policy=line.removal_policy,
        )
        line.grant(self._worker)
        self._worker.allow(
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"],
            [self._queue.queue_arn],
        )
        lambda_.EventSourceMapping(
            self,
            "Feed",
            target=self._worker.function,
            event_source_arn=self._queue.queue_arn,
            # With one message at a time, a killed worker costs one device one try, and the pace holds between any two.
            batch_size=1,
            max_concurrency=max_concurrency,
            report_batch_item_failures=True,
        )

    @property
    def queue(self) -> sqs.Queue:
        """The queue."""
        return self._queue

    @property
    def dead_letters(self) -> sqs.Queue:
        """The queue of requests that failed again and again."""
        return self._dead_letters

    @property
    def worker_function(self) -> lambda_.Function:
        """The function that issues."""
        return self._worker.function

    def accept_only_from(self, front: RuntimeFunction) -> None:
        """Let the front function send, and no other principal of the account."""
        front.allow(["sqs:SendMessage"], [self._queue.queue_arn])
        deny_other_senders(self._queue, front.role)

    def metric_waiting(self, *, period: Duration | None = None) -> cloudwatch.Metric:
        """Number of waiting requests."""
        return self._queue.metric_approximate_number_of_messages_visible(period=period, statistic="Maximum")

    def metric_oldest_age(self, *, period: Duration | None = None) -> cloudwatch.Metric:
        """Seconds that the oldest request has waited. Near `retention`, requests are forgotten."""
        return self._queue.metric_approximate_age_of_oldest_message(period=period, statistic="Maximum")

    def metric_dead_letters(self, *, period: Duration | None = None) -> cloudwatch.Metric:
        """Number of requests that failed again and again. Alarm on any."""
        return self._dead_letters.metric_approximate_number_of_messages_visible(period=period, statistic="Maximum")


@dataclass(frozen=True)
class _Direct(IssuanceMode):
    def bind(self, scope: Construct, line: IssuingLine) -> IssuingFunctions:
        function = RuntimeFunction(
            scope,
            line.issuer.construct_id,
            kind=FunctionKind.ISSUER,
            handler="secretfree.handlers.issuer.handler",
            description=f"Issues certificates to devices of {line.product}: {line.issuer.name}",
            environment=line.environment,
            options=line.functions,
            timeout=_API_TIMEOUT,
            removal_policy=line.removal_policy,
        )
        line.grant(function)
        return IssuingFunctions(answering=function)


@dataclass(frozen=True)
class _Queued(IssuanceMode):
    rate: int
    max_concurrency: int
    retention: Duration

    def bind(self, scope: Construct, line: IssuingLine) -> IssuingFunctions:
        queue = IssuanceQueue(
            scope,
            f"{line.issuer.construct_id}Queue",
            line=line,
            rate=self.rate,
            max_concurrency=self.max_concurrency,
            retention=self.retention,
        )
        front = RuntimeFunction(
            scope,
            line.issuer.construct_id,
            kind=FunctionKind.ISSUER,
            handler="secretfree.handlers.queue_front.handler",
            description=f"Queues requests of devices of {line.product}, and hands out certificates: {line.issuer.name}",
            environment={
                **{name: line.environment[name] for name in _FRONT_ENVIRONMENT},
                Variable.TRUSTED_AUTHORITIES: Stack.of(scope).to_json_string(
                    [authority.arn for authority in line.issuer.authorities]
                ),
                Variable.QUEUE_URL: queue.queue.queue_url,
                Variable.QUEUE_RETENTION_SECONDS: str(int(self.retention.to_seconds())),
            },
            options=line.functions,
            timeout=_API_TIMEOUT,
            removal_policy=line.removal_policy,
        )
        line.ledger.grant_queue(front.role)
        grant_certificate_look_up(front)
        queue.accept_only_from(front)
        return IssuingFunctions(answering=front, queue=queue)


_FRONT_ENVIRONMENT: Final = (
    Variable.PRODUCT,
    Variable.DEVICE_PROFILE,
    Variable.ISSUER,
    Variable.LEDGER_TABLE,
    Variable.IOT_ENDPOINT,
    Variable.RENEWAL_WINDOW_HOURS,
)
# API Gateway waits as long for the integration. A longer run could not answer.
_API_TIMEOUT: Final = Duration.seconds(29)
# One pause and one issuance. Less than the ledger's lease (45 s).
_WORKER_TIMEOUT: Final = Duration.seconds(40)
# Lambda's documentation asks for six times the function's timeout.
_VISIBILITY: Final = Duration.seconds(240)
_MOST_RECEIVES: Final = 20
_DEAD_LETTERS_KEPT_FOR: Final = Duration.days(14)
_LEAST_CONCURRENCY: Final = 2
_MOST_CONCURRENCY: Final = 1_000
_LEAST_RETENTION: Final = 3_600
_MOST_RETENTION: Final = 14 * 86_400
_SECONDS_AN_ISSUANCE: Final = 1.5
# Most seconds that a worker sleeps between two issuances, with one issuer. With two issuers it is twice that.
_LONGEST_PAUSE: Final = 3
