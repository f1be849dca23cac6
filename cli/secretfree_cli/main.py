"""The command `secretfree`: its subcommands by name, each loaded only when it is run or asked for help."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

import click

from secretfree_cli.output import CliError, ExitCode


@dataclass(frozen=True)
class Subcommand:
    """Where a subcommand lives, and what the overview says of it without importing it."""

    location: str
    """`module:attribute`."""
    summary: str
    extra: str = "cli"
    """The extra of the distribution that brings what it imports."""


SUBCOMMANDS: Mapping[str, Subcommand] = MappingProxyType(
    {
        "local": Subcommand(
            "secretfree_cli.local.commands:local", "Run the whole cloud on this machine, without an account.", "local"
        ),
        "demo": Subcommand(
            "secretfree_cli.demo:demo", "From nothing to a device on MQTT, and every clone refused.", "local"
        ),
        "device": Subcommand(
            "secretfree_cli.device.commands:device", "Be a device: make a key, provision, connect, publish."
        ),
        "enroll": Subcommand(
            "secretfree_cli.importing.commands:enroll", "Allow devices: one by its public key, or a manifest of many."
        ),
        "list": Subcommand("secretfree_cli.devices.commands:list_devices", "List enrolled devices."),
        "show": Subcommand("secretfree_cli.devices.commands:show", "Show one device and its certificates."),
        "block": Subcommand("secretfree_cli.devices.commands:block", "Refuse a device from now on."),
        "unblock": Subcommand("secretfree_cli.devices.commands:unblock", "Allow a blocked device again."),
        "remove": Subcommand("secretfree_cli.devices.commands:remove", "Remove a device from the registry."),
        "export": Subcommand("secretfree_cli.devices.commands:export", "Write the registry to a file."),
        "index-keys": Subcommand(
            "secretfree_cli.devices.commands:index_keys", "Let devices of an older table be found by their key."
        ),
        "stats": Subcommand("secretfree_cli.devices.commands:stats", "Count the registry by status and batch."),
        "batch": Subcommand("secretfree_cli.importing.batch_commands:batch", "List enrolment batches, or undo one."),
        "prepare-import": Subcommand(
            "secretfree_cli.importing.commands:prepare_import",
            "Check a manifest and cut it for the cloud import.",
        ),
        "sample-manifest": Subcommand(
            "secretfree_cli.importing.commands:sample_manifest", "Make a manifest of sample devices, in any format."
        ),
        "plan": Subcommand("secretfree_cli.plan.commands:plan", "Plan capacity: what a fleet needs of the quotas."),
    }
)


class LazyGroup(click.Group):
    """A group that imports a subcommand's module when that subcommand is used, and no other.

    So one room's missing dependency never breaks the others, and `secretfree --help` imports no AWS SDK.
    """

    def __init__(self, *args: Any, subcommands: Mapping[str, Subcommand], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._subcommands = subcommands

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table, leaving out rooms that this installation has not."""
        present = [name for name, subcommand in self._subcommands.items() if _is_installed(subcommand)]
        return [*present, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the subcommand, or None where there is none of that name."""
        subcommand = self._subcommands.get(cmd_name)
        if subcommand is None or not _is_installed(subcommand):
            return super().get_command(ctx, cmd_name)
        return _load(cmd_name, subcommand)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview from the table, so that it costs no import."""
        rows = [(name, self._subcommands[name].summary) for name in self.list_commands(ctx)]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; what AWS answers with becomes one line, not a traceback."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            explained = _explain_aws_error(error)
            if explained is None:
                raise
            raise explained from error


@click.group(
    cls=LazyGroup,
    subcommands=SUBCOMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(metadata.version("cdk-iot-secretfree"), prog_name="secretfree")
def main() -> None:
    """Provision IoT devices that carry no secret: enrol public keys, run the cloud, be a device."""


def _is_installed(subcommand: Subcommand) -> bool:
    module = subcommand.location.partition(":")[0]
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package around the module is not there either
        return False


def _load(name: str, subcommand: Subcommand) -> click.Command:
    module_name, _, attribute = subcommand.location.partition(":")
    try:
        command = getattr(import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        raise CliError(
            f"`secretfree {name}` needs the Python package {error.name!r}, which is not installed",
            hint=f"pip install 'cdk-iot-secretfree[{subcommand.extra}]'",
        ) from error
    if not isinstance(command, click.Command):
        raise TypeError(f"{subcommand.location} is {type(command).__name__}, not a click command")
    return command


def _explain_aws_error(error: Exception) -> CliError | None:
    """Return the operator's version of a botocore error, or None for any other. Never imports botocore itself."""
    exceptions = sys.modules.get("botocore.exceptions")
    if exceptions is None:
        return None
    if isinstance(error, exceptions.ClientError):
        details = error.response.get("Error", {})
        request = error.response.get("ResponseMetadata", {}).get("RequestId", "-")
        code, message = details.get("Code", "unknown"), details.get("Message", "")
        missing = code == "ResourceNotFoundException"
        return CliError(
            f"{error.operation_name}: {code}: {message} (request {request})",
            exit_code=ExitCode.NOT_FOUND if missing else ExitCode.FAILURE,
        )
    hints = {
        exceptions.NoCredentialsError: "set AWS_PROFILE or give --profile, or use --local",
        exceptions.PartialCredentialsError: "set AWS_PROFILE or give --profile, or use --local",
        exceptions.NoRegionError: "give --region, or set AWS_REGION",
        exceptions.EndpointConnectionError: "for the local cloud: `secretfree local status`, `secretfree local up`",
    }
    if isinstance(error, exceptions.BotoCoreError):
        return CliError(str(error), hint=hints.get(type(error)))
    return None


if __name__ == "__main__":
    main()
