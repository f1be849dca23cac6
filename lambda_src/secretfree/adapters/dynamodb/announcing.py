"""A Region's announcements to the others: the form of the items, and their part of the ledger's transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from secretfree.adapters.aws_errors import aws_call
from secretfree.adapters.dynamodb.dates import date_of, date_value
from secretfree.adapters.dynamodb.stored_chains import StoredChains, chain_attributes, chain_of
from secretfree.clock import Clock
from secretfree.contract import AnnouncementAttribute
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.following.announcement import Announcement
from secretfree.issuance.ports import CertificateRecordState
from secretfree.issuance.record import Issuance
from secretfree.request.device_id import DeviceId

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# An announcement is not needed after its certificate has expired. A Region that was unavailable for longer starts
# again.
_KEPT_FOR: Final = timedelta(days=90)


@dataclass(frozen=True, kw_only=True)
class Announcing:
    """The table of announcements, as an issuing Region uses it."""

    table: str
    region: str
    clock: Clock

    def put_of(self, issuance: Issuance, *, connected: bool = False) -> dict[str, Any] | None:
        """The transaction's Put that announces `issuance`; None if there is nothing to announce."""
        announcement = Announcement.of(issuance, region=self.region, now=self.clock.now(), connected=connected)
        return None if announcement is None else {"TableName": self.table, "Item": item_of(announcement)}


class DynamoDbAnnouncements:
    """Port `Announcements`."""

    def __init__(self, client: "DynamoDBClient", *, table: str) -> None:
        self._client = client
        self._table = table
        self._chains = StoredChains(client, table=table)

    def chain_text(self, digest: str) -> str | None:
        """GetItem, consistent in this Region; no call if this worker knows the chain."""
        return self._chains.text(digest)

    def of_device(self, device_id: DeviceId) -> Sequence[Announcement]:
        """Query, consistent. A device has one item for each Region and issuer, so one page holds all of them."""
        with aws_call():
            answer = self._client.query(
                TableName=self._table,
                KeyConditionExpression="#device = :device",
                ExpressionAttributeNames={"#device": AnnouncementAttribute.DEVICE_ID.value},
                ExpressionAttributeValues={":device": {"S": device_id}},
                ConsistentRead=True,
            )
        return [announcement_of(item) for item in answer["Items"]]


def item_of(announcement: Announcement) -> dict[str, Any]:
    """The item. Its key holds the Region, so that no two Regions write the same item."""
    item: dict[str, Any] = {
        AnnouncementAttribute.DEVICE_ID.value: {"S": str(announcement.device_id)},
        AnnouncementAttribute.RECORD.value: {"S": f"{announcement.region}#{announcement.issuer}"},
        AnnouncementAttribute.REGION.value: {"S": announcement.region},
        AnnouncementAttribute.EXPIRES_AT.value: {"N": str(int((announcement.not_after + _KEPT_FOR).timestamp()))},
        "issuer": {"S": announcement.issuer},
        "state": {"S": announcement.state.value},
        "withdrawn": {"BOOL": announcement.withdrawn},
        "connected": {"BOOL": announcement.connected},
        "key-fingerprint": {"S": announcement.fingerprint},
        "generation": {"N": str(announcement.generation)},
        "certificate-id": {"S": announcement.certificate_id},
        "certificate": {"S": announcement.certificate_pem},
        "reference": {"S": announcement.reference},
    }
    for name, moment in (
        ("not-after", announcement.not_after),
        ("begun-at", announcement.begun_at),
        ("announced-at", announcement.announced_at),
    ):
        item[name] = date_value(moment)
    return item | chain_attributes(
        announcement.chain, () if announcement.chain is None else (announcement.chain.digest,)
    )


def announcement_of(item: Mapping[str, Any]) -> Announcement:
    """The announcement of an item; SecretFreeError (`internal`) for a damaged one."""
    try:
        return Announcement(
            device_id=DeviceId.parse(item["device-id"]["S"]),
            issuer=item["issuer"]["S"],
            region=item["region"]["S"],
            state=CertificateRecordState(item["state"]["S"]),
            withdrawn=item["withdrawn"]["BOOL"],
            fingerprint=item["key-fingerprint"]["S"],
            generation=int(item["generation"]["N"]),
            certificate_id=item["certificate-id"]["S"],
            certificate_pem=item["certificate"]["S"],
            chain=chain_of(item),
            not_after=date_of(item, "not-after"),
            reference=item["reference"]["S"],
            begun_at=date_of(item, "begun-at"),
            announced_at=date_of(item, "announced-at"),
            connected="connected" in item and item["connected"]["BOOL"],
        )
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise SecretFreeError(
            ErrorCode.INTERNAL, f"no announcement: {type(error).__name__}", reason=Reason.LEDGER_RECORD
        ) from None
