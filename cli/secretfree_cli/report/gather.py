"""Reads the figures: the whole registry and ledger, refusals from CloudWatch, and the CA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from secretfree.adapters.dynamodb.dates import date_of
from secretfree.contract import METRIC_NAMESPACE, Dimension, LedgerAttribute, Metric, RegistryAttribute

from secretfree_cli.diagnose.collectors import authority
from secretfree_cli.diagnose.collectors.reading import Reading
from secretfree_cli.report.facts import STUCK_AFTER, AuthorityLine, DenialSeries, Facts, StuckDevice, class_of
from secretfree_cli.target import Target

_ISSUANCE: Final = "issuance#"
_KEY_ITEM: Final = "key#"
_UNFINISHED: Final = frozenset({"requesting", "requested", "issued"})
_LEDGER_NAMES: Final = {
    "#device": LedgerAttribute.DEVICE_ID.value,
    "#record": LedgerAttribute.RECORD.value,
    "#state": "state",
    "#end": "not-after",
    "#begun": "begun-at",
    "#attempts": "attempts",
}
_REGISTRY_NAMES: Final = {
    "#device": RegistryAttribute.DEVICE_ID.value,
    "#status": RegistryAttribute.STATUS.value,
    "#batch": RegistryAttribute.BATCH.value,
}


def gather(target: Target, *, now: datetime, days: int) -> Facts:
    """Read everything. Both tables are read completely; only the ids of devices are kept in memory."""
    reading = Reading()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    facts = Facts(
        title=target.product or target.stack_name or target.registry_table,
        made_at=now,
        days=[midnight - timedelta(days=back) for back in range(days - 1, -1, -1)],
    )
    provisioned = _read_ledger(target, facts, now) if target.ledger_table is not None else frozenset()
    for item in _scan(target, target.registry_table, _REGISTRY_NAMES):
        device_id = item[RegistryAttribute.DEVICE_ID].get("S", "")
        # A key's own item names its holder, and is not a device.
        if not device_id.startswith(_KEY_ITEM):
            facts.add_device(
                item.get(RegistryAttribute.BATCH, {}).get("S"),
                blocked=item.get(RegistryAttribute.STATUS, {}).get("S") == "blocked",
                provisioned=device_id in provisioned,
            )
    facts.denials = reading.attempt("the metrics", lambda: _denials(target, facts.days, now)) or ()
    ca = authority.read(target, reading)
    facts.authorities = [] if ca is None else [AuthorityLine(arn=ca.arn, status=ca.status, not_after=ca.not_after)]
    facts.gaps = reading.gaps
    return facts


def _read_ledger(target: Target, facts: Facts, now: datetime) -> frozenset[str]:
    """Count the issuances; return the ids of the devices with a current certificate."""
    asked: set[str] = set()
    provisioned: set[str] = set()
    for item in _scan(target, str(target.ledger_table), _LEDGER_NAMES):
        record = item[LedgerAttribute.RECORD]["S"]
        if not record.startswith(_ISSUANCE):
            continue
        device_id = item[LedgerAttribute.DEVICE_ID]["S"]
        asked.add(device_id)
        state = item.get("state", {}).get("S", "")
        if state == "active" and "not-after" in item:
            not_after = date_of(item, "not-after")
            facts.ends[class_of(not_after, now)] += 1
            if not_after > now:
                provisioned.add(device_id)
        elif state in _UNFINISHED and "begun-at" in item:
            since = date_of(item, "begun-at")
            if now - since > STUCK_AFTER:
                facts.add_stuck(
                    StuckDevice(
                        device_id=device_id,
                        issuer=record.removeprefix(_ISSUANCE),
                        state=state,
                        attempts=int(item.get("attempts", {}).get("N", "1")),
                        since=since,
                    )
                )
    facts.asked = len(asked)
    return frozenset(provisioned)


def _scan(target: Target, table: str, names: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
    pages = (
        target.client("dynamodb")
        .get_paginator("scan")
        .paginate(TableName=table, ProjectionExpression=", ".join(names), ExpressionAttributeNames=dict(names))
    )
    for page in pages:
        yield from page["Items"]


def _denials(target: Target, days: Sequence[datetime], now: datetime) -> Sequence[DenialSeries]:
    """Refused requests by reason and day, for the reasons that have a metric in CloudWatch."""
    client = target.client("cloudwatch")
    product = {"Name": Dimension.PRODUCT.value, "Value": target.product or ""}
    reasons = {
        dimension["Value"]
        for page in client.get_paginator("list_metrics").paginate(
            Namespace=METRIC_NAMESPACE, MetricName=Metric.DENIED.value, Dimensions=[product]
        )
        for metric in page["Metrics"]
        for dimension in metric["Dimensions"]
        if dimension["Name"] == Dimension.REASON
    }
    series = [
        DenialSeries(reason=reason, by_day=_by_day(client, product, reason, days, now)) for reason in sorted(reasons)
    ]
    return sorted((one for one in series if one.total), key=lambda one: -one.total)


def _by_day(
    client: Any, product: Mapping[str, str], reason: str, days: Sequence[datetime], now: datetime
) -> Mapping[datetime, int]:
    answer = client.get_metric_statistics(
        Namespace=METRIC_NAMESPACE,
        MetricName=Metric.DENIED.value,
        Dimensions=[product, {"Name": Dimension.REASON.value, "Value": reason}],
        StartTime=days[0],
        EndTime=now,
        Period=3600,
        Statistics=["Sum"],
    )
    counts = dict.fromkeys(days, 0)
    for point in answer["Datapoints"]:
        day = max((one for one in days if one <= point["Timestamp"]), default=days[0])
        counts[day] += int(point["Sum"])
    return counts
