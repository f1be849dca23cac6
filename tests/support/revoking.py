"""The operator's changes of the registry as its stream delivers them, and the revoker that deals with them."""

from dataclasses import dataclass, field
from typing import Any

from secretfree.adapters.authority_revocation import RevokingAuthorities
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.adapters.dynamodb.registry import DynamoDbRegistry
from secretfree.adapters.dynamodb.registry_stream import change_of
from secretfree.adapters.iot_connections import IotConnections
from secretfree.adapters.iot_core import IotCertificates
from secretfree.revocation.ports import RevocationPorts
from secretfree.revocation.revoking import Revoked, revoke_withdrawn
from support.fake_cloud import CA_ARN
from support.world import World, verified_csr


@dataclass
class Revoker:
    """`stream`: the changes that were not delivered yet, oldest first."""

    world: World
    authorities: tuple[str, ...] = (CA_ARN,)
    stream: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        client = self.world.cloud.client
        self.ports = RevocationPorts(
            registry=DynamoDbRegistry(client("dynamodb"), table="registry"),
            ledger=DynamoDbLedger(client("dynamodb"), table=self.world.ledger, announcing=self.world.announcing),
            certificates=IotCertificates(client("iot")),
            connections=IotConnections(client("iot-data")),
            authorities=RevokingAuthorities(self.world.cloud.authority_client, self.authorities),
        )

    def enrol(self, device: str = "widget-1", key: int = 0, **attributes: str) -> None:
        """Write the device's item."""
        before = self.world.cloud.registry.get(device)
        self.world.cloud.enroll(device, verified_csr(device, key).public_key.fingerprint, **attributes)
        self.changed(device, before)

    def block(self, device: str = "widget-1", key: int = 0) -> None:
        self.enrol(device, key, status="blocked")

    def remove(self, device: str = "widget-1") -> None:
        self.changed(device, self.world.cloud.registry.pop(device))

    def deliver(self, record: dict[str, Any] | None = None) -> Revoked:
        """Deal with `record`, or with the oldest change."""
        given = self.stream.pop(0) if record is None else record
        change = change_of(given)
        assert change is not None
        return revoke_withdrawn(change, ports=self.ports, match=self.world.match, clock=self.world.clock)

    def changed(self, device: str, before: dict[str, Any] | None) -> None:
        """Put the change from `before` to what the registry has now into the stream."""
        after = self.world.cloud.registry.get(device)
        if before is None or before == after:  # the mapping's filter passes over inserts; DynamoDB over no change
            return
        images = {"OldImage": before} | ({"NewImage": after} if after is not None else {})
        now = float(int(self.world.clock.now().timestamp()))
        keys = {"device-id": {"S": device}}
        self.stream.append({"dynamodb": {"Keys": keys, "ApproximateCreationDateTime": now, **images}})
