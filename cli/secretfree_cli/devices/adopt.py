"""`secretfree adopt`: sets the thing type of this product line on the things of an earlier deployment."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, TypeAlias

import click
from botocore.exceptions import ClientError
from secretfree.adapters.certificates import key_fingerprint
from secretfree.registry.admission import Refusal, RowRefused
from secretfree.registry.device import EnrolledDevice
from secretfree.registry.key_material.keys import refusing_rows

from secretfree_cli.command_line import command
from secretfree_cli.devices.iot_view import unless_missing
from secretfree_cli.devices.listing import Criteria, Listing
from secretfree_cli.importing.options import device_id_of
from secretfree_cli.importing.run import registry_of
from secretfree_cli.output import CliError, ExitCode, emit_fields, emit_json_array, inline, json_option, note
from secretfree_cli.target import Target, target_options

_NO_LIMIT: Final = sys.maxsize
_ATTEMPTS: Final = 3
_IDS_PER_READ: Final = 100
_Chosen: TypeAlias = tuple[str, EnrolledDevice | None]
"""A device's id, and its record in the registry if there is one."""
_CHANGED_MEANWHILE: Final = frozenset({"VersionConflictException", "ResourceNotFoundException"})


class Adoption(StrEnum):
    """Outcome for one device."""

    ADOPTED = "adopted"
    OURS = "already-ours"
    NO_THING = "no-thing"
    OTHER_TYPE = "other-thing-type"
    OTHER_PRINCIPAL = "other-principal"
    NOT_ENROLLED = "not-enrolled"


_LEFT_ALONE: Final[Mapping[Adoption, str]] = {
    Adoption.OTHER_TYPE: "its thing has another type and stays unchanged",
    Adoption.OTHER_PRINCIPAL: "its thing has a certificate of another key, or a principal that is not a certificate, "
    "and stays unchanged: detach the principal if the thing is this device's",
    Adoption.NOT_ENROLLED: "the registry has no such device",
}


