"""`secretfree demo`: starts the local cloud, deploys the sample and runs the demo's steps."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
from secretfree_device import ProvisioningError
from secretfree_device.session import MqttError

from secretfree_cli.command_line import command
from secretfree_cli.demo.narrator import Narrator, StepFailedError
from secretfree_cli.demo.story import Story
from secretfree_cli.local.cloud import bring_down, bring_up, deploy_into
from secretfree_cli.local.deployment import Deployment
from secretfree_cli.local.interruption import ending_on_signals, undisturbed
from secretfree_cli.local.state import CloudRecord, StateFolder, find_project
from secretfree_cli.output import CliError, ExitCode, stdout
from secretfree_cli.target import local_target


@command("demo")
@click.option("--keep", is_flag=True, help="Leave the local cloud running, and the devices in ./devices.")
def demo(*, keep: bool) -> None:
    """Show the product on this machine: from an empty cloud to devices on MQTT, with every impostor refused.

    The demo needs no AWS account and no Docker. It exits with an error if a step fails, and stops the servers that it
    started.
    """
    narrator = Narrator(stdout())
    began = time.monotonic()
    folder = StateFolder(find_project())
    try:
        with ending_on_signals(), _local_cloud(narrator, folder, keep=keep) as record, _device_folder(keep) as devices:
            Story(narrator, local_target(record), devices).run()
    except StepFailedError as failure:
        narrator.failed(str(failure))
        raise SystemExit(ExitCode.FAILURE) from failure
    except (ProvisioningError, MqttError) as error:
        narrator.failed(str(error))
        raise CliError("the demo failed", hint="`secretfree local logs aws` shows the Lambdas' logs") from error
    narrator.end(seconds=time.monotonic() - began, keep=keep)


@contextmanager
def _local_cloud(narrator: Narrator, folder: StateFolder, *, keep: bool) -> Iterator[CloudRecord]:
    """Run the local cloud with the sample deployed. Stop it at the end unless it was running before."""
    narrator.chapter(
        "A cloud on this machine",
        """Two emulators on loopback replace AWS. One enforces IAM roles and IoT policies, one is AWS Private CA.
        Everything else is real: the CDK app, the Lambdas' code, TLS, MQTT.""",
    )
    was_up = False
    try:
        with folder.exclusive():
            began = time.monotonic()
            with narrator.working("starting the emulators"):
                record, was_up = bring_up(folder, tell=lambda _text: None)
            state = "was running already" if was_up else f"started in {time.monotonic() - began:.1f} s"
            narrator.done(f"{state}, at {record.endpoint_url}")
            record = _deployed(narrator, folder, record, was_up=was_up)
        yield record
    finally:
        if not (keep or was_up):
            with undisturbed(), narrator.working("stopping what was started"), folder.exclusive():
                bring_down(folder)


def _deployed(narrator: Narrator, folder: StateFolder, record: CloudRecord, *, was_up: bool) -> CloudRecord:
    narrator.chapter(
        "Deploy the sample app with the CDK CLI",
        """One construct: a REST API, the authorizer and the issuers under least-privilege roles, two tables,
        an IoT policy. The first deployment downloads the Lambdas' dependencies and checks their hashes.""",
    )
    # A restarted cloud may hold the stack of older code. Another deployment takes seconds then.
    if was_up and record.stack_name is not None:
        narrator.done(f"stack {record.stack_name} is deployed already")
        return record
    began = time.monotonic()
    with narrator.working("cdk deploy"):
        record = deploy_into(folder, Deployment(folder.project), tell=lambda _text: None)
    narrator.done(f"stack {record.stack_name} deployed in {time.monotonic() - began:.1f} s")
    return record


@contextmanager
def _device_folder(keep: bool) -> Iterator[Path]:  # noqa: FBT001 - private, one use
    with ExitStack() as stack:
        yield (
            Path("devices")
            if keep
            else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="secretfree-demo-")))
        )
