"""A device that connects, the events that report it, and the retirer that deals with them."""

import json
from dataclasses import dataclass, field

from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.retirement.connected import Connected
from secretfree.retirement.retiring import RetirementPorts, retire_older
from support.world import World


def event_body(certificate_id: str, device: str = "widget-1") -> str:
    """What the topic rule sends for a connect."""
    return json.dumps({"clientId": device, "principalIdentifier": certificate_id, "timestamp": 1700000000000})


@dataclass
class Retirer:
    """`events`: the connects that were not delivered yet, oldest first."""

    world: World
    events: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        client = self.world.cloud.client("dynamodb")
        ledger = DynamoDbLedger(client, table=self.world.ledger, announcing=self.world.announcing)
        self.ports = RetirementPorts(ledger=ledger, things=self.world.things)

    def connect(self, certificate_id: str, device: str = "widget-1") -> bool:
        """The device connects with a certificate; whether AWS IoT Core lets it in."""
        certificate = self.world.cloud.certificates.get(certificate_id)
        if certificate is None or certificate.status != "ACTIVE" or not certificate.policies:
            return False
        self.events.append(event_body(certificate_id, device))
        return True

    def deliver(self, body: str | None = None) -> tuple[str, ...] | None:
        """Deal with `body`, or with the oldest event; as `retire_older`."""
        connected = Connected.from_message(self.events.pop(0) if body is None else body)
        assert connected is not None
        return retire_older(connected, ports=self.ports, clock=self.world.clock)
