"""The commands `secretfree ca status` and `secretfree ca distrust`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import click

from secretfree_cli.authorities.configured import IssuerAuthorities, authorities_of
from secretfree_cli.authorities.distrust import close_registration, deactivate
from secretfree_cli.authorities.ledger_scan import count_devices
from secretfree_cli.authorities.status import AuthorityStatus, Role, statuses
from secretfree_cli.command_line import Group
from secretfree_cli.diagnose.collectors.reading import Reading
from secretfree_cli.importing.options import progress_shown
from secretfree_cli.output import CliError, ExitCode, emit_fields, emit_json, emit_table, json_option, note
from secretfree_cli.pacing import Pace
from secretfree_cli.target import Target, target_options

_SHOWN_IDS: Final = 10


@click.group("ca", cls=Group)
def ca() -> None:
    """Show the CAs that sign devices, and distrust one after its replacement."""


@ca.command("status")
@json_option
@target_options
def status(*, target: Target, as_json: bool) -> None:
    """Show each CA: its end, its registration with AWS IoT Core, and how many devices remain on it.

    The count reads the whole ledger, eventually consistent: half a read unit for each 4 KB, about one for a device. The
    command prints the consumed read units. `distrusted`: the stack no longer names the CA.
    """
    issuers = authorities_of(target)
    reading, remaining = Reading(), count_devices(target)
    found = list(statuses(target, reading, issuers, remaining))
    if as_json:
        emit_json({"authorities": [_document(one) for one in found], "readUnits": remaining.read_units})
    else:
        emit_table(
            ("AUTHORITY", "ISSUER", "ROLE", "STATUS", "ENDS", "SIGNS UNTIL", "AT IOT CORE", "DEVICES"),
            (
                (
                    one.arn.rpartition("/")[2],
                    one.issuer,
                    one.role.value,
                    one.status,
                    one.not_after and f"{one.not_after:%Y-%m-%d}",
                    one.signs_until and f"{one.signs_until:%Y-%m-%d}",
                    one.registered,
                    one.devices,
                )
                for one in found
            ),
        )
    for gap in reading.gaps:
        note(f"not read: {gap.what} ({gap.why})")
    for one in found:
        if one.signs_until is not None and one.signs_until <= datetime.now(UTC):
            note(f"{one.arn} is too old to sign certificates of the configured validity")
    note(f"the count used {remaining.read_units:,.0f} read units of the ledger")


@ca.command("distrust")
@click.argument("authority_arn")
@click.option("--rate", type=click.FloatRange(0.1, 100), default=5.0, show_default=True, help="Certificates a second.")
@click.option("--dry-run", is_flag=True, help="Count without a change.")
@click.option("--yes", is_flag=True, help="Run without a preceding --dry-run.")
@json_option
@target_options
def distrust(*, target: Target, authority_arn: str, rate: float, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Deactivate the certificates of a CA that the stack no longer names.

    Their devices are disconnected, and each gets a certificate of the present CA at its next request. First deploy
    without the CA, and let devices renew. The same command continues an interrupted run. Devices whose certificates
    were revoked individually stay refused; the command names them.
    """
    if dry_run == yes:
        raise click.UsageError("pass --dry-run to count, or --yes to run")
    _require_dropped(authorities_of(target), authority_arn)
    with progress_shown(shown=not as_json) as progress:
        registration = None if dry_run else close_registration(target, authority_arn)
        progress.phase("certificates", 0)
        done = deactivate(target, authority_arn, pace=Pace(rate), dry_run=dry_run, reached=progress.reached)
    counts = {outcome.value: number for outcome, number in done.counts.items()}
    if as_json:
        emit_json(
            {
                "authority": authority_arn,
                "dryRun": dry_run,
                "registrationBefore": registration,
                "certificates": counts,
                "revokedDevices": done.revoked_devices,
            }
        )
        return
    emit_fields({"authority": authority_arn, **{name: number for name, number in counts.items() if number}})
    for device_id in done.revoked_devices[:_SHOWN_IDS]:
        note(f"{device_id}: its certificate was already revoked, so the device stays refused")


def _require_dropped(issuers: Sequence[IssuerAuthorities], arn: str) -> None:
    for one in issuers:
        if arn in (one.current, *one.previous):
            role = Role.CURRENT if arn == one.current else Role.PREVIOUS
            raise CliError(
                f"{arn} is the issuer {one.issuer}'s {role} CA",
                hint="deploy without it first: a certificate of a CA that is still named is not replaced",
                exit_code=ExitCode.REFUSED,
            )


def _document(one: AuthorityStatus) -> dict[str, object]:
    return {
        "arn": one.arn,
        "issuer": one.issuer,
        "role": one.role,
        "status": one.status,
        "notAfter": one.not_after,
        "signsUntil": one.signs_until,
        "registered": one.registered,
        "devices": one.devices,
    }
