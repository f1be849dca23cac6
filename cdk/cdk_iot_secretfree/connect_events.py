"""Sends AWS IoT Core's connect events to the queues of a stack's product lines. All lines share one rule."""

from collections.abc import Sequence
from typing import Final

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_iot as iot
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from cdk_iot_secretfree.acknowledgments import INLINE_POLICY, acknowledge
from cdk_iot_secretfree.inline_rights import InlineRights
from cdk_iot_secretfree.queues import deny_other_senders


class ConnectEvents(Construct):
    """The stack's rule on the connects of clients with a certificate, and its role.

    AWS IoT Core reports the connects of all clients of the account and Region, so each product line gets the same
    events. A rule has ten actions at most: the eleventh line of a stack gets a second rule.
    """

    def __init__(self, scope: Construct, id: str) -> None:  # noqa: A002 - the name that every construct has
        super().__init__(scope, id)
        self._rules: list[iot.CfnTopicRule] = []
        self._actions: list[iot.CfnTopicRule.ActionProperty] = []
        stack = Stack.of(self)
        self._rights = InlineRights(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal(
                "iot.amazonaws.com",
                conditions={
                    "StringEquals": {"aws:SourceAccount": stack.account},
                    "ArnLike": {"aws:SourceArn": stack.format_arn(service="iot", resource="rule", resource_name="*")},
                },
            ),
        )
        acknowledge(self._rights.role, INLINE_POLICY)

    @staticmethod
    def of(scope: Construct) -> "ConnectEvents":
        """The stack's instance, made at the first call."""
        stack = Stack.of(scope)
        existing = stack.node.try_find_child(_SINGLETON)
        return existing if isinstance(existing, ConnectEvents) else ConnectEvents(stack, _SINGLETON)

    def send_to(self, queue: sqs.Queue) -> None:
        """Send the connects to one more queue, which accepts messages only from the rule."""
        self._rights.add_to_policy(iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[queue.queue_arn]))
        deny_other_senders(queue, self._rights.role)
        action = iot.CfnTopicRule.ActionProperty(
            sqs=iot.CfnTopicRule.SqsActionProperty(
                queue_url=queue.queue_url, role_arn=self._rights.role.role_arn, use_base64=False
            )
        )
        self._actions.append(action)
        number, place = divmod(len(self._actions) - 1, _MOST_ACTIONS)
        if place == 0:
            self._rules.append(self._make_rule(number + 1))
        self._rules[number].topic_rule_payload = _payload(self._actions[number * _MOST_ACTIONS :])

    def _make_rule(self, number: int) -> iot.CfnTopicRule:
        rule = iot.CfnTopicRule(self, f"Rule{number}", topic_rule_payload=_payload([]))
        # AWS IoT Core accepts a rule whose role cannot send yet, and would then lose the first events.
        rule.node.add_dependency(self._rights.role)
        return rule


def _payload(actions: Sequence[iot.CfnTopicRule.ActionProperty]) -> iot.CfnTopicRule.TopicRulePayloadProperty:
    return iot.CfnTopicRule.TopicRulePayloadProperty(
        description="Connects of devices, to retire their old certificates",
        aws_iot_sql_version="2016-03-23",
        sql=_SQL,
        actions=list(actions),
    )


# The principal of a client with a certificate is the certificate's id; other credentials have other principals.
_SQL: Final = (
    "SELECT clientId, principalIdentifier FROM '$aws/events/presence/connected/+' "
    "WHERE eventType = 'connected' AND regexp_matches(principalIdentifier, '^[0-9a-f]{64}$')"
)
_SINGLETON: Final = "SecretFreeConnects"
# AWS IoT Core's quota.
_MOST_ACTIONS: Final = 10
