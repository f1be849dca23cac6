"""`secretfree retire`: removes a device's certificates, connection, thing and registry entry, and keeps its history.

The calls have this order. Each is safe to repeat, so an interrupted command can be run again:

    1  registry: retired     the entry becomes its id, when and why; from here on the API refuses
    2  ledger: withdrawn     by version, so that a worker that is issuing can no longer write
    3  IoT Core: REVOKED     every certificate in the ledger, then the connection ends
    4  IoT Core: deleted     the certificates, then the thing
    5  ledger: history       each record gets the date of its end

Step 1 changes the registry, so its stream triggers steps 2 and 3 in the service too, and the revocation at Private CA,
even if this process dies.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any, Final, TextIO

import click
from secretfree.adapters.authority_revocation import RevokingAuthorities
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.adapters.dynamodb.registry import DynamoDbRegistry
from secretfree.adapters.iot_connections import IotConnections
from secretfree.adapters.iot_core import IotCertificates, IotCoreThings
from secretfree.clock import Clock, SystemClock
from secretfree.contract import MatchPolicy
from secretfree.errors import SecretFreeError
from secretfree.issuance.ports import StaleLedgerError, StillAttachedError, ThrottledError, UnreachableError
from secretfree.issuance.record import Issuance
from secretfree.registry.device import EnrolledDevice
from secretfree.registry.entry import DeviceStatus
from secretfree.registry.store import ChangedMeanwhile, RegistryStore
from secretfree.request.device_id import DeviceId
from secretfree.revocation.change import RegistryChange
from secretfree.revocation.ports import RevocationPorts
from secretfree.revocation.revoking import revoke_withdrawn

from secretfree_cli.command_line import command
from secretfree_cli.devices.chosen import accepted_ids, all_ids, ids_option, outcomes_shown
from secretfree_cli.durations import span
from secretfree_cli.importing.options import exit_code_of
from secretfree_cli.importing.run import registry_of
from secretfree_cli.output import CliError, ExitCode, json_option, note
from secretfree_cli.target import Target, target_options

_DETACHING: Final = (0.5, 1.0, 2.0, 4.0)
"""Seconds between polls while AWS IoT Core detaches asynchronously."""


class Retired(StrEnum):
    """The outcome for a device."""

    RETIRED = "retired"
    NOT_FOUND = "not-found"
    CHANGED = "changed-meanwhile"
    UNFINISHED = "unfinished"
    """Closed, but not everything is deleted: run the command again."""


@dataclass(frozen=True, kw_only=True)
class Retiring:
    """Retires devices of one product line."""

    store: RegistryStore
    ledger: DynamoDbLedger
    things: IotCoreThings
    ports: RevocationPorts
    clock: Clock
    history: timedelta

    def retire(self, device_id: str, reason: str) -> tuple[Retired, str | None]:
        """Retire one device; return the outcome and the remaining work. Raises botocore's errors of the registry."""
        name = DeviceId.parse(device_id)
        known = self.ledger.of_device(name)
        try:
            found = self._close_registry(device_id, reason, in_ledger=bool(known.issuances))
        except ChangedMeanwhile:
            return Retired.CHANGED, "another command changed its entry just now"
        if not found:
            return Retired.NOT_FOUND, None
        try:
            left = self._close(name)
        except (SecretFreeError, ThrottledError, UnreachableError, StillAttachedError, StaleLedgerError) as error:
            return Retired.UNFINISHED, error.detail if isinstance(error, SecretFreeError) else _why(error)
        return (Retired.RETIRED, None) if left is None else (Retired.UNFINISHED, left)

    def _close_registry(self, device_id: str, reason: str, *, in_ledger: bool) -> bool:
        """Retire the entry. Returns whether the registry or the ledger has the device."""
        now = self.clock.now()
        enrolled = self.store.read([device_id]).get(device_id)
        if enrolled is None:
            if in_ledger:
                self.store.put_new(EnrolledDevice(device_id).retired(reason, now))
            return in_ledger
        if enrolled.status is not DeviceStatus.RETIRED:
            self.store.put_over(enrolled.retired(reason, now), enrolled)
        return True

    def _close(self, device_id: DeviceId) -> str | None:
        """Do steps 2 to 5; return the remaining work."""
        now = self.clock.now()
        before = self.ledger.issuances(device_id)
        leased = [one.due for one in before if isinstance(one, Issuance) and one.is_leased(now) and one.due]
        change = RegistryChange(device_id=device_id, at=now, before=None, after=None)
        revoke_withdrawn(change, ports=self.ports, match=MatchPolicy.UDID_AND_PUBLIC_KEY, clock=self.clock)
        records = [one for one in self.ledger.issuances(device_id) if isinstance(one, Issuance)]
        for certificate_id in sorted({one for record in records for one in record.known_certificates}):
            self._patiently(partial(self.things.retire, device_id, certificate_id))
        self._patiently(partial(self.things.remove_thing, device_id))
        self._forget(device_id, records, self.clock.now() + self.history)
        if leased:
            return f"a certificate was being issued: run the command again after {max(leased):%H:%M:%S} UTC"
        return None

    def _forget(self, device_id: DeviceId, records: Sequence[Issuance], forget_after: datetime) -> None:
        for record in records:
            if record.forget_after is None:
                self.ledger.write(record.retired(forget_after))
        self.ledger.close_device(device_id, forget_after=forget_after)

    def _patiently(self, call: Callable[[], None]) -> None:
        """Make `call`, and retry while AWS IoT Core detaches."""
        for seconds in _DETACHING:
            try:
                call()
            except StillAttachedError:
                self.clock.sleep(seconds)
            else:
                return
        call()


