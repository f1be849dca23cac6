"""`secretfree local`: the commands of the local cloud."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from secretfree_cli.command_line import Group
from secretfree_cli.local import lambda_logs
from secretfree_cli.local.clients import local_client
from secretfree_cli.local.cloud import (
    bring_down,
    bring_up,
    deploy_into,
    records,
    set_replication_lag,
    start_region,
    stop_region,
)
from secretfree_cli.local.deployment import CDK_LOG, Deployment
from secretfree_cli.local.interruption import ending_on_signals
from secretfree_cli.local.servers import AWS_EMULATOR, PRIVATE_CA, log_end
from secretfree_cli.local.state import CloudRecord, StateFolder, find_project
from secretfree_cli.local.status import status_of
from secretfree_cli.output import CliError, ExitCode, emit, emit_fields, emit_json, json_option, note

LOG_FILES = (AWS_EMULATOR, PRIVATE_CA, CDK_LOG)
LAMBDA = "lambda"


def _assignment(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise click.BadParameter(f"{text!r} is not of the form KEY=VALUE")
    return key, value


def _deployment_options(function: Any) -> Any:
    for option in (
        click.option("--verbose", is_flag=True, help="Show the CDK CLI's output."),
        click.option(
            "--context",
            "-c",
            multiple=True,
            type=_assignment,
            metavar="KEY=VALUE",
            help="CDK context for the app; repeatable.",
        ),
        click.option("--stack-name", metavar="NAME", help="Deploy the sample under another stack name."),
        click.option(
            "--app",
            type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
            help="Folder of the CDK app to deploy.  [default: the project]",
        ),
    ):
        function = option(function)
    return function


@click.group(cls=Group)
def local() -> None:
    """Run a local cloud on this machine: no AWS account, no Docker, loopback only.

    Its state is in .local/ at the project's root. Each project has its own local cloud.
    """


@local.command()
@click.option("--deploy/--no-deploy", default=True, help="Deploy the app after the start.  [default: deploy]")
@click.option(
    "--region",
    "regions",
    multiple=True,
    metavar="REGION",
    help="A Region of the cloud; repeatable.  [default: those of the last `up`, or us-east-1]",
)
@_deployment_options
def up(
    *,
    deploy: bool,
    regions: tuple[str, ...],
    app: Path | None,
    stack_name: str | None,
    context: tuple[tuple[str, str], ...],
    verbose: bool,
) -> None:
    """Start the local cloud and deploy the app into it. Running servers stay up.

    With several Regions, the writes of global tables are replicated between them. If the command is interrupted, it
    stops the servers that it started. If the deployment fails, they stay up.
    """
    _require_regions(regions)
    began = time.monotonic()
    folder = StateFolder(find_project())
    with folder.exclusive(), ending_on_signals():
        record, was_up = bring_up(folder, wanted=regions)
        if was_up:
            note("the local cloud is up already")
        if deploy and not (was_up and record.stack_name and not (app or stack_name or context)):
            deployment = Deployment(app or folder.project, stack_name=stack_name, context=dict(context))
            try:
                record = deploy_into(folder, deployment, verbose=verbose)
            except CliError:
                note("the servers stay up: `secretfree local deploy` retries, `secretfree local down` stops them")
                raise
            except BaseException:
                if not was_up:
                    bring_down(folder)
                raise
    note(f"up after {time.monotonic() - began:.1f} s")
    _show(record, None)


@local.command(name="deploy")
@_deployment_options
def deploy_command(
    *, app: Path | None, stack_name: str | None, context: tuple[tuple[str, str], ...], verbose: bool
) -> None:
    """Deploy the app again, another app, or the sample under another name, into the running cloud."""
    folder = StateFolder(find_project())
    with folder.exclusive(), ending_on_signals():
        deployment = Deployment(app or folder.project, stack_name=stack_name, context=dict(context))
        record = deploy_into(folder, deployment, verbose=verbose)
    _show(record, stack_name)


@local.command()
@click.option("--forget", is_flag=True, help="Also remove the data: CA, registry, issued certificates.")
def down(*, forget: bool) -> None:
    """Stop the local cloud. Its CA and data are kept for the next `up`."""
    folder = StateFolder(find_project())
    with folder.exclusive():
        stopped = bring_down(folder, forget_data=forget)
    note("the local cloud is down" if stopped else "no local cloud was up")


@local.command(name="stop-region")
@click.argument("region")
def stop_region_command(*, region: str) -> None:
    """Stop one of several Regions, to simulate the loss of a Region. Its data is kept."""
    folder = StateFolder(find_project())
    with folder.exclusive():
        stopped = stop_region(folder, region)
    note(f"Region {region} is stopped" if stopped else f"Region {region} was not up")


@local.command(name="start-region")
@click.argument("region")
def start_region_command(*, region: str) -> None:
    """Start a Region that `stop-region` stopped. It then receives the writes that it missed."""
    folder = StateFolder(find_project())
    with folder.exclusive(), ending_on_signals():
        start_region(folder, region)
    note(f"Region {region} is up")


@local.command(name="replication-lag")
@click.argument("seconds", type=click.FloatRange(min=0, max=3600))
def replication_lag(*, seconds: float) -> None:
    """Set the delay of a global table's writes to the other Regions. It takes effect at once."""
    folder = StateFolder(find_project())
    set_replication_lag(folder, seconds)
    note(f"writes of global tables reach another Region after {seconds:g} s")


