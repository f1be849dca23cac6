"""The common part of the queues: encryption, TLS, and one principal that may send."""

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from constructs import Construct


def make_queue(
    scope: Construct,
    id: str,  # noqa: A002 - the name that every construct has
    removal_policy: RemovalPolicy,
    *,
    retention_period: Duration,
    visibility_timeout: Duration | None = None,
    dead_letter_queue: sqs.DeadLetterQueue | None = None,
) -> sqs.Queue:
    """A queue that SQS encrypts, and that accepts messages only over TLS."""
    return sqs.Queue(
        scope,
        id,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        retention_period=retention_period,
        visibility_timeout=visibility_timeout,
        dead_letter_queue=dead_letter_queue,
        removal_policy=removal_policy,
    )


def deny_other_senders(queue: sqs.Queue, sender: iam.Role) -> None:
    """Deny every principal of the account but `sender` to send. `sender` still needs the right itself."""
    queue.add_to_resource_policy(
        iam.PolicyStatement(
            effect=iam.Effect.DENY,
            principals=[iam.AnyPrincipal()],
            actions=["sqs:SendMessage"],
            resources=[queue.queue_arn],
            conditions={"ArnNotEquals": {"aws:PrincipalArn": sender.role_arn}},
        )
    )
