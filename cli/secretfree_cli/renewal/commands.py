"""The command `secretfree renew`."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import click
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.clock import SystemClock
from secretfree.contract import LedgerRecord
from secretfree.issuance.record import Issuance

from secretfree_cli.command_line import command, keep_partial_result
from secretfree_cli.devices.chosen import all_ids, ids_option
from secretfree_cli.importing.options import device_id_of
from secretfree_cli.importing.run import caller_arn
from secretfree_cli.output import CliError, ExitCode, emit_fields, emit_json, json_option, note, rfc3339
from secretfree_cli.renewal.jobs import IotJobs
from secretfree_cli.renewal.rollout import JOB_NAME_FORM, Rollout, RolloutAbortedError, RolloutOutcome
from secretfree_cli.renewal.selection import Chosen, device_ids, records
from secretfree_cli.target import Target, target_options

_AUTHORITY: Final = re.compile(r"arn:[a-z-]+:acm-pca:[a-z0-9-]+:[0-9]{12}:certificate-authority/[0-9a-f-]{36}")
_SHOWN: Final = 20
_MOST_RATE: Final = 6000


@command("renew")
@click.argument("device_ids", nargs=-1, metavar="DEVICE_ID...")
@ids_option
@click.option("--batch", metavar="ID", help="The devices of this batch.")
@click.option("--authority", metavar="ARN", help="Only certificates that this CA signed. Alone: reads the ledger.")
@click.option("--issuer", metavar="NAME", help="Only certificates of this issuer. Alone: reads the ledger.")
@click.option("--reason", required=True, metavar="TEXT", help="The reason. Stored in the ledger and the jobs.")
@click.option("--rate", type=click.IntRange(1, _MOST_RATE), default=100, show_default=True, help="Devices a minute.")
@click.option("--name", metavar="TEXT", help="Name of the rollout.  [default: secretfree-renew-DATE]")
@json_option
@target_options
def renew(
    *,
    target: Target,
    device_ids: tuple[str, ...],
    ids_file: TextIO | None,
    batch: str | None,
    authority: str | None,
    issuer: str | None,
    reason: str,
    rate: int,
    name: str | None,
    as_json: bool,
) -> None:
    """Ask devices to renew their certificates now, by AWS IoT Jobs.

    The current certificate stays valid until the device connects with the new one. A device that misses the job renews
    at its next request. After an interruption, the same --name continues.

    Exit code 3 if some devices were not asked, 4 if none has an active certificate.
    """
    if authority is not None and _AUTHORITY.fullmatch(authority) is None:
        raise click.BadParameter(f"{authority!a}; accepted: the ARN of a Private CA", param_hint="--authority")
    ids = _named(target, device_ids, ids_file, others=bool(batch or authority or issuer), batch=batch)
    chosen = Chosen(device_ids=ids, batch=batch, authority=authority, issuer=issuer)
    if not reason.strip():
        raise click.UsageError("--reason is empty; the reason is stored in the ledger")
    name = name or f"secretfree-renew-{datetime.now(UTC):%Y%m%d}"
    if re.fullmatch(JOB_NAME_FORM, name) is None:
        raise click.BadParameter(f"{name!a}; accepted: 1 to 40 of a-z A-Z 0-9 _ -", param_hint="--name")
    if target.ledger_table is None:
        raise CliError("a table alone has no ledger", hint="name the stack with --stack", exit_code=ExitCode.USAGE)
    rollout = _rollout(target, chosen, name=name, reason=reason, rate=rate)
    _run(rollout, _devices(target, chosen), name=name, as_json=as_json)


def _run(rollout: Rollout, devices: list[str], *, name: str, as_json: bool) -> None:
    outcomes: dict[str, RolloutOutcome] = {}
    jobs: list[str] = []
    try:
        for asked in rollout.ask(devices):
            outcomes |= asked.outcomes
            jobs += [] if asked.job_id is None else [asked.job_id]
            if len(devices) > len(outcomes):
                note(f"{len(outcomes)} of {len(devices)} devices; the next ones follow at {rollout.rate} a minute")
    except RolloutAbortedError as aborted:
        if as_json:
            keep_partial_result(_document(name, jobs, outcomes))
        raise CliError(
            f"the job {aborted.job_id} was cancelled: too many devices failed it",
            hint=f"find the cause, then run the command again with --name {name}-2",
            exit_code=ExitCode.PARTLY_REFUSED,
        ) from aborted
    except BaseException:
        note(f"interrupted after {len(outcomes)} of {len(devices)} devices; --name {name} continues")
        raise
    if as_json:
        emit_json(_document(name, jobs, outcomes))
    else:
        _show(name, jobs, outcomes)
    sys.exit(_exit_code(outcomes))


def _named(
    target: Target, given: tuple[str, ...], ids_file: TextIO | None, *, others: bool, batch: str | None
) -> Sequence[str]:
    """Return the ids of the command line and of `--from`; without any, another selection is required."""
    if given or ids_file is not None:
        if batch is not None:
            raise click.UsageError("DEVICE_ID excludes --batch")
        return [device_id_of(target, one) for one in all_ids(given, ids_file)]
    if not others:
        raise click.UsageError("pass DEVICE_ID, --from, --batch, --authority or --issuer")
    return []


def _devices(target: Target, chosen: Chosen) -> list[str]:
    found = list(device_ids(target, chosen))
    if not found:
        raise CliError("no device has such a certificate", exit_code=ExitCode.NOT_FOUND)
    return found


def _rollout(target: Target, chosen: Chosen, *, name: str, reason: str, rate: int) -> Rollout:
    client: Any = target.client("dynamodb")
    table = target.ledger_table or ""
    ledger = DynamoDbLedger(client, table=table)
    by = caller_arn(target)
    iot: Any = target.client("iot")
    _, partition, _, _, account, _ = by.split(":", 5)

    def account_for(record: Issuance, job_id: str) -> None:
        client.put_item(
            TableName=table,
            Item={
                "device-id": {"S": record.device_id},
                "record": {"S": f"{LedgerRecord.RENEWAL}{record.issuer}"},
                "reason": {"S": reason},
                "by": {"S": by},
                "at": {"S": rfc3339(datetime.now(UTC)) or ""},
                "job": {"S": job_id},
            },
        )

    return Rollout(
        name=name,
        rate=rate,
        records=records(ledger, chosen),
        ledger=ledger,
        jobs=IotJobs(
            iot,
            thing_arn=f"arn:{partition}:iot:{iot.meta.region_name}:{account}:thing/",
            description=f"Renew certificates: {reason}"[:2000],
        ),
        account=account_for,
        clock=SystemClock(),
    )


def _document(name: str, jobs: list[str], outcomes: dict[str, RolloutOutcome]) -> dict[str, object]:
    return {"name": name, "jobs": jobs, "devices": {device: outcome.value for device, outcome in outcomes.items()}}


def _show(name: str, jobs: list[str], outcomes: dict[str, RolloutOutcome]) -> None:
    counted = Counter(outcomes.values())
    emit_fields(
        {outcome.value: counted[outcome] or None for outcome in RolloutOutcome} | {"jobs": len(jobs), "name": name}
    )
    others = [one for one in outcomes if outcomes[one] not in {RolloutOutcome.ASKED, RolloutOutcome.ALREADY_ASKED}]
    for device in others[:_SHOWN]:
        note(f"{device}: {outcomes[device].value}")
    if jobs:
        note(f"aws iot describe-job --job-id {jobs[0]} shows how far the devices are")


def _exit_code(outcomes: dict[str, RolloutOutcome]) -> ExitCode:
    asked = sum(outcome in {RolloutOutcome.ASKED, RolloutOutcome.ALREADY_ASKED} for outcome in outcomes.values())
    if asked == len(outcomes):
        return ExitCode.OK
    return ExitCode.PARTLY_REFUSED if asked else ExitCode.NOT_FOUND
