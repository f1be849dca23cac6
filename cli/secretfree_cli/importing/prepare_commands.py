"""`prepare-import`, which checks manifests for DynamoDB's ImportTable, and `sample-manifest`."""

from __future__ import annotations

import getpass
import json
import sys
from pathlib import Path
from typing import Any

import click
from secretfree.registry.gate import Gate
from secretfree.request.device_profile import PROFILES, DeviceProfile

from secretfree_cli.command_line import command
from secretfree_cli.importing.options import (
    batch_option,
    format_options,
    format_options_of,
    progress_shown,
    reading_of,
    report_option,
)
from secretfree_cli.importing.prepare import PrepareRequest, import_table_request, recovery_request, run_prepare
from secretfree_cli.importing.report import require_apart
from secretfree_cli.importing.summary import show_summary
from secretfree_cli.manifests.detect import open_manifest
from secretfree_cli.manifests.generate import SAMPLES, SampleAuthority, sample_devices, write_keys
from secretfree_cli.output import CliError, emit_json, json_option, note


@command("prepare-import")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="FILE...")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@report_option
@click.option("--by", metavar="NAME", help="Name of the operator, for the batch's record. [default: the user's name]")
@click.option("--key-optional", is_flag=True, help="Accept rows without a key. Only for match policy UDID.")
@json_option
@batch_option
@format_options
def prepare_import(
    *,
    files: tuple[Path, ...],
    folder: Path,
    forced: str | None,
    device_profile: str | None,
    report: Path | None,
    batch_id: str | None,
    by: str | None,
    key_optional: bool,
    as_json: bool,
    **reading: Any,
) -> None:
    """Check manifests and write FOLDER for DynamoDB's ImportTable, which creates a new registry table from S3.

    The command makes no AWS call and does not read an existing table.
    """
    gate = Gate(PROFILES[device_profile or DeviceProfile.STANDARD.value], key_optional=key_optional)
    require_apart(report, [*files, *reading["signers"], *reading["authorities"]])
    options = format_options_of(gate.profile, **reading)
    manifests = [open_manifest(path, options, forced=forced) for path in files]
    request = PrepareRequest(
        manifests, gate, folder, batch_id, by or getpass.getuser(), report=report, reading=reading_of(options)
    )
    with progress_shown(shown=not as_json) as progress:
        summary, objects = run_prepare(request, progress)
    parameters, recovery = folder / "import-table.json", folder / "point-in-time-recovery.json"
    for path, document in (
        (parameters, import_table_request("REGISTRY-TABLE", "BUCKET", "PREFIX/part-")),
        (recovery, recovery_request("REGISTRY-TABLE")),
    ):
        path.write_text(json.dumps(document, indent=2) + "\n")
    if as_json:
        emit_json({**summary.document(), "objects": [path.name for path in objects], "parameters": parameters.name})
    else:
        show_summary(summary, as_json=False)
        note(f"upload {folder}/part-* to a bucket, fill in {parameters} and {recovery}, then:")
        note(f"  aws dynamodb import-table --cli-input-json file://{parameters}")
        note("ImportTable leaves point-in-time recovery off. When the table is ACTIVE:")
        note(f"  aws dynamodb update-continuous-backups --cli-input-json file://{recovery}")
    sys.exit(summary.exit_code)


@command("sample-manifest")
@click.argument("chosen", type=click.Choice(list(SAMPLES)), metavar=f"[{'|'.join(SAMPLES)}]")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--count", type=click.IntRange(1), default=10, show_default=True, help="How many devices.")
@click.option("--keys", type=click.Path(file_okay=False, path_type=Path), help="Write the private keys to this folder.")
def sample_manifest(*, chosen: str, path: Path, count: int, keys: Path | None) -> None:
    """Make a manifest of sample devices, in any format that `enroll files` reads.

    With --keys, `secretfree device` can simulate each of them. If `enroll files` needs the certificate of a signer or
    an issuer for the format, the command writes it to PATH.authority.pem. It never overwrites a file.
    """
    sample, authority = SAMPLES[chosen], SampleAuthority.create()
    made = sample_devices(count, sample.device_id)
    if path.exists():
        raise CliError(f"{path} exists already", hint="name another file: a sample never overwrites a manifest")
    try:
        sample.write(path, made if keys is None else write_keys(keys, made), authority)
    except OSError as error:
        raise CliError(f"{error.filename or path} cannot be written: {error.strerror or error}") from error
    note(f"{count} devices in {path}")
    if sample.needs is not None:
        beside = path.with_name(path.name + ".authority.pem")
        beside.write_bytes(authority.pem())
        note(f"next: secretfree enroll files {path} {sample.needs} {beside}")
