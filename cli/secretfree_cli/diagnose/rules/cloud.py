"""Rules on the cloud: the CA, the tables, the quotas."""

from __future__ import annotations

from collections.abc import Iterator

from secretfree.contract import IssuerKind
from secretfree.errors import Reason

from secretfree_cli.diagnose.evidence import UNFINISHED, Evidence, TableHealth
from secretfree_cli.diagnose.finding import Cause, Concern, Finding, Rank, Stage
from secretfree_cli.diagnose.rules import rule
from secretfree_cli.plan.quotas import default_quotas

_TABLE_REASONS = frozenset({Reason.REGISTRY_UNAVAILABLE, Reason.LEDGER_UNAVAILABLE})


@rule
def authority_state(evidence: Evidence) -> Iterator[Finding]:
    """The Private CA does not sign."""
    authority = evidence.authority
    if authority is None or authority.status == "ACTIVE":
        return
    action = {
        "DISABLED": "Enable it: `aws acm-pca update-certificate-authority --status ACTIVE`.",
        "DELETED": "Restore it while that is possible: `aws acm-pca restore-certificate-authority`, then enable it.",
        "EXPIRED": "Its own certificate has expired. Renew the CA certificate, or change to another CA.",
        "PENDING_CERTIFICATE": "Install its certificate: sign its CSR at the parent and import the result.",
    }.get(authority.status, "Check the CA in the AWS console.")
    yield Finding(
        cause=Cause.CA_NOT_ACTIVE,
        stage=Stage.ISSUANCE,
        rank=_rank(evidence, private_ca=True),
        summary=f"The Private CA is {authority.status}, so it signs nothing.",
        action=f"{action} ({authority.arn})",
        concern=Concern.ACCOUNT,
        since=authority.changed_at,
    )


@rule
def authority_age(evidence: Evidence) -> Iterator[Finding]:
    """The Private CA ends before a certificate that is issued now."""
    authority, validity = evidence.authority, evidence.validity
    if authority is None or authority.not_after is None or validity is None or authority.status != "ACTIVE":
        return
    if authority.not_after >= evidence.now + validity:
        return
    yield Finding(
        cause=Cause.CA_TOO_OLD,
        stage=Stage.ISSUANCE,
        rank=_rank(evidence, private_ca=True),
        summary=(
            f"The Private CA ends on {authority.not_after:%Y-%m-%d}, too early for certificates of "
            f"{validity.days} days, so it refuses to sign them."
        ),
        action="Renew the CA certificate, or issue with a shorter validity until the CA is replaced.",
        concern=Concern.ACCOUNT,
        since=authority.not_after - validity,
    )


@rule
def tables(evidence: Evidence) -> Iterator[Finding]:
    """A table is not usable, or DynamoDB throttles it."""
    for table in evidence.tables:
        if table.status not in {"ACTIVE", "UPDATING"}:
            yield Finding(
                cause=Cause.TABLE_NOT_ACTIVE,
                stage=Stage.AUTHORIZATION,
                rank=_rank(evidence),
                summary=f"The table {table.name} is {table.status}, so that no request can be decided.",
                action="Restore the table, or its encryption key if that is disabled.",
                concern=Concern.ACCOUNT,
            )
    last = evidence.last_outcome
    named = last is not None and last.reason in _TABLE_REASONS and _is_throttle(last.fields.get("detail", ""))
    throttled = [table for table in evidence.tables if table.throttled]
    if named or throttled:
        yield _throttled(evidence, throttled)


@rule
def quota(evidence: Evidence) -> Iterator[Finding]:
    """AWS throttles a call that issuing needs."""
    last = evidence.last_outcome
    if last is None or last.event not in UNFINISHED or last.reason is not Reason.THROTTLED:
        return
    call = last.fields.get("call") or last.fields.get("detail", "").partition(":")[0]
    limit = default_quotas().quotas.get(call)
    which = (
        f"The quota of {limit.service} {limit.name} ({limit.rate:g} a second by default) is used up"
        if limit is not None and limit.rate is not None
        else f"A quota of {call or 'IoT Core or Private CA'} is used up"
    )
    yield Finding(
        cause=Cause.QUOTA_USED_UP,
        stage=Stage.ISSUANCE,
        rank=_rank(evidence),
        summary=f"{which}, so {evidence.device_id or 'the device'} gets 202 and must post again.",
        action="Ask for a higher quota in Service Quotas, or spread the fleet: `secretfree plan`.",
        concern=Concern.ACCOUNT,
        since=last.at,
    )


def _throttled(evidence: Evidence, throttled: list[TableHealth]) -> Finding:
    names = ", ".join(table.name for table in throttled) or "registry or ledger"
    since = min((table.throttled_since for table in throttled if table.throttled_since), default=None)
    last = evidence.last_outcome
    return Finding(
        cause=Cause.TABLE_THROTTLED,
        stage=Stage.AUTHORIZATION,
        rank=_rank(evidence),
        summary=f"DynamoDB throttles requests to the table {names}.",
        action="Raise the table's capacity or its on-demand limit, or look for the program that reads it so much.",
        concern=Concern.ACCOUNT,
        since=since or (last.at if last is not None else None),
    )


def _is_throttle(detail: str) -> bool:
    return any(word in detail for word in ("Throttl", "Throughput", "RequestLimit", "SlowDown"))


def _rank(evidence: Evidence, *, private_ca: bool = False) -> Rank:
    """Return the rank of a cause in the cloud: it stops only a device that waits at that issuer."""
    waiting = evidence.waiting_issuers
    concerned = not private_ca or any(issuer != IssuerKind.IOT_CORE for issuer in waiting)
    return Rank.CLOUD if waiting and concerned else Rank.REMARK
