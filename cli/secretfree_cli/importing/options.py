"""Options that the commands of enrolment share, and their values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from secretfree.errors import SecretFreeError
from secretfree.registry.admission import RowRefused
from secretfree.registry.batch import BATCH_ID_FORM, is_batch_id
from secretfree.registry.gate import Gate
from secretfree.registry.key_material.keys import read_certificates
from secretfree.request.device_profile import PROFILES, DeviceProfile

from secretfree_cli.command_line import section
from secretfree_cli.importing.importer import Progress
from secretfree_cli.importing.progress import Bar, Lines, Silent
from secretfree_cli.manifests.detect import FORMATS, FormatOptions
from secretfree_cli.output import CliError, ExitCode, emit_fields, emit_json, is_interactive
from secretfree_cli.target import Target

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


import_option = section("The import")
_file_option = section("Reading files")

dry_run_option = click.option("--dry-run", is_flag=True, help="Check everything, write nothing.")
report_option = click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write every refused row and the warnings here, as JSON Lines.",
)
device_profile_option = click.option(
    "--device-profile", type=click.Choice(list(PROFILES)), help="How ids are spelt.  [default: the stack's profile]"
)


def batch_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--batch`; the checked value is passed as the keyword `batch_id`."""

    def checked(_context: click.Context, _parameter: click.Parameter, batch_id: str | None) -> str | None:
        if batch_id is not None and not is_batch_id(batch_id):
            raise click.UsageError(f"--batch {batch_id!a}; accepted: {BATCH_ID_FORM}")
        return batch_id

    return import_option(
        "--batch", "batch_id", metavar="ID", callback=checked, help="Id of the batch.  [default: made from the time]"
    )(function)


@dataclass(frozen=True)
class ReplaceOptions:
    """Whether keys of enrolled devices may be replaced: `reason` is None if not."""

    reason: str | None


def replace_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--replace` and `--reason`; they are passed as the keyword `replacing`, a ReplaceOptions."""

    @import_option("--replace", is_flag=True, help="Replace keys of enrolled devices. Needs --reason.")
    @import_option("--reason", metavar="TEXT", help="Why keys are replaced. Stored with the batch and the device.")
    @wraps(function)
    def command(*args: Any, replace: bool, reason: str | None, **given: Any) -> Any:
        if replace and not (reason or "").strip():
            raise click.UsageError("--replace needs --reason: it is stored with the batch and the device")
        if reason is not None and not replace:
            raise click.UsageError("--reason needs --replace")
        return function(*args, replacing=ReplaceOptions(reason if replace else None), **given)

    return command


def format_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for reading manifests, and `--device-profile`; see `format_options_of`."""
    for option in (
        _file_option("--ignore-column", "ignored_columns", multiple=True, metavar="THEIRS", help="CSV: skip a column."),
        _file_option(
            "--column",
            "columns",
            multiple=True,
            metavar="OURS=THEIRS",
            help="CSV: a column with the supplier's name, such as device-id=Serial.",
        ),
        _file_option("--slot", metavar="SLOT", help="Microchip: key id [default: 0]. Infineon: object, such as E0E0."),
        _file_option("--ca", "authorities", multiple=True, type=_FILE, help="Infineon: certificate of the issuing CA."),
        _file_option("--signer", "signers", multiple=True, type=_FILE, help="Microchip: certificate of the signer."),
        _file_option(
            "--device-profile",
            type=click.Choice(list(PROFILES)),
            help="How ids are spelt.  [default: the stack's profile]",
        ),
        _file_option("--format", "forced", type=click.Choice(list(FORMATS)), help="[default: detected]"),
    ):
        function = option(function)
    return function


def format_options_of(
    profile: DeviceProfile,
    *,
    signers: Sequence[Path],
    authorities: Sequence[Path],
    slot: str | None,
    columns: Sequence[str],
    ignored_columns: Sequence[str],
) -> FormatOptions:
    renamed = {}
    for column in columns:
        ours, equals, theirs = column.partition("=")
        if not (ours and equals and theirs):
            raise click.UsageError(f"--column {column!a}; accepted: OURS=THEIRS, such as device-id=Serial")
        renamed[ours] = theirs
    return FormatOptions(
        signers=[certificate for path in signers for certificate in _certificates(path)],
        authorities=[certificate for path in authorities for certificate in _certificates(path)],
        slot=slot,
        columns=renamed,
        ignored_columns=ignored_columns,
        profile=profile,
    )


def reading_of(options: FormatOptions) -> Mapping[str, object]:
    """Return the options of formats as JSON, by name. Only these change how a file is read."""
    return {
        "--column": dict(options.columns),
        "--ignore-column": sorted(options.ignored_columns),
        "--slot": options.slot,
        "--signer": sorted(one.fingerprint(SHA256()).hex() for one in options.signers),
        "--ca": sorted(one.fingerprint(SHA256()).hex() for one in options.authorities),
    }


def gate_of(target: Target, profile: str | None = None) -> Gate:
    """Return the gate of the target's stack, or one with the named device profile."""
    name = profile or target.device_profile or DeviceProfile.STANDARD.value
    if name not in PROFILES:
        raise CliError(f"device profile {name!a}; accepted: {', '.join(PROFILES)}")
    return Gate(PROFILES[name], key_optional=target.match_policy == "UDID")


def device_id_of(target: Target, text: str) -> str:
    try:
        return gate_of(target).profile.normalise_device_id(text)
    except SecretFreeError as error:
        raise CliError(error.detail, exit_code=ExitCode.USAGE) from error


@contextmanager
def progress_shown(*, shown: bool) -> Iterator[Progress]:
    """Show progress: a bar for a person, lines for a log."""
    if not shown:
        yield Silent()
    elif is_interactive():
        with Bar() as bar:
            yield bar
    else:
        yield Lines()


def show_outcomes(outcomes: Mapping[str, str], *, as_json: bool) -> None:
    if as_json:
        emit_json(outcomes_document(outcomes))
        return
    emit_fields(outcomes)


def outcomes_document(outcomes: Mapping[str, str]) -> Mapping[str, object]:
    """Return outcomes by device for `--json`."""
    return {"devices": [{"deviceId": name, "outcome": outcome} for name, outcome in outcomes.items()]}


def exit_code_of(total: int, failed: Sequence[str], *, not_found: str) -> ExitCode:
    if not failed:
        return ExitCode.OK
    if len(failed) < total:
        return ExitCode.PARTLY_REFUSED
    return ExitCode.NOT_FOUND if all(outcome == not_found for outcome in failed) else ExitCode.REFUSED


def _certificates(path: Path) -> Sequence[x509.Certificate]:
    try:
        return read_certificates(path.read_bytes())
    except RowRefused as refused:
        raise CliError(f"{path}: not a certificate in PEM or DER: {refused.detail}") from refused
