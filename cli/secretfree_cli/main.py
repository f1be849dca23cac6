"""The command `secretfree`: its subcommands by name, each imported only when it runs or shows its help."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from types import MappingProxyType

import click

from secretfree_cli.command_line import LazyGroup, Subcommand

SUBCOMMANDS: Mapping[str, Subcommand] = MappingProxyType(
    {
        "local": Subcommand(
            "secretfree_cli.local.commands:local", "Run a local cloud on this machine, without an AWS account.", "local"
        ),
        "demo": Subcommand(
            "secretfree_cli.demo.commands:demo", "Deploy locally, provision devices, see every clone refused.", "local"
        ),
        "device": Subcommand(
            "secretfree_cli.device.commands:device", "Simulate a device: make a key, provision, connect, publish."
        ),
        "check-csr": Subcommand(
            "secretfree_cli.device.check_csr:check_csr", "Check whether a CSR passes, and name the element that fails."
        ),
        "enroll": Subcommand(
            "secretfree_cli.importing.commands:enroll", "Enrol devices from files, a UART, a scanner or pictures."
        ),
        "list": Subcommand("secretfree_cli.devices.commands:list_devices", "List enrolled devices."),
        "show": Subcommand("secretfree_cli.devices.commands:show", "Show one device and its certificates."),
        "block": Subcommand("secretfree_cli.devices.blocking:block", "Refuse devices from now on."),
        "unblock": Subcommand("secretfree_cli.devices.blocking:unblock", "Allow blocked devices again."),
        "remove": Subcommand("secretfree_cli.devices.commands:remove", "Remove devices from the registry."),
        "retire": Subcommand(
            "secretfree_cli.devices.retire:retire", "Retire devices. History is kept, and ids stay reserved."
        ),
        "reissue": Subcommand(
            "secretfree_cli.devices.reissue:reissue", "Issue a new certificate at a device's next request."
        ),
        "renew": Subcommand("secretfree_cli.renewal.commands:renew", "Ask devices to renew their certificates now."),
        "adopt": Subcommand("secretfree_cli.devices.adopt:adopt", "Take over the things of an earlier deployment."),
        "export": Subcommand("secretfree_cli.devices.commands:export", "Write the registry to a file."),
        "index-keys": Subcommand(
            "secretfree_cli.devices.commands:index_keys", "Add key fingerprints to the devices of an older table."
        ),
        "stats": Subcommand("secretfree_cli.devices.commands:stats", "Count the registry by status and batch."),
        "batch": Subcommand("secretfree_cli.importing.batch_commands:batch", "List enrolment batches, or revert one."),
        "prepare-import": Subcommand(
            "secretfree_cli.importing.prepare_commands:prepare_import",
            "Check manifests and write them for DynamoDB's ImportTable.",
        ),
        "sample-manifest": Subcommand(
            "secretfree_cli.importing.prepare_commands:sample_manifest",
            "Make a manifest of sample devices, in any format.",
        ),
        "plan": Subcommand(
            "secretfree_cli.plan.commands:plan", "Plan capacity: the quotas and the time that a fleet needs.", "plan"
        ),
        "logs": Subcommand(
            "secretfree_cli.logs.commands:logs", "Show the log lines about a device, a request or a reason."
        ),
        "queue": Subcommand(
            "secretfree_cli.queue.commands:queue",
            "Show what waits: each issuer's queue of tickets, and the dead letters.",
        ),
        "expiring": Subcommand("secretfree_cli.expiry.commands:expiring", "List certificates and CAs that end soon."),
        "ca": Subcommand("secretfree_cli.authorities.commands:ca", "Show the CAs that sign devices, or distrust one."),
        "audit": Subcommand("secretfree_cli.audit.commands:audit", "Show a device's history from the audit trail."),
        "report": Subcommand(
            "secretfree_cli.report.commands:report", "Write the state of the product line as one HTML page."
        ),
        "diagnose": Subcommand(
            "secretfree_cli.diagnose.commands:diagnose", "Find out why a device has no certificate or cannot connect."
        ),
    }
)


@click.group(
    cls=LazyGroup,
    subcommands=SUBCOMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(metadata.version("cdk-iot-secretfree"), prog_name="secretfree")
def main() -> None:
    """Provision IoT devices that carry no secret: enrol public keys, run the cloud, simulate a device."""


if __name__ == "__main__":
    main()
