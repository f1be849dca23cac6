"""`secretfree reissue`: the next request of a device opens a new generation and gets a new certificate."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import click
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.contract import LedgerRecord
from secretfree.issuance.ports import StaleLedgerError
from secretfree.issuance.states import IssuanceState
from secretfree.request.device_id import DeviceId

from secretfree_cli.command_line import command
from secretfree_cli.devices.ledger_view import LedgerView
from secretfree_cli.importing.options import device_id_of
from secretfree_cli.importing.run import caller_arn
from secretfree_cli.output import CliError, ExitCode, emit_fields, emit_json, json_option, note, rfc3339
from secretfree_cli.target import Target, target_options

_REOPENED: Final = "reopened"
_OPEN: Final = "already-open"


@command("reissue")
@click.argument("device_id")
@click.option("--reason", required=True, metavar="TEXT", help="The reason, which is stored in the ledger.")
@click.option("--issuer", metavar="NAME", help="Only at this issuer.  [default: every issuer of the device]")
@json_option
@target_options
def reissue(*, target: Target, device_id: str, reason: str, issuer: str | None, as_json: bool) -> None:
    """Let a device get a new certificate at its next request, for example after a mistaken revocation.

    An active certificate stays valid until the new one is active. A revoked one is removed. This grants nothing else: a
    blocked device stays blocked.
    """
    if not reason.strip():
        raise click.UsageError("--reason is empty; the reason is stored in the ledger")
    if target.ledger_table is None:
        raise CliError("a table alone has no ledger", hint="name the stack with --stack", exit_code=ExitCode.USAGE)
    name = device_id_of(target, device_id)
    issuances, _ = LedgerView(target).records(name)
    issuers = [one.issuer for one in issuances if issuer in (None, one.issuer)]
    if not issuers:
        at = "" if issuer is None else f" at the issuer {issuer!a}"
        raise CliError(
            f"the ledger has no issuance of device {name}{at}",
            hint="the device can get its first certificate: see `secretfree show`",
            exit_code=ExitCode.NOT_FOUND,
        )
    now, by = datetime.now(UTC), caller_arn(target)
    outcomes = [
        {"issuer": one, "outcome": _reopen(target, name, one, reason=reason, by=by, now=now)} for one in issuers
    ]
    if as_json:
        emit_json({"deviceId": name, "reason": reason, "issuances": outcomes})
        return
    for outcome in outcomes:
        emit_fields({outcome["issuer"]: outcome["outcome"]})
    note("the device gets a new certificate at its next request")


def _reopen(target: Target, device_id: str, issuer: str, *, reason: str, by: str, now: datetime) -> str:
    """Open a new generation; raises CliError while a request of the device is in progress."""
    client: Any = target.client("dynamodb")
    ledger = DynamoDbLedger(client, table=target.ledger_table or "")
    record = ledger.read(DeviceId.parse(device_id), issuer)
    if record is None or record.state is IssuanceState.ABANDONED:
        return _OPEN
    if record.is_leased(now) or record.state not in {IssuanceState.ACTIVE, IssuanceState.REVOKED}:
        raise CliError(
            f"{issuer}: a certificate of device {device_id} is being issued ({record.state.value})",
            hint="wait until it is active, or see `secretfree show`",
        )
    # Write operator and reason first, so that every new generation has them.
    client.put_item(
        TableName=target.ledger_table,
        Item={
            "device-id": {"S": device_id},
            "record": {"S": f"{LedgerRecord.REISSUE}{issuer}"},
            "reason": {"S": reason},
            "by": {"S": by},
            "at": {"S": rfc3339(now) or ""},
            "generation": {"N": str(record.generation)},
        },
    )
    try:
        ledger.write(record.reopened(now))
    except StaleLedgerError as error:
        raise CliError(f"{issuer}: device {device_id} made a request just now", hint="run it again") from error
    return _REOPENED