@local.command()
@json_option
@click.option("--stack", metavar="NAME", help="The product lines of one stack.  [default: those of every stack]")
def status(*, as_json: bool, stack: str | None) -> None:
    """Show the addresses and each product line, for other tools. Exit code 4 when nothing is up.

    The default product line of commands is first. `--json` also has its fields at the top level.
    """
    folder = StateFolder(find_project())
    found = _first_that_runs(folder)
    if as_json:
        document = status_of(found, stack=stack).document()
        if found.regions:
            document["regions"] = [_region_document(one) for one in records(folder)]
        emit_json(document)
    else:
        _show(found, stack)
        for one in records(folder) if found.regions else ():
            emit(f"Region {one.region}: {'up' if one.is_up else 'stopped'}")


@local.command()
@click.option("--region", metavar="REGION", help="One of several Regions.  [default: the first]")
def env(*, region: str | None) -> None:
    """Print `export` lines that point the AWS CLI or any SDK at the local cloud: eval "$(secretfree local env)"."""
    folder = StateFolder(find_project())
    record = (folder if region is None else folder.of_region(region)).require_up()
    for name, value in record.environment().items():
        emit(f"export {name}={shlex.quote(value)}")


@local.command()
@click.option("--follow", "-f", is_flag=True, help="Show new lines until Ctrl-C.")
@click.option(
    "--lines", "-n", type=click.IntRange(min=1), default=50, show_default=True, help="Number of lines from the end."
)
@click.argument("service", type=click.Choice([*LOG_FILES, LAMBDA]), required=False)
def logs(*, follow: bool, lines: int, service: str | None) -> None:
    """Show a log: of the AWS emulator, the Private CA emulator or the CDK CLI; all three by default.

    `lambda` is the output of the functions, with the true reason of each refusal.
    """
    folder = StateFolder(find_project())
    if service == LAMBDA:
        _show_lambda_logs(folder.require_up(), lines=lines, follow=follow)
        return
    wanted = [folder.logs / f"{name}.log" for name in ([service] if service else LOG_FILES)]
    paths = [path for path in wanted if path.is_file()]
    if not paths:
        raise CliError(f"there are no logs in {folder.logs}", exit_code=ExitCode.NOT_FOUND)
    if follow:
        sys.exit(subprocess.call(["tail", "-n", str(lines), "-F", *map(str, paths)]))  # noqa: S603, S607
    for path in paths:
        if len(paths) > 1:
            emit(f"==> {path.name} <==")
        emit(log_end(path, lines))


def _show_lambda_logs(record: CloudRecord, *, lines: int, follow: bool) -> None:
    client = local_client(record, "logs")
    shown = lambda_logs.read(client)
    for line in shown[-lines:]:
        emit(str(line))
    if follow:
        for line in lambda_logs.follow(client, seen=shown):
            emit(str(line))


def _show(record: CloudRecord, stack: str | None) -> None:
    status = status_of(record, stack=stack)
    shared = status.cloud_document()
    del shared["secretAccessKey"]  # `local env` and `local status --json` print it
    emit_fields(shared)
    for line in status.product_lines:
        emit("")
        emit_fields(line.document())


def _region_document(record: CloudRecord) -> dict[str, object]:
    """Return the status document of one of several Regions; a stopped Region has only its addresses."""
    if record.is_up:
        return {"up": True, **status_of(record).document()}
    return {"up": False, "region": record.region, "endpointUrl": record.endpoint_url}


def _first_that_runs(folder: StateFolder) -> CloudRecord:
    """Return the record of the first Region, or of another if the first is stopped."""
    return next((one for one in records(folder) if one.is_up), None) or folder.require_up()


def _require_regions(regions: tuple[str, ...]) -> None:
    for region in regions:
        if re.fullmatch(r"[a-z]{2}(-[a-z]+)+-[0-9]", region) is None:
            raise click.BadParameter(
                f"{region!r} is not a Region; accepted: names such as us-east-1", param_hint="--region"
            )
    if len(set(regions)) < len(regions):
        raise click.BadParameter("each Region once", param_hint="--region")
