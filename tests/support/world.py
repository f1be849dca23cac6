"""One product line on the fake cloud: devices that ask, the issuers' pipeline, the sweeper, and the invariants."""

import itertools
import random
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from secretfree.adapters.dynamodb.announcing import Announcing
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.adapters.dynamodb.registry import DynamoDbRegistry
from secretfree.adapters.dynamodb.ticket_counter import DynamoDbTicketCounter
from secretfree.adapters.iot_core import IotCoreThings
from secretfree.adapters.issuers.iot_core import IotCoreIssuer, SearchBounds
from secretfree.adapters.issuers.private_ca import PrivateCaConfig, PrivateCaIssuer
from secretfree.config.issuers import SubjectConfig
from secretfree.contract import IssuerKind, MatchPolicy
from secretfree.errors import SecretFreeError
from secretfree.issuance.model import IssuancePolicy, IssuancePorts, IssuedCertificate, NotReady
from secretfree.issuance.pipeline import issue
from secretfree.issuance.rates import Congestion
from secretfree.issuance.sweeping import SweepReport, sweep
from secretfree.issuance.tickets import TicketPolicy
from secretfree.issuance.turns import Turns
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.request.csr import UnverifiedCsr, VerifiedCsr, verify
from secretfree.request.device_id import DeviceId
from secretfree.request.device_profile import DeviceProfile
from support.fake_cloud import POLICY, TEMPLATE, THING_TYPE, FakeCloud, InlineExecutor, Killed

ANNOUNCEMENTS = "announcements"
_CSRS: dict[tuple[str, int], VerifiedCsr] = {}


def verified_csr(device: str, key: int = 0) -> VerifiedCsr:
    """The CSR of `device` with its key number `key`; made once."""
    if (device, key) not in _CSRS:
        private_key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(private_key, hashes.SHA256())
        _CSRS[device, key] = verify(UnverifiedCsr.from_der(csr.public_bytes(Encoding.DER)), DeviceProfile.STANDARD)
    return _CSRS[device, key]


