"""The commands that bring devices in: `enroll`, `prepare-import` and `sample-manifest`."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from secretfree.registry.batch import BATCH_ID_FORM, is_batch_id
from secretfree.request.device_profile import PROFILES, DeviceProfile

from secretfree_cli.factory.options import LineOptions, line_options, run_line_session
from secretfree_cli.importing.options import format_options, format_options_of, gate_of, progress_shown, reading_of
from secretfree_cli.importing.prepare import import_table_request, recovery_request
from secretfree_cli.importing.report import require_apart
from secretfree_cli.importing.run import ImportRequest, ImportSummary, PrepareRequest, run_import, run_prepare
from secretfree_cli.manifests.detect import FormatOptions, open_manifest
from secretfree_cli.manifests.generate import SAMPLES, SampleAuthority, sample_devices, write_keys
from secretfree_cli.manifests.manifest import Gate, Manifest
from secretfree_cli.manifests.single import SingleDevice
from secretfree_cli.output import CliError, ExitCode, emit_fields, emit_json, json_option, note
from secretfree_cli.target import Target, target_options


@click.command("enroll")
@click.argument("what", nargs=-1, metavar="FILE... | DEVICE_ID")
@click.option(
    "--public-key",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Enrol the one device DEVICE_ID with the key in this file: PEM or DER of a public key, a certificate request "
    "(its signature must verify) or a certificate. '-' reads stdin.",
)
@line_options
@format_options
@click.option("--dry-run", is_flag=True, help="Check and compare everything, write nothing.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="JSON Lines of every refused row.")
@click.option("--replace", is_flag=True, help="Let enrolled devices get another key. Needs --reason.")
@click.option("--reason", metavar="TEXT", help="Why keys are replaced; kept with the batch and the device.")
@click.option("--batch", "batch_id", metavar="ID", help="Id of the batch.  [default: made of the time]")
@click.option("--resume", is_flag=True, help="Go on with an import of these files that was cut off, if there is one.")
@click.option("--restart", is_flag=True, help="Forget an import of these files that was cut off.")
@click.option("--parallelism", type=click.IntRange(1, 64), default=8, show_default=True, help="Requests at a time.")
@json_option
@target_options
def enroll(
    *,
    target: Target,
    what: tuple[str, ...],
    line: LineOptions,
    public_key: Path | None,
    forced: str | None,
    device_profile: str | None,
    dry_run: bool,
    report: Path | None,
    replace: bool,
    reason: str | None,
    batch_id: str | None,
    resume: bool,
    restart: bool,
    parallelism: int,
    as_json: bool,
    **reading: Any,
) -> None:
    """Allow devices to provision: one by its public key, those of suppliers' manifests, or those on the bench.

    FILE is a manifest (CSV, JSON Lines, PEM bundle or folder, DynamoDB items, Microchip, Infineon, Espressif). Each row
    is checked as the runtime would check the device, then against the registry; a refused row stops no other.

    Exit code: 0 all rows taken, 3 some refused, 5 all refused. The batch that an import makes can be undone with
    `secretfree batch revert`.

    With --serial, --scan or --image devices are enrolled as they are read, each answered with OK or FAIL.
    """
    if replace and not (reason or "").strip():
        raise click.UsageError("--replace needs --reason: it is kept with the batch and the device")
    if reason is not None and not replace:
        raise click.UsageError("--reason goes with --replace: alone it would be kept nowhere")
    if batch_id is not None and not is_batch_id(batch_id):
        raise click.UsageError(f"--batch {batch_id!a}; accepted: {BATCH_ID_FORM}")
    if resume and restart:
        raise click.UsageError("--resume and --restart contradict each other")
    line.require_alone(**{"--dry-run": dry_run, "--report": report, "--replace": replace, "--resume": resume})
    line.require_alone(**{"--restart": restart, "--public-key": public_key, "FILE": what})
    gate = gate_of(target, device_profile)
    if line.chosen:
        reading_options = format_options_of(gate.profile, **reading)
        keys = [open_manifest(path, reading_options, forced=forced) for path in line.keys]
        sys.exit(run_line_session(target, line, gate, batch_id=batch_id, keys=keys, as_json=as_json))
    if not what:
        raise click.UsageError("give manifests, a DEVICE_ID with --public-key, or one of --serial, --scan, --image")
    read = [*map(Path, what), *reading["signers"], *reading["authorities"]]
    require_apart(report, read if public_key is None else [public_key])
    options = format_options_of(gate.profile, **reading)
    manifests = _manifests(what, public_key, options, forced)
    request = ImportRequest(
        manifests=manifests,
        gate=gate,
        reading=reading_of(options),
        batch_id=batch_id,
        replace_reason=reason if replace else None,
        dry_run=dry_run,
        resume=resume,
        restart=restart,
        parallelism=parallelism,
        report=report,
        resumable=public_key is None,
    )
    with progress_shown(shown=not as_json and public_key is None) as progress:
        summary = run_import(target, request, progress)
    _show(summary, as_json=as_json)
    sys.exit(summary.exit_code)


@click.command("prepare-import")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="FILE...")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@format_options
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="JSON Lines of every refused row.")
@click.option("--batch", "batch_id", metavar="ID", help="Id of the batch.  [default: made of the time]")
@click.option("--by", metavar="NAME", help="Who enrols, for the batch's record.  [default: the user's name]")
@click.option("--key-optional", is_flag=True, help="Take rows without a key: for match policy UDID alone.")
@json_option
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
    """Check manifests and write FOLDER for DynamoDB's ImportTable, which makes a new registry table from S3.

    No cloud is asked: what a table holds already is not compared, since there is none yet.
    """
    if batch_id is not None and not is_batch_id(batch_id):
        raise click.UsageError(f"--batch {batch_id!a}; accepted: {BATCH_ID_FORM}")
    gate = Gate(PROFILES[device_profile or DeviceProfile.STANDARD.value], key_optional=key_optional)
    require_apart(report, [*files, *reading["signers"], *reading["authorities"]])
    options = format_options_of(gate.profile, **reading)
    manifests = [open_manifest(path, options, forced=forced) for path in files]
    request = PrepareRequest(manifests, gate, folder, batch_id, by or getpass.getuser(), report)
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
        _show(summary, as_json=False)
        note(f"upload {folder}/part-* to a bucket, fill in {parameters} and {recovery}, then:")
        note(f"  aws dynamodb import-table --cli-input-json file://{parameters}")
        note("and, when the table is ACTIVE, since ImportTable leaves point-in-time recovery off:")
        note(f"  aws dynamodb update-continuous-backups --cli-input-json file://{recovery}")
    sys.exit(summary.exit_code)


@click.command("sample-manifest")
@click.argument("chosen", type=click.Choice(list(SAMPLES)), metavar=f"[{'|'.join(SAMPLES)}]")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--count", type=click.IntRange(1), default=10, show_default=True, help="How many devices.")
@click.option("--keys", type=click.Path(file_okay=False, path_type=Path), help="Keep the private keys in this folder.")
def sample_manifest(*, chosen: str, path: Path, count: int, keys: Path | None) -> None:
    """Make a manifest of devices that exist nowhere, in any format that `enroll` reads.

    With --keys, each of them can be played by `secretfree device`. A format that `enroll` takes on a signer's or an
    issuer's word alone comes with that certificate beside it, in PATH.authority.pem. Nothing that is there is replaced.
    """
    sample, authority = SAMPLES[chosen], SampleAuthority.create()
    made = sample_devices(count, sample.device_id)
    if path.exists():
        raise CliError(f"{path} is there already", hint="a sample replaces no manifest: name another file")
    try:
        sample.write(path, made if keys is None else write_keys(keys, made), authority)
    except OSError as error:
        raise CliError(f"{error.filename or path} cannot be written: {error.strerror or error}") from error
    note(f"{count} devices in {path}")
    if sample.needs is not None:
        beside = path.with_name(path.name + ".authority.pem")
        beside.write_bytes(authority.pem())
        note(f"enrol with: secretfree enroll {path} {sample.needs} {beside}")


def _manifests(
    what: Sequence[str], public_key: Path | None, options: FormatOptions, forced: str | None
) -> Sequence[Manifest]:
    if public_key is not None:
        if len(what) != 1:
            raise click.UsageError("--public-key goes with one DEVICE_ID")
        data = sys.stdin.buffer.read() if str(public_key) == "-" else public_key.read_bytes()
        return [SingleDevice(what[0], data, public_key.name, options.profile)]
    for name in what:
        if not Path(name).exists():
            hint = f"to enrol the device {name!a}, give its key with --public-key" if "/" not in name else None
            raise CliError(f"there is no file {name!a}", hint=hint, exit_code=ExitCode.USAGE)
    return [open_manifest(Path(name), options, forced=forced) for name in what]


def _show(summary: ImportSummary, *, as_json: bool) -> None:
    if as_json:
        emit_json(summary.document())
        return
    for row in summary.first_passed_over:
        _show_row("enrolled", row, str(row["detail"]))
    unshown = summary.passed_over - len(summary.first_passed_over)
    if unshown > 0:
        note(f"enrolled  {unshown} more with other attributes than their rows say")
    for row in summary.first_refused:
        _show_row("refused", row, f"{row['reason']}: {row['detail']}")
    unshown = summary.counts["refused"] - len(summary.first_refused)
    if unshown > 0:
        note(f"refused  {unshown} more; --report FILE has them all")
    if summary.unindexed:
        note(f"{summary.unindexed} devices of the registry lack key-fingerprint, and no lookup by key finds them:")
        note("`secretfree index-keys` adds it")
    if summary.dry_run:
        note("dry run: nothing was written; these are the counts that an import would end with")
    batch = {} if summary.dry_run else {"batch": summary.batch}
    emit_fields({**batch, **{name: count for name, count in summary.counts.items() if count}})


def _show_row(what: str, row: Mapping[str, object], said: str) -> None:
    line = f"{what}  {row['file']}:{row.get('member', row['line'])}  {row['deviceId'] or '-'}  {said}"
    note(line.encode("ascii", "backslashreplace").decode("ascii"))  # a manifest must not write to the terminal
