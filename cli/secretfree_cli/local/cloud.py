"""The local cloud as a whole: up, down, and the deployments in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from secretfree_cli.local import servers
from secretfree_cli.local.bootstrap import ensure_bootstrap
from secretfree_cli.local.deployment import Deployment, deploy
from secretfree_cli.local.interruption import undisturbed
from secretfree_cli.local.processes import ServerProcess
from secretfree_cli.local.root_authority import ensure_root_authority
from secretfree_cli.local.state import CloudRecord, StateFolder, write_private_file
from secretfree_cli.output import note

Tell = Callable[[str], None]
_COMPLETE = ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"]


def bring_up(folder: StateFolder, *, tell: Tell = note) -> tuple[CloudRecord, bool]:
    """Start the servers and return the cloud's record, and whether it was up already.

    Leftovers of a cloud that died are ended first. On any failure, Ctrl-C included, what was started is stopped.
    """
    record = folder.read()
    if record is not None and record.is_up:
        return record, True
    if record is not None:
        tell("ending what is left of an earlier local cloud")
        _stop(record.processes)
        folder.forget()
    folder.create()
    ports = servers.choose_ports(folder)
    tell("starting the AWS emulator and the Private CA emulator")
    try:
        record = _start_servers(folder, ports)
        private_ca, aws = record.processes
        servers.await_ready(private_ca, lambda: servers.private_ca_ready(ports))
        servers.await_ready(aws, lambda: servers.aws_emulator_ready(ports))
        record = _prepare(folder, ports, record)
    except BaseException:
        bring_down(folder)
        raise
    return record, False


def deploy_into(
    folder: StateFolder, deployment: Deployment, *, verbose: bool = False, tell: Tell = note
) -> CloudRecord:
    """Deploy an app into the running cloud; its stack becomes the one that commands mean, if there was none."""
    record = folder.require_up()
    ensure_bootstrap(
        local_client(record, "cloudformation"),
        account=record.account,
        region=record.region,
        qualifier=deployment.bootstrap_qualifier,
    )
    tell(f"deploying {deployment.app} with the CDK CLI")
    names = deploy(deployment, record, folder, verbose=verbose)
    _keep_ca_certificates(record)
    tell(f"deployed {', '.join(names) or 'stacks without outputs'}")
    if names and record.stack_name is None:
        return folder.set_stack_name(names[0])
    return record


def bring_down(folder: StateFolder, *, forget_data: bool = False) -> bool:
    """Stop the servers and their children; return whether there were any. `forget_data` also removes the data."""
    with undisturbed():
        record = folder.read()
        stopped = _stop(record.processes) if record is not None else False
        folder.forget()
        shutil.rmtree(folder.scratch, ignore_errors=True)
    if forget_data:
        shutil.rmtree(folder.data, ignore_errors=True)
        shutil.rmtree(folder.root / "cdk.out", ignore_errors=True)
    return stopped


def local_client(record: CloudRecord, service: str) -> Any:
    """Return a boto3 client of the local cloud with the operator's key."""
    endpoint = record.private_ca_endpoint_url if service == "acm-pca" else record.endpoint_url
    session = boto3.Session(
        aws_access_key_id=record.access_key_id,
        aws_secret_access_key=record.secret_access_key,
        region_name=record.region,
    )
    return session.client(service, endpoint_url=endpoint, config=Config(connect_timeout=5, read_timeout=30))  # type: ignore[call-overload]


def _start_servers(folder: StateFolder, ports: servers.Ports) -> CloudRecord:
    """Start each server and record it at once, so that it is found even if this command is killed."""
    key = servers.AccessKey.random()
    record = CloudRecord(
        endpoint_url=servers.endpoint_url(ports.gateway),
        private_ca_endpoint_url=servers.endpoint_url(ports.private_ca),
        region=servers.REGION,
        account=servers.ACCOUNT,
        access_key_id=key.id,
        secret_access_key=key.secret,
        mqtt_host=servers.LOOPBACK,
        mqtt_port=ports.mqtt,
        broker_ca=str(folder.certificates / "broker-ca.pem"),
        ca_certificate=str(folder.certificates / "device-ca.pem"),
        authority_arn="",
        processes=(),
    )
    for start in (servers.start_private_ca, servers.start_aws_emulator):
        with undisturbed():  # between start and record a server could not be found again
            record = replace(record, processes=(*record.processes, start(folder, ports, key)))
            folder.write(record)
    return record


def _prepare(folder: StateFolder, ports: servers.Ports, record: CloudRecord) -> CloudRecord:
    """Make the root CA, keep the certificates that clients trust, and record that the cloud is up."""
    arn, certificate = ensure_root_authority(local_client(record, "acm-pca"))
    write_private_file(Path(record.ca_certificate), certificate.strip() + "\n")
    write_private_file(Path(record.broker_ca), servers.fetch_broker_ca(ports))
    record = replace(record, authority_arn=arn, stack_name=_surviving_stack(folder, record))
    folder.write(record)
    return record


def _keep_ca_certificates(record: CloudRecord) -> None:
    """Write the certificate of each active Private CA to a file, for clients that verify a device's certificate."""
    client = local_client(record, "acm-pca")
    for page in client.get_paginator("list_certificate_authorities").paginate():
        for authority in page["CertificateAuthorities"]:
            if authority["Status"] == "ACTIVE":
                answer = client.get_certificate_authority_certificate(CertificateAuthorityArn=authority["Arn"])
                write_private_file(record.certificate_of(authority["Arn"]), answer["Certificate"].strip() + "\n")


def _surviving_stack(folder: StateFolder, record: CloudRecord) -> str | None:
    """Return the default stack of before `down`, if the emulator's data still has it."""
    name = folder.recall().get("stackName")
    stacks = local_client(record, "cloudformation").list_stacks(StackStatusFilter=_COMPLETE)["StackSummaries"]
    return name if any(stack["StackName"] == name for stack in stacks) else None


def _stop(processes: tuple[ServerProcess, ...]) -> bool:
    stopped = [process.stop() for process in reversed(processes)]  # every one, not up to the first
    return any(stopped)
