"""The commands around the registry: `enroll`, and the relatives that look at it and change it."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import click
from secretfree.profile import PROFILES, DeviceProfile

from secretfree_cli.enroll.progress import Bar, Silent
from secretfree_cli.enroll.run import ImportRequest, ImportSummary, run_import
from secretfree_cli.formats.manifest import Gate
from secretfree_cli.formats.single import SingleDevice
from secretfree_cli.output import CliError, emit_fields, emit_json, json_option, note
from secretfree_cli.target import Target, target_options


@click.command("enroll")
@click.argument("what", nargs=-1, required=True, metavar="FILE... | DEVICE_ID")
@click.option(
    "--public-key",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Enrol the one device DEVICE_ID with the key in this file: PEM or DER of a public key, a certificate request "
    "(its signature must verify) or a certificate. '-' reads stdin.",
)
@click.option("--dry-run", is_flag=True, help="Check and compare everything, write nothing.")
@click.option("--replace", is_flag=True, help="Let enrolled devices get another key. Needs --reason.")
@click.option("--reason", metavar="TEXT", help="Why keys are replaced; kept with the batch and the device.")
@json_option
@target_options
def enroll(
    *,
    target: Target,
    what: tuple[str, ...],
    public_key: Path | None,
    dry_run: bool,
    replace: bool,
    reason: str | None,
    as_json: bool,
) -> None:
    """Allow devices to provision: one by its public key, or a manifest of many."""
    if public_key is None:
        raise click.UsageError("give --public-key")
    if len(what) != 1:
        raise click.UsageError("--public-key goes with one DEVICE_ID")
    gate = gate_of(target)
    data = sys.stdin.buffer.read() if str(public_key) == "-" else public_key.read_bytes()
    request = ImportRequest(
        manifests=[SingleDevice(what[0], data, public_key.name, gate.profile)],
        gate=gate,
        dry_run=dry_run,
        replace_reason=_replace_reason(reason, replace=replace),
        parallelism=1,
        resumable=False,
    )
    show_progress = not as_json and sys.stderr.isatty()
    with Bar() if show_progress else nullcontext(Silent()) as progress:
        summary = run_import(target, request, progress)
    _show(summary, as_json=as_json)
    sys.exit(summary.exit_code)


def gate_of(target: Target, profile: str | None = None) -> Gate:
    """Return the gate as the target's stack has it, or with another device profile by name."""
    name = profile or target.device_profile or DeviceProfile.STANDARD.value
    if name not in PROFILES:
        raise CliError(f"device profile {name!r}; accepted: {', '.join(PROFILES)}")
    return Gate(PROFILES[name], key_optional=target.match_policy == "UDID")


def _replace_reason(reason: str | None, *, replace: bool) -> str | None:
    if replace and not (reason or "").strip():
        raise click.UsageError("--replace needs --reason: it is kept with the batch and the device")
    return reason if replace else None


def _show(summary: ImportSummary, *, as_json: bool) -> None:
    if as_json:
        emit_json(summary.document())
        return
    for refused in summary.first_refused:
        place = f"{refused['file']}:{refused['line']}"
        note(f"refused  {place}  {refused['deviceId'] or '-'}  {refused['reason']}: {refused['detail']}")
    emit_fields({"batch": summary.batch, **{name: count for name, count in summary.counts.items() if count}})
