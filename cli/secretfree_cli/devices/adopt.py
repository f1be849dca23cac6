"""`secretfree adopt`: give the things of an earlier deployment the thing type of this product line."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any, Final

import click
from botocore.exceptions import ClientError

from secretfree_cli.command_line import command
from secretfree_cli.devices.listing import Criteria, Listing
from secretfree_cli.importing.options import device_id_of
from secretfree_cli.output import CliError, ExitCode, emit_fields, emit_json_array, inline, json_option, note
from secretfree_cli.target import Target, target_options

_NO_LIMIT: Final = sys.maxsize
_ATTEMPTS: Final = 3
_CHANGED_MEANWHILE: Final = frozenset({"VersionConflictException", "ResourceNotFoundException"})


class Adoption(StrEnum):
    """Outcome for one device."""

    ADOPTED = "adopted"
    OURS = "already-ours"
    NO_THING = "no-thing"
    OTHER_TYPE = "other-thing-type"


@command("adopt")
@click.argument("device_ids", nargs=-1, metavar="[DEVICE_ID...]")
@click.option("--batch", "batch_id", metavar="ID", help="The devices of this batch.")
@click.option("--all", "everything", is_flag=True, help="All enrolled devices.")
@click.option("--thing-type", metavar="NAME", help="Thing type of the product line.  [default: the stack's own]")
@click.option("--dry-run", is_flag=True, help="Look at each thing, change nothing.")
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
    """Give this product's thing type to things that an earlier deployment made without a type.

    The service works on things of its own type only: to the devices of other things it answers 409. A thing of another
    type is never changed. Exit code: 0 no thing has another type, 3 some have, 5 all have.
    """
    if sum((bool(device_ids), batch_id is not None, everything)) != 1:
        raise click.UsageError("give DEVICE_ID..., --batch or --all")
    name = thing_type or target.thing_type
    if name is None:
        raise click.UsageError("the target has no output ThingTypeName: --thing-type is required")
    chosen: Iterator[str] = iter([device_id_of(target, given) for given in device_ids])
    if not device_ids:
        found = Listing(target).devices(Criteria(batch=batch_id), limit=_NO_LIMIT)
        chosen = (device.device_id for device in found)
    things = _Things(target.client("iot"), name, dry_run=dry_run)
    counts: Counter[Adoption] = Counter()
    _show(_outcomes(things, chosen, counts), counts, name, dry_run=dry_run, as_json=as_json)
    foreign = counts[Adoption.OTHER_TYPE]
    if foreign:
        sys.exit(ExitCode.REFUSED if foreign == counts.total() else ExitCode.PARTLY_REFUSED)


def _outcomes(things: _Things, device_ids: Iterator[str], counts: Counter[Adoption]) -> Iterator[dict[str, str]]:
    for device_id in device_ids:
        outcome = things.adopt(device_id)
        counts[outcome] += 1
        yield {"deviceId": device_id, "outcome": outcome.value}


def _show(
    outcomes: Iterator[dict[str, str]], counts: Counter[Adoption], thing_type: str, *, dry_run: bool, as_json: bool
) -> None:
    if as_json:
        emit_json_array("devices", outcomes, lambda: {"dryRun": dry_run, "thingType": thing_type, "counts": counts})
        return
    for row in outcomes:
        if row["outcome"] == Adoption.OTHER_TYPE:
            note(f"{inline(row['deviceId'])}: its thing has another type and is left alone")
    if dry_run:
        note("dry run: nothing was changed")
    emit_fields({outcome.value: number for outcome, number in counts.items()})


class _Things:
    def __init__(self, client: Any, thing_type: str, *, dry_run: bool) -> None:
        self._client = client
        self._thing_type = thing_type
        self._dry_run = dry_run
        if _unless_missing(lambda: client.describe_thing_type(thingTypeName=thing_type)) is None:
            raise CliError(
                f"IoT Core has no thing type {thing_type!a}", hint="--thing-type", exit_code=ExitCode.NOT_FOUND
            )

    def adopt(self, device_id: str) -> Adoption:
        """Give the thing the type if it has none; safe to repeat.

        UpdateThing names the version that was read. If the thing was changed in between, it is read and judged again.
        """
        for _ in range(_ATTEMPTS):
            thing = _unless_missing(lambda: self._client.describe_thing(thingName=device_id))
            if thing is None:
                return Adoption.NO_THING
            current = thing.get("thingTypeName")
            if current:
                return Adoption.OURS if current == self._thing_type else Adoption.OTHER_TYPE
            if self._dry_run or self._give_type(device_id, thing["version"]):
                return Adoption.ADOPTED
        raise CliError(f"the thing {device_id} changed {_ATTEMPTS} times while it was adopted", hint="try again")

    def _give_type(self, device_id: str, version: int) -> bool:
        """Return False if the thing was changed or deleted since that version."""
        try:
            self._client.update_thing(thingName=device_id, thingTypeName=self._thing_type, expectedVersion=version)
        except ClientError as error:
            if error.response["Error"].get("Code") not in _CHANGED_MEANWHILE:
                raise
            return False
        return True


def _unless_missing(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ClientError as error:
        if error.response["Error"].get("Code") != "ResourceNotFoundException":
            raise
    return None
