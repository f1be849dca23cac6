"""The runtime's tables as the construct makes them, as arguments of `create_table`."""

from typing import Any

from secretfree.contract import LedgerAttribute, LedgerIndex, RegistryAttribute, RegistryIndex


def _key(partition: str, sort: str | None = None) -> list[dict[str, str]]:
    keys = [{"AttributeName": partition, "KeyType": "HASH"}]
    return keys if sort is None else [*keys, {"AttributeName": sort, "KeyType": "RANGE"}]


def _index(name: str, partition: str, sort: str | None = None) -> dict[str, Any]:
    return {"IndexName": name, "KeySchema": _key(partition, sort), "Projection": {"ProjectionType": "KEYS_ONLY"}}


REGISTRY_TABLE: Any = {
    "TableName": "registry",
    "BillingMode": "PAY_PER_REQUEST",
    "KeySchema": _key(RegistryAttribute.DEVICE_ID),
    "AttributeDefinitions": [
        {"AttributeName": RegistryAttribute.DEVICE_ID, "AttributeType": "S"},
        {"AttributeName": RegistryAttribute.KEY_FINGERPRINT, "AttributeType": "S"},
    ],
    "GlobalSecondaryIndexes": [_index(RegistryIndex.KEY, RegistryAttribute.KEY_FINGERPRINT)],
}
LEDGER_TABLE: Any = {
    "TableName": "ledger",
    "BillingMode": "PAY_PER_REQUEST",
    "KeySchema": _key(LedgerAttribute.DEVICE_ID, LedgerAttribute.RECORD),
    "AttributeDefinitions": [
        {"AttributeName": LedgerAttribute.DEVICE_ID, "AttributeType": "S"},
        {"AttributeName": LedgerAttribute.RECORD, "AttributeType": "S"},
        {"AttributeName": LedgerAttribute.PENDING, "AttributeType": "S"},
        {"AttributeName": LedgerAttribute.LEASE_EXPIRES, "AttributeType": "N"},
        {"AttributeName": LedgerAttribute.ENDING, "AttributeType": "S"},
        {"AttributeName": LedgerAttribute.ENDS_AT, "AttributeType": "N"},
    ],
    "GlobalSecondaryIndexes": [
        _index(LedgerIndex.PENDING, LedgerAttribute.PENDING, LedgerAttribute.LEASE_EXPIRES),
        _index(LedgerIndex.ENDING, LedgerAttribute.ENDING, LedgerAttribute.ENDS_AT),
    ],
}
