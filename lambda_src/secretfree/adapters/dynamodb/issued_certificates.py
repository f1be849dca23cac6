"""The ledger's records of single certificates, read only."""

from typing import TYPE_CHECKING

from secretfree.adapters.dynamodb.registry import unavailable
from secretfree.contract import LedgerRecord
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.ports import CertificateRecordState
from secretfree.request.device_id import DeviceId

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class DynamoDbIssuedCertificates:
    """Port `IssuedCertificates`."""

    def __init__(self, client: "DynamoDBClient", *, table: str) -> None:
        self._client = client
        self._table = table

    def state(self, device_id: DeviceId, certificate_id: str) -> CertificateRecordState | None:
        """One GetItem, consistent, so that a revocation counts at once."""
        with unavailable(Reason.LEDGER_UNAVAILABLE):
            answer = self._client.get_item(
                TableName=self._table,
                Key={"device-id": {"S": device_id}, "record": {"S": LedgerRecord.CERTIFICATE + certificate_id}},
                ConsistentRead=True,
                ProjectionExpression="#state",
                ExpressionAttributeNames={"#state": "state"},
            )
        if "Item" not in answer:
            return None
        state = answer["Item"].get("state", {}).get("S", "")
        try:
            return CertificateRecordState(state)
        except ValueError:
            detail = f"the record of certificate {certificate_id} has no known state"
            raise SecretFreeError(ErrorCode.INTERNAL, detail, reason=Reason.LEDGER_RECORD) from None