@command("retire")
@click.argument("device_ids", nargs=-1, metavar="DEVICE_ID...")
@ids_option
@click.option("--reason", required=True, metavar="TEXT", help="The reason, which is stored with the id.")
@click.option(
    "--keep-history",
    callback=span,
    default="90d",
    show_default=True,
    metavar="SPAN",
    help="How long the ledger keeps the devices' history.",
)
@json_option
@target_options
def retire(
    *,
    target: Target,
    device_ids: tuple[str, ...],
    ids_file: TextIO | None,
    reason: str,
    keep_history: timedelta,
    as_json: bool,
) -> None:
    """Retire devices: remove certificates, connections, things and registry entries, and keep the history.

    The id stays reserved: `enroll` refuses it without --replace. Run the command again after an interruption, or for an
    `unfinished` device. Exit code 3 if some devices are not retired.
    """
    if not reason.strip():
        raise click.UsageError("--reason is empty; the reason is stored with the id")
    accepted, retiring = accepted_ids(target, all_ids(device_ids, ids_file)), _retiring(target, keep_history)
    with outcomes_shown(as_json=as_json) as outcomes:
        for given, device_id in accepted.items():
            outcome, left = retiring.retire(device_id, reason)
            outcomes[given] = outcome.value
            if left is not None:
                note(f"{given}: {left}")
    failed = [outcome for outcome in outcomes.values() if outcome != Retired.RETIRED]
    sys.exit(exit_code_of(len(outcomes), failed, not_found=Retired.NOT_FOUND))


def _retiring(target: Target, history: timedelta) -> Retiring:
    missing = [
        what
        for what, value in (
            ("ledger", target.ledger_table),
            ("device policy", target.policy_name),
            ("thing type", target.thing_type),
        )
        if value is None
    ]
    if missing:
        raise CliError(
            f"the target has no {' and no '.join(missing)}",
            hint="name the stack with --stack",
            exit_code=ExitCode.USAGE,
        )
    dynamodb: Any = target.client("dynamodb")
    iot: Any = target.client("iot")
    ledger = DynamoDbLedger(dynamodb, table=target.ledger_table or "")
    return Retiring(
        store=registry_of(target),
        ledger=ledger,
        things=IotCoreThings(iot, thing_type=target.thing_type or "", policy_name=target.policy_name or ""),
        ports=RevocationPorts(
            registry=DynamoDbRegistry(dynamodb, table=target.registry_table),
            ledger=ledger,
            certificates=IotCertificates(iot),
            connections=IotConnections(target.client("iot-data")),
            # The stream's function has the list of CAs that accept revocations, and revokes there.
            authorities=RevokingAuthorities(lambda _arn: target.client("acm-pca"), ()),
        ),
        clock=SystemClock(),
        history=history,
    )


def _why(error: Exception) -> str:
    if isinstance(error, StillAttachedError):
        return f"{error} is still attached"
    return str(error)
