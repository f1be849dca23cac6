"""The local cloud as a whole: up, down, and the deployments in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress

from secretfree_cli.local import regions, servers
from secretfree_cli.local.bootstrap import ensure_bootstrap
from secretfree_cli.local.clients import local_client
from secretfree_cli.local.deployment import Deployment, deploy, end_deployment
from secretfree_cli.local.emulators import cloudformation_inert
from secretfree_cli.local.interruption import undisturbed
from secretfree_cli.local.state import CloudRecord, StateFolder, write_private_file
from secretfree_cli.output import CliError, note

Tell = Callable[[str], None]


def bring_up(folder: StateFolder, *, wanted: Sequence[str] = (), tell: Tell = note) -> tuple[CloudRecord, bool]:
    """Start the servers and return the first Region's record, and whether the cloud was up already.

    `wanted`: the Regions. The default is those of the last `up`, otherwise one. Remaining processes of an earlier cloud
    are ended first, and a stopped Region is started again. After any failure, Ctrl-C included, the started servers are
    stopped.
    """
    names = tuple(wanted) or folder.regions() or (servers.DEFAULT_REGION,)
    record = folder.read()
    if record is not None and any(one.is_up for one in records(folder)):
        running = record.regions or (record.region,)
        if wanted and running != tuple(wanted):
            raise CliError(
                f"a local cloud of {', '.join(running)} is up in {folder.project}", hint="`secretfree local down`"
            )
        missing = [one.region for one in records(folder) if not one.is_up]
        for region in missing:
            start_region(folder, region, tell=tell)
        return folder.require_up(), not missing
    if record is not None:
        tell("ending the remaining processes of an earlier local cloud")
        end_deployment(folder)
        for one in records(folder):
            regions.stop(one.processes)
        _forget(folder)
    folder.create()
    folder.remember(regions=list(names))
    every = [(name, folder.of_region(name)) for name in names]
    for _, own in every:
        own.create()
    tell("starting the AWS emulator and the Private CA emulator")
    try:
        key = servers.AccessKey.random()
        places = regions.places(every)
        started = [regions.start(place, key) for place in places]
        finished = [regions.finish(place, one) for place, one in zip(places, started, strict=True)]
    except BaseException:
        bring_down(folder)
        raise
    return finished[0], False


def records(folder: StateFolder) -> list[CloudRecord]:
    """Return the record of each Region of the last `up`, the first Region's first; a Region may be down."""
    return [record for own in _folders(folder) if (record := own.read()) is not None]


def stop_region(folder: StateFolder, region: str) -> bool:
    """Stop one Region's servers, to simulate the loss of the Region. Returns whether it was up.

    Their data is kept. `start_region` and `bring_up` start them again.
    """
    record = folder.of_region(region).read()
    if record is None or not record.regions:
        raise CliError("the local cloud has no other Region", hint="`secretfree local down` stops it")
    with undisturbed():
        return regions.stop(record.processes)


def start_region(folder: StateFolder, region: str, *, tell: Tell = note) -> CloudRecord:
    """Start one Region's servers again, at the same addresses."""
    own = folder.of_region(region)
    record = own.read()
    if record is None or not record.regions:
        raise CliError("the local cloud has no other Region", hint="`secretfree local up`")
    if record.is_up:
        return record
    tell(f"starting Region {region}")
    regions.stop(record.processes)
    place = regions.place_again(region, own, folder)
    key = servers.AccessKey(record.access_key_id, record.secret_access_key)
    try:
        return regions.finish(place, regions.start(place, key))
    except BaseException:
        left = own.read()
        regions.stop(left.processes if left is not None else ())
        raise


def deploy_into(
    folder: StateFolder, deployment: Deployment, *, verbose: bool = False, tell: Tell = note
) -> CloudRecord:
    """Deploy an app into the running cloud; its stack becomes the default stack of commands, if there was none.

    With several Regions, each stack is deployed into its own Region, in the order of the Regions.
    """
    record = folder.require_up()
    every = [folder.of_region(name).require_up() for name in record.regions] or [record]
    for one in every:
        ensure_bootstrap(
            local_client(one, "cloudformation"),
            account=one.account,
            region=one.region,
            qualifier=deployment.bootstrap_qualifier,
        )
    tell(f"deploying {deployment.app} with the CDK CLI")
    deployed = deploy(deployment, every, folder, verbose=verbose)
    for one, names in zip(every, deployed, strict=True):
        _keep_ca_certificates(one)
        if ignored := without_effect(one, names):
            tell(f"accepted without effect in the local cloud: {', '.join(ignored)}")
        if names and one.stack_name is None:
            folder.of_region(one.region).set_stack_name(names[0])
    tell(f"deployed {', '.join(name for names in deployed for name in names) or 'stacks without outputs'}")
    return folder.require_up()


def bring_down(folder: StateFolder, *, forget_data: bool = False) -> bool:
    """Stop the servers and their children; return whether there were any. `forget_data` also removes the data."""
    with undisturbed():
        end_deployment(folder)
        stopped = [regions.stop(record.processes) for record in records(folder)]
        _forget(folder)
    if forget_data:
        for name in ("data", "cdk.out", "regions"):
            shutil.rmtree(folder.root / name, ignore_errors=True)
        folder.remember(regions=[])
        folder.replication_lag.unlink(missing_ok=True)
    return any(stopped)


def set_replication_lag(folder: StateFolder, seconds: float) -> None:
    """Set the delay of a global table's writes to other Regions, from now on."""
    running = next((record for record in records(folder) if record.is_up), None) or folder.require_up()
    if not running.regions:
        raise CliError("the local cloud has one Region", hint="`secretfree local up --region ... --region ...`")
    write_private_file(folder.replication_lag, f"{seconds}\n")


def _forget(folder: StateFolder) -> None:
    for own in _folders(folder):
        own.forget()
        shutil.rmtree(own.scratch, ignore_errors=True)


def _folders(folder: StateFolder) -> list[StateFolder]:
    """The folder of each Region, or only the first one's if no `up` recorded Regions."""
    return [folder.of_region(region) for region in folder.regions()] or [folder]


def without_effect(record: CloudRecord, stacks: Sequence[str]) -> list[str]:
    """Return the types of these stacks' resources that have no effect in the local cloud.

    A deleted stack has none: an app's own deployment may end with removed stacks.
    """
    cloudformation = local_client(record, "cloudformation")
    pages = cloudformation.get_paginator("list_stack_resources")
    found = set()
    for stack in stacks:
        with suppress(cloudformation.exceptions.ClientError):
            for page in pages.paginate(StackName=stack):
                found |= {resource["ResourceType"] for resource in page["StackResourceSummaries"]}
    return sorted(found & cloudformation_inert.TYPES.keys())


def _keep_ca_certificates(record: CloudRecord) -> None:
    """Write the certificate of each active Private CA to a file, for clients that verify a device's certificate."""
    client = local_client(record, "acm-pca")
    for page in client.get_paginator("list_certificate_authorities").paginate():
        for authority in page["CertificateAuthorities"]:
            if authority["Status"] == "ACTIVE":
                answer = client.get_certificate_authority_certificate(CertificateAuthorityArn=authority["Arn"])
                write_private_file(record.certificate_of(authority["Arn"]), answer["Certificate"].strip() + "\n")
