"""The chains in a table: one item for each, with the chain's digest in its key, so that it never changes or expires.

No device has such a partition key, because a device id has no `#`. The items of devices name a chain by its digest. An
item has the text itself if it was written before chains had items, or while the chain could not be stored.
"""

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any, Final

from secretfree.adapters.aws_errors import aws_call
from secretfree.contract import LedgerAttribute, LedgerRecord
from secretfree.issuance.chains import Chain

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_TEXT: Final = "certificate-chain"
_DIGEST: Final = "chain-digest"


class StoredChains:
    """The chains of one table. A worker asks the table for each chain once."""

    def __init__(self, client: "DynamoDBClient", *, table: str) -> None:
        self._client = client
        self._table = table
        self._texts: dict[str, str] = {}

    @property
    def known(self) -> Container[str]:
        """The digests of the chains that this worker knows to be in the table."""
        return self._texts.keys()

    def text(self, digest: str) -> str | None:
        """The chain's text; None if the item is missing or has another text. GetItem, consistent."""
        known = self._texts.get(digest)
        if known is not None:
            return known
        with aws_call():
            answer = self._client.get_item(TableName=self._table, Key=_key(digest), ConsistentRead=True)
        text = answer.get("Item", {}).get(_TEXT, {}).get("S")
        if text is None or Chain.of(text).digest != digest:
            return None
        self._texts[digest] = text
        return text

    def keep(self, chain: Chain) -> None:
        """Store the chain if the table does not have it. Two workers that do so at once write the same item.

        The read comes first: an item takes 1,000 writes a second, and a storm begins with as many new workers.
        """
        if chain.pem is None or self.text(chain.digest) is not None:
            return
        item: dict[str, Any] = {**_key(chain.digest), _TEXT: {"S": chain.pem}}
        with aws_call():
            self._client.put_item(TableName=self._table, Item=item)
        self._texts[chain.digest] = chain.pem


def chain_attributes(chain: Chain | None, stored: Container[str]) -> dict[str, Any]:
    """The attributes of an item that name `chain`. `stored`: the digests of the chains that have an item."""
    if chain is None:
        return {}
    if chain.pem is None or chain.digest in stored:
        return {_DIGEST: {"S": chain.digest}}
    return {_TEXT: {"S": chain.pem}}


def chain_of(item: Mapping[str, Any]) -> Chain | None:
    """The chain that an item names or has."""
    if _DIGEST in item:
        return Chain(digest=str(item[_DIGEST]["S"]))
    return Chain.of(str(item[_TEXT]["S"])) if _TEXT in item else None


def _key(digest: str) -> dict[str, Any]:
    return {
        LedgerAttribute.DEVICE_ID.value: {"S": LedgerRecord.CHAIN + digest},
        LedgerAttribute.RECORD.value: {"S": LedgerRecord.CHAIN.value},
    }
