"""Old certificates are retired once a device connects with a newer one: presence events, a queue, and a function."""

from typing import Final

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_iot as iot
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct
from secretfree.contract import Variable

from cdk_iot_secretfree.acknowledgments import INLINE_POLICY, acknowledge
from cdk_iot_secretfree.function_options import FunctionKind
from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.product_line import ProductLine
from cdk_iot_secretfree.queues import deny_other_senders, make_queue
from cdk_iot_secretfree.things import grant_certificate_look_up, grant_closing


class ConnectRetirement(Construct):
    """The rule on the connects of AWS IoT Core, its queue, and the function that retires.

    AWS IoT Core reports the connects of all clients of the account and Region. The function passes over those that are
    no devices of the product line. A lost event delays a retirement until the device connects again.
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
        self._make_rule(line.product)
        self._retirer = RuntimeFunction(
            self,
            "Retirer",
            kind=FunctionKind.RETIRER,
            handler="secretfree.handlers.retirer.handler",
            description=f"Retires the old certificates of devices of {line.product} that connect with a new one",
            environment={
                **line.environment,
                Variable.POLICY_NAME: line.device_policy.policy_name,
                Variable.THING_TYPE: line.thing_type_name,
                Variable.LEDGER_TABLE: line.ledger.table_name,
            },
            options=line.functions,
            timeout=_TIMEOUT,
            removal_policy=removal_policy,
        )
        line.ledger.grant_retire(self._retirer.role)
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
        """The connects that wait."""
        return self._queue

    @property
    def dead_letters(self) -> sqs.IQueue:
        """Connects whose old certificates could not be retired, for 14 days."""
        return self._dead_letters

    def metric_dead_letters(self, *, period: Duration | None = None) -> cloudwatch.Metric:
        """Connects that were given up: their devices' old certificates stay until the next connect, or their end."""
        return self._dead_letters.metric_approximate_number_of_messages_visible(period=period, statistic="Maximum")

    def _make_rule(self, product: str) -> None:
        stack = Stack.of(self)
        role = iam.Role(
            self,
            "RuleRole",
            assumed_by=iam.ServicePrincipal(
                "iot.amazonaws.com",
                conditions={
                    "StringEquals": {"aws:SourceAccount": stack.account},
                    "ArnLike": {"aws:SourceArn": stack.format_arn(service="iot", resource="rule", resource_name="*")},
                },
            ),
        )
        role.add_to_policy(iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[self._queue.queue_arn]))
        acknowledge(role, INLINE_POLICY)
        deny_other_senders(self._queue, role)
        rule = iot.CfnTopicRule(
            self,
            "Rule",
            topic_rule_payload=iot.CfnTopicRule.TopicRulePayloadProperty(
                description=f"Connects of devices, to retire the old certificates of {product}",
                aws_iot_sql_version="2016-03-23",
                sql=_SQL,
                actions=[
                    iot.CfnTopicRule.ActionProperty(
                        sqs=iot.CfnTopicRule.SqsActionProperty(
                            queue_url=self._queue.queue_url, role_arn=role.role_arn, use_base64=False
                        )
                    )
                ],
            ),
        )
        # AWS IoT Core refuses no rule whose role cannot send yet: the first events would be lost.
        rule.node.add_dependency(role)


# The principal of a client with a certificate is the certificate's id; other credentials have other principals.
_SQL: Final = (
    "SELECT clientId, principalIdentifier FROM '$aws/events/presence/connected/+' "
    "WHERE eventType = 'connected' AND regexp_matches(principalIdentifier, '^[0-9a-f]{64}$')"
)
_BATCH_SIZE: Final = 50
_BATCHING_WINDOW: Final = Duration.seconds(2)
# One retirement takes half a second. Five at a time keep to the default quota of UpdateCertificate, ten a second.
_WORKERS: Final = 5
_TIMEOUT: Final = Duration.minutes(1)
# Lambda's documentation asks for six times the function's timeout.
_VISIBILITY: Final = Duration.minutes(6)
# An outage of AWS IoT Core of an hour is outlasted.
_MOST_RECEIVES: Final = 10
_KEPT_FOR: Final = Duration.days(4)
_DEAD_LETTERS_KEPT_FOR: Final = Duration.days(14)
