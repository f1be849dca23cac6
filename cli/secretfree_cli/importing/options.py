"""Options that enrolment's commands share, and what they make of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from secretfree.errors import SecretFreeError
from secretfree.request.device_profile import PROFILES, DeviceProfile

from secretfree_cli.importing.importer import Progress
from secretfree_cli.importing.progress import Bar, Silent
from secretfree_cli.manifests.detect import FORMATS, FormatOptions
from secretfree_cli.manifests.manifest import Gate
from secretfree_cli.output import CliError, ExitCode, emit_fields, emit_json
from secretfree_cli.target import Target

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def format_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how manifests are to be read; see `format_options_of`."""
    for option in (
        click.option("--ignore-column", "ignored_columns", multiple=True, metavar="THEIRS", help="CSV: pass over it."),
        click.option(
            "--column", "columns", multiple=True, metavar="OURS=THEIRS", help="CSV: a column under the supplier's name."
        ),
        click.option("--slot", metavar="SLOT", help="Microchip: key id [default: 0]. Infineon: object, such as E0E0."),
        click.option("--ca", "authorities", multiple=True, type=_FILE, help="Infineon: the issuing CA's certificate."),
        click.option("--signer", "signers", multiple=True, type=_FILE, help="Microchip: the signer's certificate."),
        click.option("--device-profile", type=click.Choice(list(PROFILES)), help="[default: the stack's]"),
        click.option("--format", "forced", type=click.Choice(list(FORMATS)), help="[default: told from the file]"),
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
    """Return what formats are told, by options' names, as JSON: what makes two readings of one file differ."""
    return {
        "--column": dict(options.columns),
        "--ignore-column": sorted(options.ignored_columns),
        "--slot": options.slot,
        "--signer": sorted(one.fingerprint(SHA256()).hex() for one in options.signers),
        "--ca": sorted(one.fingerprint(SHA256()).hex() for one in options.authorities),
    }


def gate_of(target: Target, profile: str | None = None) -> Gate:
    """Return the gate as the target's stack has it, or with another device profile by name."""
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
    if not shown or not sys.stderr.isatty():
        yield Silent()
        return
    with Bar() as bar:
        yield bar


def show_outcomes(outcomes: Mapping[str, str], *, as_json: bool) -> None:
    if as_json:
        emit_json({"devices": [{"deviceId": name, "outcome": outcome} for name, outcome in outcomes.items()]})
        return
    emit_fields(outcomes)


def exit_code_of(total: int, failed: Sequence[str], *, not_found: str) -> ExitCode:
    if not failed:
        return ExitCode.OK
    if len(failed) < total:
        return ExitCode.PARTLY_REFUSED
    return ExitCode.NOT_FOUND if all(outcome == not_found for outcome in failed) else ExitCode.REFUSED


def _certificates(path: Path) -> Sequence[x509.Certificate]:
    data = path.read_bytes()
    try:
        if b"-----BEGIN" in data:
            return x509.load_pem_x509_certificates(data)
        return [x509.load_der_x509_certificate(data)]
    except ValueError as error:
        raise CliError(f"{path}: not a certificate in PEM or DER") from error