@command("adopt")
@click.argument("device_ids", nargs=-1, metavar="[DEVICE_ID...]")
@click.option("--batch", "batch_id", metavar="ID", help="The devices of this batch.")
@click.option("--all", "everything", is_flag=True, help="All enrolled devices.")
@click.option("--thing-type", metavar="NAME", help="Thing type of the product line.  [default: the stack's own]")
@click.option("--dry-run", is_flag=True, help="Check each thing, change nothing.")
@json_option
@target_options
def adopt(
    *,
    target: Target,
    device_ids: tuple[str, ...],
    batch_id: str | None,
    everything: bool,
    thing_type: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Set this product's thing type on things that an earlier deployment made without a type.

    The service uses only things of its own type: devices of other things get 409. The command never changes a thing of
    another type, or one with a certificate of another key than the device's in the registry. Exit code: 0 no thing was
    skipped for such a reason, 3 some were, 5 all were.
    """
    if sum((bool(device_ids), batch_id is not None, everything)) != 1:
        raise click.UsageError("pass DEVICE_ID..., --batch or --all")
    name = thing_type or target.thing_type
    if name is None:
        raise click.UsageError("the target has no output ThingTypeName: --thing-type is required")
    if device_ids:
        chosen = _named(target, [device_id_of(target, given) for given in device_ids])
    else:
        found = Listing(target).devices(Criteria(batch=batch_id), limit=_NO_LIMIT)
        chosen = ((device.device_id, device) for device in found)
    things = _Things(target.client("iot"), name, dry_run=dry_run)
    counts: Counter[Adoption] = Counter()
    _show(_outcomes(things, chosen, counts), counts, name, dry_run=dry_run, as_json=as_json)
    foreign = sum(counts[outcome] for outcome in _LEFT_ALONE)
    if foreign:
        sys.exit(ExitCode.REFUSED if foreign == counts.total() else ExitCode.PARTLY_REFUSED)


def _named(target: Target, device_ids: Sequence[str]) -> Iterator[_Chosen]:
    registry = registry_of(target)
    for first in range(0, len(device_ids), _IDS_PER_READ):
        ids = device_ids[first : first + _IDS_PER_READ]
        found = registry.read(ids)
        yield from ((device_id, found.get(device_id)) for device_id in ids)


def _outcomes(things: _Things, chosen: Iterator[_Chosen], counts: Counter[Adoption]) -> Iterator[dict[str, str]]:
    for device_id, device in chosen:
        outcome = Adoption.NOT_ENROLLED if device is None else things.adopt(device)
        counts[outcome] += 1
        yield {"deviceId": device_id, "outcome": outcome.value}


def _show(
    outcomes: Iterator[dict[str, str]], counts: Counter[Adoption], thing_type: str, *, dry_run: bool, as_json: bool
) -> None:
    if as_json:
        emit_json_array("devices", outcomes, lambda: {"dryRun": dry_run, "thingType": thing_type, "counts": counts})
        return
    for row in outcomes:
        outcome = Adoption(row["outcome"])
        if outcome in _LEFT_ALONE:
            note(f"{inline(row['deviceId'])}: {_LEFT_ALONE[outcome]}")
    if dry_run:
        note("dry run: nothing was changed")
    emit_fields({outcome.value: number for outcome, number in counts.items()})


class _Things:
    def __init__(self, client: Any, thing_type: str, *, dry_run: bool) -> None:
        self._client = client
        self._thing_type = thing_type
        self._dry_run = dry_run
        if unless_missing(lambda: client.describe_thing_type(thingTypeName=thing_type)) is None:
            raise CliError(
                f"IoT Core has no thing type {thing_type!a}", hint="--thing-type", exit_code=ExitCode.NOT_FOUND
            )

    def adopt(self, device: EnrolledDevice) -> Adoption:
        """Set the thing's type if it has none; safe to repeat.

        A thing may have a device's name by chance and belong to another application. So each attached certificate must
        have the device's key, or a former key of the device. A thing without a certificate, and a thing whose device
        has no key in the registry (MatchPolicy.UDID), is adopted by its name. UpdateThing is conditional on the version
        that was read. If the thing was changed in between, it is read and checked again.
        """
        device_id = device.device_id
        for _ in range(_ATTEMPTS):
            thing = unless_missing(lambda: self._client.describe_thing(thingName=device_id))
            if thing is None:
                return Adoption.NO_THING
            current = thing.get("thingTypeName")
            if current:
                return Adoption.OURS if current == self._thing_type else Adoption.OTHER_TYPE
            if device.holds_key and not self._has_only_principals_of(device):
                return Adoption.OTHER_PRINCIPAL
            if self._dry_run or self._give_type(device_id, thing["version"]):
                return Adoption.ADOPTED
        raise CliError(f"the thing {device_id} changed {_ATTEMPTS} times while it was adopted", hint="try again")

    def _has_only_principals_of(self, device: EnrolledDevice) -> bool:
        keys = {one.fingerprint for one in (device, *device.former)}
        return all(self._key_of(arn) in keys for arn in self._principals(device.device_id))

    def _principals(self, thing_name: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_thing_principals").paginate(thingName=thing_name)
        return (arn for page in pages for arn in page["principals"])

    def _key_of(self, principal: str) -> str:
        """Return the fingerprint of a certificate's key; an empty text if it cannot be read."""
        certificate_id = principal.rpartition(":cert/")[2]
        if certificate_id == principal:
            return ""
        described = self._client.describe_certificate(certificateId=certificate_id)
        try:
            with refusing_rows(Refusal.MALFORMED_ROW, "not a certificate that can be read"):
                return key_fingerprint(described["certificateDescription"]["certificatePem"])
        except RowRefused:
            return ""

    def _give_type(self, device_id: str, version: int) -> bool:
        """Return False if the thing was changed or deleted since that version."""
        try:
            self._client.update_thing(thingName=device_id, thingTypeName=self._thing_type, expectedVersion=version)
        except ClientError as error:
            if error.response["Error"].get("Code") not in _CHANGED_MEANWHILE:
                raise
            return False
        return True
