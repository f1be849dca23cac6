"""Corrects ministack 1.5.33, in which a topic rule sends to SQS without its role's permission."""

from __future__ import annotations

import json
from typing import Any

_RULES_ENGINE = "iot.amazonaws.com"
_SEND = "sqs:SendMessage"


def correct_rules() -> None:
    """Make a topic rule's SQS action run as its role, which must trust AWS IoT Core and be allowed to send.

    ministack sends as the account's root. A queue whose policy admits only the rule's role then refuses the rule.
    """
    from ministack.core import iam_evaluator
    from ministack.services import iot

    dispatch = iot._dispatch_rule_sqs  # noqa: SLF001 -- there is no setting for it

    def dispatch_as_role(account_id: str, region: str, rule_name: str, spec: Any, event: Any) -> None:
        role_arn = str(spec.get("roleArn") or "")
        refusal = _refusal(account_id, region, role_arn, queue_url=str(spec.get("queueUrl") or ""))
        if refusal is not None:
            raise RuntimeError(f"IoT rule {rule_name}: {refusal}")
        caller = iam_evaluator._request_caller_arn.set(role_arn)  # noqa: SLF001
        # AWS IoT Core sends over TLS, so a queue that accepts only TLS accepts the message.
        origin = iam_evaluator._request_origin.set((_RULES_ENGINE, True))  # noqa: SLF001
        try:
            dispatch(account_id, region, rule_name, spec, event)
        finally:
            iam_evaluator._request_origin.reset(origin)  # noqa: SLF001
            iam_evaluator._request_caller_arn.reset(caller)  # noqa: SLF001

    iot._dispatch_rule_sqs = dispatch_as_role  # noqa: SLF001


def _refusal(account_id: str, region: str, role_arn: str, *, queue_url: str) -> str | None:
    """Why the role must not send to the queue, or None."""
    from ministack.core import iam_evaluator
    from ministack.services import iam

    name = role_arn.rsplit("/", 1)[-1]
    role = iam._roles.get_scoped(account_id, None, name)  # noqa: SLF001
    if role is None or role["Arn"] != role_arn:
        return f"there is no role {role_arn!r}"
    if not trusts(role["AssumeRolePolicyDocument"], _RULES_ENGINE):
        return f"the role {name} does not trust {_RULES_ENGINE}"
    queue_arn = f"arn:aws:sqs:{region}:{account_id}:{queue_url.rsplit('/', 1)[-1]}"
    context = iam_evaluator.EvalContext(
        principal_arn=role_arn,
        principal_type="AssumedRole",
        principal_account=account_id,
        action=_SEND,
        resource_arn=queue_arn,
        region=region,
    )
    policies = iam_evaluator._gather_role_policies(name, account_id)  # noqa: SLF001
    if iam_evaluator.evaluate(context, policies).decision != "Allow":
        return f"the role {name} is not allowed {_SEND} on {queue_arn}"
    return None


def trusts(document: Any, service: str) -> bool:
    """Whether a role's trust policy names a service."""
    parsed = json.loads(document) if isinstance(document, str) else document
    statements = parsed.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        principal = statement.get("Principal", {})
        named = principal.get("Service", []) if isinstance(principal, dict) else []
        if statement.get("Effect") == "Allow" and service in ([named] if isinstance(named, str) else named):
            return True
    return False
