"""`secretfree enroll`: one command for each source of devices; this module has those for files and for one key."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import click

from secretfree_cli.command_line import LazyGroup, Subcommand, command
from secretfree_cli.importing.options import (
    ReplaceOptions,
    batch_option,
    device_profile_option,
    dry_run_option,
    format_options,
    format_options_of,
    gate_of,
    import_option,
    progress_shown,
    reading_of,
    replace_options,
    report_option,
)
from secretfree_cli.importing.report import require_apart
from secretfree_cli.importing.run import ImportRequest, run_import
from secretfree_cli.importing.summary import show_summary
from secretfree_cli.manifests.detect import open_manifest
from secretfree_cli.manifests.single import SingleDevice
from secretfree_cli.output import CliError, ExitCode, json_option
from secretfree_cli.target import Target, target_options

SOURCES: Final[Mapping[str, Subcommand]] = MappingProxyType(
    {
        "files": Subcommand(
            "secretfree_cli.importing.commands:enroll_files", "Enrol the devices of suppliers' manifests."
        ),
        "device": Subcommand("secretfree_cli.importing.commands:enroll_device", "Enrol one device by its public key."),
        "uart": Subcommand(
            "secretfree_cli.factory.commands:enroll_uart", "Enrol devices that print id and key on a UART.", "factory"
        ),
        "scan": Subcommand(
            "secretfree_cli.factory.commands:enroll_scan", "Enrol devices by their bar or QR codes.", "factory"
        ),
        "phone": Subcommand(
            "secretfree_cli.factory.phone.commands:enroll_phone", "Enrol devices by a phone's camera.", "factory"
        ),
    }
)
_SOURCE_OF_OPTION: Final[Mapping[str, str]] = MappingProxyType(
    {"--public-key": "device", "--serial": "uart", "--scan": "scan", "--image": "scan"}
)


class EnrollGroup(LazyGroup):
    """The sources.

    `enroll PATH...` is short for `enroll files PATH...`; an option of another source selects that one.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the name of the source if it is omitted."""
        if args and args[0] not in SOURCES and not set(args) & set(ctx.help_option_names):
            given = (argument.partition("=")[0] for argument in args)
            args = [next((_SOURCE_OF_OPTION[name] for name in given if name in _SOURCE_OF_OPTION), "files"), *args]
        return super().parse_args(ctx, args)


@click.group("enroll", cls=EnrollGroup, subcommands=SOURCES)
def enroll() -> None:
    """Enrol devices: allow them to provision.

    Each source has its own command. `secretfree enroll PATH...` is short for `secretfree enroll files PATH...`.

    \b
    secretfree enroll files reel-17.csv --dry-run
    secretfree enroll device sensor-1 --public-key sensor-1.pem
    secretfree enroll uart --port /dev/ttyACM0
    secretfree enroll scan --keys reel-17.csv
    secretfree enroll phone --keys reel-17.csv --address 192.168.1.20

    Each device is checked by the runtime's rules, then against the registry. Exit code: 0 all enrolled, 3 some refused,
    5 all refused. `secretfree batch revert` undoes a batch.
    """


@command("files")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@dry_run_option
@report_option
@json_option
@import_option("--resume", is_flag=True, help="Resume an interrupted import of these files, if there is one.")
@import_option("--restart", is_flag=True, help="Discard an interrupted import of these files.")
@import_option(
    "--parallelism", type=click.IntRange(1, 64), default=8, show_default=True, help="Number of concurrent requests."
)
@batch_option
@replace_options
@format_options
@target_options
def enroll_files(
    *,
    target: Target,
    paths: tuple[str, ...],
    forced: str | None,
    device_profile: str | None,
    dry_run: bool,
    report: Path | None,
    replacing: ReplaceOptions,
    batch_id: str | None,
    resume: bool,
    restart: bool,
    parallelism: int,
    as_json: bool,
    **reading: Any,
) -> None:
    """Enrol the devices of suppliers' manifests: CSV, JSON Lines, PEM, DynamoDB items, Microchip, Infineon, Espressif.

    PATH is a file or a folder. A refused row does not stop the others. Exit code: 0 all rows accepted, 3 some refused,
    5 all refused.
    """
    if resume and restart:
        raise click.UsageError("--resume and --restart contradict each other")
    _require_files(paths)
    gate = gate_of(target, device_profile)
    require_apart(report, [*map(Path, paths), *reading["signers"], *reading["authorities"]])
    options = format_options_of(gate.profile, **reading)
    request = ImportRequest(
        manifests=[open_manifest(Path(path), options, forced=forced) for path in paths],
        gate=gate,
        reading=reading_of(options),
        batch_id=batch_id,
        replace_reason=replacing.reason,
        dry_run=dry_run,
        resume=resume,
        restart=restart,
        parallelism=parallelism,
        report=report,
    )
    with progress_shown(shown=not as_json) as progress:
        summary = run_import(target, request, progress)
    show_summary(summary, as_json=as_json)
    sys.exit(summary.exit_code)


@command("device")
@click.argument("device_id")
@click.option(
    "--public-key",
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="PEM or DER of a public key, of a CSR (its signature must verify) or of a certificate. '-' is stdin.",
)
@dry_run_option
@report_option
@device_profile_option
@json_option
@batch_option
@replace_options
@target_options
def enroll_device(
    *,
    target: Target,
    device_id: str,
    public_key: Path,
    device_profile: str | None,
    dry_run: bool,
    report: Path | None,
    replacing: ReplaceOptions,
    batch_id: str | None,
    as_json: bool,
) -> None:
    """Enrol the device DEVICE_ID by its public key."""
    gate = gate_of(target, device_profile)
    require_apart(report, [public_key])
    data = sys.stdin.buffer.read() if str(public_key) == "-" else public_key.read_bytes()
    request = ImportRequest(
        manifests=[SingleDevice(device_id, data, public_key.name, gate.profile)],
        gate=gate,
        reading={"DEVICE_ID": device_id},
        batch_id=batch_id,
        replace_reason=replacing.reason,
        dry_run=dry_run,
        report=report,
        resumable=False,
    )
    with progress_shown(shown=False) as progress:
        summary = run_import(target, request, progress)
    show_summary(summary, as_json=as_json)
    sys.exit(summary.exit_code)


def _require_files(paths: Sequence[str]) -> None:
    for path in paths:
        if not Path(path).exists():
            one_device = f"to enrol one device: `secretfree enroll device {path} --public-key FILE`"
            hint = one_device if "/" not in path else None
            raise CliError(f"there is no file {path!a}", hint=hint, exit_code=ExitCode.USAGE)
