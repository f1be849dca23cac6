"""`secretfree enroll phone`: a phone's camera as the scanner."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path
from typing import Any

import click
import psutil
import segno
from secretfree.clock import SystemClock

from secretfree_cli.command_line import command, section
from secretfree_cli.factory.bench import enroll_from_codes
from secretfree_cli.factory.phone.allowance import Allowance
from secretfree_cli.factory.phone.certificate import Address, server_context
from secretfree_cli.factory.phone.door import Door
from secretfree_cli.factory.phone.exchange import Exchange, PhoneSignal
from secretfree_cli.factory.phone.page_files import page_files
from secretfree_cli.factory.phone.pairing import LINK_SECONDS, Pairing
from secretfree_cli.factory.phone.server import PhoneServer
from secretfree_cli.factory.session import closing_batch
from secretfree_cli.factory.session_commands import (
    all_devices_option,
    bell_option,
    code_option,
    code_options,
    exit_code_of,
    known_keys,
    open_session,
    show_session,
)
from secretfree_cli.importing.options import batch_option, dry_run_option, format_options, format_options_of, gate_of
from secretfree_cli.output import json_option, note, stderr
from secretfree_cli.target import Target, target_options

_network_option = section("The network")


def _address_of(_context: click.Context, _parameter: click.Parameter, text: str) -> Address:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise click.BadParameter(f"{text!a}; accepted: an IP address of this machine: {_own_addresses()}") from None
    # Browsers write IPv4-mapped addresses in another form, and do not accept a scope.
    other = getattr(address, "scope_id", None) or getattr(address, "ipv4_mapped", None)
    if other or address.is_unspecified or address.is_multicast:
        raise click.BadParameter(f"{text!a} is not one address; accepted: {_own_addresses()}")
    return address


@command("phone")
@all_devices_option
@dry_run_option
@bell_option
@json_option
@_network_option(
    "--address",
    required=True,
    callback=_address_of,
    metavar="IP",
    help="Serve the page on this address of this machine. A phone cannot reach 127.0.0.1.",
)
@_network_option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0: a free port.")
@code_option(
    "--keys-in-codes",
    is_flag=True,
    help="Accept the code's own public key. Without it, each key must be in a manifest of --keys.",
)
@code_options
@batch_option
@format_options
@target_options
def enroll_phone(
    *,
    target: Target,
    address: Address,
    port: int,
    keys: tuple[Path, ...],
    keys_in_codes: bool,
    application_identifier: str,
    count: int,
    dry_run: bool,
    bell: bool,
    forced: str | None,
    device_profile: str | None,
    batch_id: str | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Enrol devices by their bar or QR codes, read by the camera of a phone. Ctrl-C ends.

    The command serves one page over TLS and shows a link to it, also as a QR code. The link is valid once, for one
    phone. The phone shows OK or FAIL for each device. Exit code: 0 all devices enrolled, 3 some refused, 5 all refused,
    1 stopped with nothing enrolled.
    """
    gate = gate_of(target, device_profile)
    if not (keys or keys_in_codes or gate.key_optional):
        raise click.UsageError("pass --keys, a manifest with the devices' keys, or --keys-in-codes")
    known = known_keys(keys, format_options_of(gate.profile, **reading), gate, forced=forced)
    clock = SystemClock()
    context, fingerprint = server_context(address, clock.now())
    server = PhoneServer(address, port, context, clock)
    pairing = Pairing(clock)
    exchange = Exchange(pairing, clock)
    door = Door(
        authority=server.authority,
        pairing=pairing,
        exchange=exchange,
        files=page_files(),
        allowance=Allowance(clock.monotonic),
        notice=note,
    )
    with (
        closing_batch(open_session(target, gate, "phone", str(address), batch_id, dry_run=dry_run)) as session,
        server.serving(door),
    ):
        _announce(f"https://{server.authority}/#{pairing.link_token}", fingerprint)
        try:
            tally = enroll_from_codes(
                exchange.codes(),
                enroll=session.enroll,
                known=known,
                key_required=not gate.key_optional,
                code_keys=keys_in_codes,
                count=count or None,
                profile=gate.profile,
                application_identifier=application_identifier,
                signal=PhoneSignal(bell=bell, exchange=exchange),
            )
        finally:
            exchange.end()
    show_session(session, tally, as_json=as_json)
    sys.exit(exit_code_of(tally))


def _announce(link: str, fingerprint: str) -> None:
    note(f"Open this link on the phone. It is valid for one phone and for {LINK_SECONDS / 60:g} minutes:\n\n  {link}\n")
    if stderr().is_terminal:
        segno.make(link, error="m", micro=False).terminal(out=sys.stderr, compact=True, border=2)
    note(
        "The phone warns about this session's certificate. Continue only if its SHA-256 fingerprint "
        f"is\n\n  {fingerprint}\n\nCtrl-C ends the session."
    )


def _own_addresses() -> str:
    found = {one.address for interface in psutil.net_if_addrs().values() for one in interface}
    return ", ".join(sorted(text for text in found if _is_reachable(text))) or "none was found"


def _is_reachable(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:  # a hardware address, or one with a scope
        return False
    return not (address.is_loopback or address.is_link_local)
