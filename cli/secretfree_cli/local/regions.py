"""The Regions of one local cloud: each has its own AWS emulator and Private CA emulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from secretfree_cli.local import servers
from secretfree_cli.local.clients import local_client
from secretfree_cli.local.interruption import undisturbed
from secretfree_cli.local.processes import ServerProcess
from secretfree_cli.local.root_authority import ensure_root_authority
from secretfree_cli.local.servers import AccessKey, Place
from secretfree_cli.local.state import CloudRecord, StateFolder, write_private_file
from secretfree_cli.local.tls_certificate import ensure_tls_certificate
from secretfree_cli.output import CliError

_COMPLETE = ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"]


def places(folders: Sequence[tuple[str, StateFolder]]) -> list[Place]:
    """Return each Region with its ports and those of the others."""
    ports = servers.choose_ports([folder for _, folder in folders])
    chosen = {region: one for (region, _), one in zip(folders, ports, strict=True)}
    return [
        Place(region, folder, chosen[region], {name: one for name, one in chosen.items() if name != region})
        for region, folder in folders
    ]


def place_again(region: str, own: StateFolder, cloud: StateFolder) -> Place:
    """Return the place of a stopped Region, with its former ports.

    Raises: CliError if another program has taken a port meanwhile.
    """
    known = {name: servers.Ports(**cloud.of_region(name).recall()["ports"]) for name in cloud.regions()}
    if servers.choose_ports([own]) != [known[region]]:
        own.remember(ports=asdict(known[region]))
        raise CliError(
            f"another program has taken a port of Region {region}",
            hint="`secretfree local down`, then `secretfree local up`",
        )
    return Place(region, own, known[region], {name: ports for name, ports in known.items() if name != region})


def start(place: Place, key: AccessKey) -> CloudRecord:
    """Start a Region's servers and record each at once, so that `down` finds it even if this command is killed."""
    ports, folder = place.ports, place.folder
    record = CloudRecord(
        endpoint_url=servers.endpoint_url(ports.gateway),
        private_ca_endpoint_url=servers.endpoint_url(ports.private_ca),
        region=place.region,
        account=servers.ACCOUNT,
        access_key_id=key.id,
        secret_access_key=key.secret,
        mqtt_host=servers.LOOPBACK,
        mqtt_port=ports.mqtt,
        broker_ca=str(folder.certificates / "broker-ca.pem"),
        tls_url=f"https://localhost:{ports.tls}",
        tls_ca=str(folder.certificates / "tls-ca.pem"),
        ca_certificate=str(folder.certificates / "device-ca.pem"),
        authority_arn="",
        processes=(),
        regions=folder.regions() if place.others else (),
    )
    ensure_tls_certificate(Path(record.tls_ca), folder.tls_server)
    for start_one in (servers.start_private_ca, servers.start_aws_emulator):
        with undisturbed():  # Between start and record, a server could not be found again.
            record = replace(record, processes=(*record.processes, start_one(place, key)))
            folder.write(record)
    return record


def finish(place: Place, record: CloudRecord) -> CloudRecord:
    """Wait for the servers, create the root CA, write the certificates for clients, and record the Region as up."""
    private_ca, aws = record.processes
    servers.await_ready(private_ca, lambda: servers.private_ca_ready(place.ports))
    servers.await_ready(aws, lambda: servers.aws_emulator_ready(place.ports))
    arn, certificate = ensure_root_authority(local_client(record, "acm-pca"))
    write_private_file(Path(record.ca_certificate), certificate.strip() + "\n")
    write_private_file(Path(record.broker_ca), servers.fetch_broker_ca(place.ports))
    record = replace(record, authority_arn=arn, stack_name=_surviving_stack(place.folder, record))
    place.folder.write(record)
    return record


def stop(processes: Sequence[ServerProcess]) -> bool:
    """End a Region's servers. Returns whether there were any."""
    stopped = [process.stop() for process in reversed(processes)]  # A list, so that all of them are stopped.
    return any(stopped)


def _surviving_stack(folder: StateFolder, record: CloudRecord) -> str | None:
    """Return the default stack before the last `down`, if it still exists in the emulator."""
    name = folder.recall().get("stackName")
    stacks = local_client(record, "cloudformation").list_stacks(StackStatusFilter=_COMPLETE)["StackSummaries"]
    return name if any(stack["StackName"] == name for stack in stacks) else None