@dataclass
class World:
    kind: IssuerKind
    cloud: FakeCloud = field(default_factory=FakeCloud)
    match: MatchPolicy = MatchPolicy.UDID_AND_PUBLIC_KEY
    ledger: str = "ledger"
    policy_name: str = POLICY
    thing_type: str = THING_TYPE
    executor: Executor = field(default_factory=InlineExecutor)
    groups: tuple[str, ...] = ()
    budget: float = 20.0
    seed: int = 1
    bounds: SearchBounds = field(default_factory=SearchBounds)
    registered: bool = True
    validity: timedelta = timedelta(days=365)
    renewal_window: timedelta = timedelta(days=30)
    rate: float = 10.0
    deployment: str | None = None
    region: str | None = None
    counter_failures: list[Exception] = field(default_factory=list)
    """What the workers reported of the counter of the tickets."""

    def __post_init__(self) -> None:
        self.clock = self.cloud.clock
        iot = self.cloud.client("iot")
        self.things = IotCoreThings(iot, thing_type=self.thing_type, policy_name=self.policy_name, groups=self.groups)
        numbers = itertools.count()
        self.announcing = (
            None if self.region is None else Announcing(table=ANNOUNCEMENTS, region=self.region, clock=self.clock)
        )
        self.ports = IssuancePorts(
            issuer=IotCoreIssuer(iot, self.things, bounds=self.bounds)
            if self.kind is IssuerKind.IOT_CORE
            else self._private_ca(self.cloud.authority_arn),
            things=self.things,
            ledger=DynamoDbLedger(self.cloud.client("dynamodb"), table=self.ledger, announcing=self.announcing),
            registry=DynamoDbRegistry(self.cloud.client("dynamodb"), table="registry"),
            executor=self.executor,
            congestion=Congestion(),
            turns=self.turns(),
            chance=random.Random(self.seed).random,
            owner=lambda: f"worker-{next(numbers)}",
        )
        self.policy = IssuancePolicy(
            issuer=self.kind.value,
            deployment=self.deployment or self.ledger,
            renewal_window=self.renewal_window,
            match=self.match,
            authorities=() if self.kind is IssuerKind.IOT_CORE else (self.cloud.authority_arn,),
        )

    def rotate(self, current: str, *previous: str) -> None:
        """Deploy with another CA, and with the CAs before it that stay trusted."""
        self.ports = replace(self.ports, issuer=self._private_ca(current, *previous))
        self.policy = replace(self.policy, authorities=(current, *previous))

    def _private_ca(self, current: str, *previous: str) -> PrivateCaIssuer:
        config = PrivateCaConfig(
            authority_arn=current,
            signing_algorithm="SHA256WITHECDSA",
            template_arn=TEMPLATE,
            validity=self.validity,
            registered=self.registered,
            previous_arns=previous,
        )
        return PrivateCaIssuer(
            self.cloud.authority_client,
            self.cloud.client("iot"),
            self.things,
            config=config,
            subject=SubjectConfig(),
        )

    def turns(self) -> Turns:
        """A worker's view of the queue of tickets, which knows nothing yet."""
        counter = DynamoDbTicketCounter(self.cloud.client("dynamodb"), table=self.ledger, issuer=self.kind.value)
        return Turns(counter, TicketPolicy(rate=self.rate), self.clock, report=self.counter_failures.append)

    def ask(self, device: str = "widget-1", key: int = 0) -> IssuedCertificate | NotReady:
        """The device asks, enrolled with this very key: what the authorizer sees to."""
        csr = verified_csr(device, key)
        self.cloud.enroll(device, csr.public_key.fingerprint)
        return self.ask_as_enrolled(device, key)

    def ask_as_enrolled(self, device: str = "widget-1", key: int = 0) -> IssuedCertificate | NotReady:
        """The device asks past the authorizer, whatever the registry says."""
        csr = verified_csr(device, key)
        authorized = AuthorizedDevice(DeviceId.parse(device), csr.public_key.fingerprint, csr.digest)
        deadline = self.clock.monotonic() + self.budget
        return issue(authorized, csr, ports=self.ports, policy=self.policy, clock=self.clock, deadline=deadline)

    def ask_until_issued(self, device: str = "widget-1", key: int = 0, most: int = 60) -> tuple[IssuedCertificate, int]:
        """As a device does: again after Retry-After, or a few seconds when nothing came back. With its tries."""
        for tries in range(1, most + 1):
            wait = 5.0
            try:
                outcome = self.ask(device, key)
                if isinstance(outcome, IssuedCertificate):
                    return outcome, tries
                wait = outcome.retry_after
            except Killed:
                pass
            except SecretFreeError as error:
                if error.retry_after is None and error.status != 500:
                    raise
                wait = error.retry_after or wait
            self.clock.sleep(wait)
        raise AssertionError(f"no certificate after {most} requests")

    def sweep(self, *, after: timedelta = timedelta()) -> SweepReport:
        self.clock.sleep(after.total_seconds())
        return sweep(ports=self.ports, policy=self.policy, clock=self.clock, deadline=self.clock.monotonic() + 60)

    def quiesce(self) -> None:
        """Let time pass and the sweeper run until nothing is left to do."""
        self.cloud.faults.clear()
        self.cloud.always.clear()
        for run in range(4):
            if run and not any("pending" in item for item in self.items.values()):
                self.clock.sleep(timedelta(hours=2).total_seconds())  # the sweeper reads what is pending alone
                continue
            report = self.sweep(after=timedelta(hours=2))
            assert report.complete, report
        now = self.clock.now().timestamp() * 1000
        # What is pending waits for a certificate's own end, and for nothing else.
        waiting = [item for item in self.items.values() if "pending" in item]
        assert all(int(item["lease-expires"]["N"]) > now and item["superseded"]["L"] for item in waiting)

    @property
    def items(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The ledger's items."""
        return self.cloud.items if self.ledger == "ledger" else self.cloud.other_ledgers.setdefault(self.ledger, {})

    def record(self, device: str = "widget-1") -> dict[str, str]:
        item = self.items[device, f"issuance#{self.kind.value}"]
        return {name: str(next(iter(value.values()))) for name, value in item.items()}

    def require_invariants_at_quiescence(self) -> None:
        """Every certificate at IoT Core is active, attached, and the one its device's ledger entry names.

        A certificate whose replacement waits for the device is good until then.
        """
        accounted = {}
        for (device, record), item in self.items.items():
            if not record.startswith("issuance#"):
                continue
            accounted |= {entry["S"]: device for entry in item.get("superseded", {"L": []})["L"]}
            if item["state"]["S"] == "active":
                accounted[item["certificate-id"]["S"]] = device
        for certificate in self.cloud.certificates.values():
            assert certificate.status == "ACTIVE", "an inactive certificate is left"
            assert certificate.certificate_id in accounted, "a certificate that the ledger does not know"
            device = accounted[certificate.certificate_id]
            assert certificate.things == {device: "EXCLUSIVE_THING"}
            assert certificate.policies == {POLICY}
            assert self.cloud.things[device]["type"] == THING_TYPE


def refused(ask: Callable[[], object]) -> SecretFreeError:
    """The error that `ask` raises."""
    with pytest.raises(SecretFreeError) as raised:
        ask()
    return raised.value


def issuing_calls(world: World) -> set[str]:
    """The operations that were called, apart from the tables' reads and writes of single items."""
    return set(world.cloud.calls) - {"GetItem", "PutItem"}
