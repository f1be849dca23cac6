"""The runtime's calls to AWS, in its order: what one device draws from each quota. A test holds it to the runtime.

Answer times are assumed, typical ones inside a Region. They change how long an invocation lasts, but hardly the plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import Final

from secretfree.contract import IssuerKind


class Priced(StrEnum):
    """Which price a call's units have. Calls about certificates and policies have none of their own."""

    NOTHING = "nothing"
    READ_UNIT = "read unit"
    WRITE_UNIT = "write unit"
    REGISTRY_OPERATION = "registry operation"


@dataclass(frozen=True)
class Call:
    """One call: what it draws from which quotas, and how long it takes (seconds)."""

    operation: str
    draws: Mapping[str, int]
    seconds: float
    priced: Priced = Priced.NOTHING
    priced_units: int = 1

    @property
    def kind(self) -> str:
        """The name under which the runtime counts throttling: one for each quota, one for all calls of the ledger."""
        service = self.operation.partition(":")[0]
        return service if service == "dynamodb" else self.operation


class IssuanceProgress(Enum):
    """How far the ledger knows the issuance of a device to be: where its next request begins."""

    NOTHING = "nothing"
    TICKETED = "ticketed"
    """The device has a number, and nothing is begun."""
    OPENED = "opened"
    THING_MADE = "thing made"
    REQUESTED = "requested"
    ISSUED = "issued"
    REGISTERED = "registered"


@dataclass(frozen=True)
class CallStage:
    """Calls made side by side. If one is given up, the device's next request takes the path of `resumed_from`.

    The call with the lowest quota comes last. The others are made in any case, as in the runtime.
    """

    calls: tuple[Call, ...]
    resumed_from: IssuanceProgress
    leased: bool = True
    """Whether the worker holds the lease: it then knows the device's age, and must give the lease back."""
    beside_next: bool = False
    """Whether the next stage's calls are made at the same time."""

    @property
    def seconds(self) -> float:
        """The slowest call's time."""
        return 0.0 if self.beside_next else max(call.seconds for call in self.calls)


@dataclass(frozen=True)
class CallSequence:
    """The stages of a device's requests by its progress, and the call that ends a request early."""

    paths: Mapping[IssuanceProgress, tuple[CallStage, ...]]
    giving_up: Call
    looking: tuple[Call, ...]
    """A request whose answer is a time, before any write."""
    taking_a_number: Call
    keeping_a_ticket: Call

    @property
    def first(self) -> tuple[CallStage, ...]:
        """The stages of a device never seen before."""
        return self.paths[IssuanceProgress.NOTHING]

    @property
    def units_per_device(self) -> Mapping[str, int]:
        """What a device that is served at its first request draws from each quota."""
        drawn: Counter[str] = Counter()
        for stage in self.first:
            for call in stage.calls:
                drawn.update(call.draws)
        return drawn

    @property
    def seconds(self) -> float:
        """Duration of a first request that nothing throttles."""
        return sum(stage.seconds for stage in self.first)


PLANNED_KINDS: Final = (IssuerKind.PRIVATE_CA, IssuerKind.IOT_CORE)
"""The kinds of issuers whose calls are modelled here."""


def call_sequence(issuer: IssuerKind, *, thing_groups: int = 0) -> CallSequence:
    """Return the calls of the pipeline in `secretfree.issuance.pipeline` through `issuer`, one of `PLANNED_KINDS`."""
    ties = (ATTACH_THING, *[JOIN_GROUP] * thing_groups, ATTACH_POLICY)
    tied = CallStage(ties, IssuanceProgress.REGISTERED)
    confirmed = CallStage((CONFIRMED,), IssuanceProgress.REGISTERED)
    thing = CallStage((CREATE_THING,), IssuanceProgress.OPENED, beside_next=True)
    looked_at = CallStage((DESCRIBE_CERTIFICATE,), IssuanceProgress.REGISTERED)
    finish: tuple[CallStage, ...]
    from_request: tuple[CallStage, ...]
    ahead: dict[IssuanceProgress, tuple[CallStage, ...]]
    if issuer is IssuerKind.PRIVATE_CA:
        requested = CallStage((ISSUE_CERTIFICATE,), IssuanceProgress.THING_MADE)
        collected = CallStage(
            (GET_CERTIFICATE, GET_CERTIFICATE), IssuanceProgress.REQUESTED
        )  # usually ready at a second look
        registered = CallStage((REGISTER_CERTIFICATE,), IssuanceProgress.ISSUED)
        finish = (tied, confirmed)
        install = (_beside(RECORDED_WITH_CERTIFICATE, registered), *finish)
        from_request = (requested, _beside(RECORDED, collected), *install)
        ahead = {
            IssuanceProgress.REQUESTED: (collected, *install),
            IssuanceProgress.ISSUED: (registered, *finish),
        }
    else:
        requested = CallStage((CREATE_CERTIFICATE,), IssuanceProgress.THING_MADE)
        finish = (CallStage((*ties, UPDATE_CERTIFICATE), IssuanceProgress.REGISTERED), confirmed)
        from_request = (requested, CallStage((RECORDED_WITH_CERTIFICATE,), IssuanceProgress.REGISTERED), *finish)
        ahead = {}
    ahead |= {
        IssuanceProgress.TICKETED: (thing, *from_request),
        IssuanceProgress.OPENED: (thing, *from_request),
        IssuanceProgress.THING_MADE: from_request,
        IssuanceProgress.REGISTERED: (looked_at, *finish),
    }
    first = (*_opening(IssuanceProgress.NOTHING, OPENED), thing, *from_request)
    resumed = {progress: (*_opening(progress, LEDGER_READ, TAKEN_OVER), *stages) for progress, stages in ahead.items()}
    return CallSequence(
        paths={IssuanceProgress.NOTHING: first, **resumed},
        giving_up=TAKEN_OVER,
        looking=(REGISTRY_READ, REGISTRY_READ, LEDGER_READ),
        taking_a_number=NUMBER,
        keeping_a_ticket=RECORDED,
    )


def _opening(progress: IssuanceProgress, first: Call, *further: Call) -> tuple[CallStage, ...]:
    """The calls until the lease is held, and the read in parallel with the next call.

    The authorizer reads the registry. The issuer reads it beside its first write, and makes its `further` writes one by
    one. Then it reads the registry once more, because the device may have been blocked since.
    """
    stages = ((REGISTRY_READ,), (REGISTRY_READ, first), *((call,) for call in further))
    unleased = tuple(CallStage(calls, progress, leased=False) for calls in stages)
    return (*unleased, CallStage((REGISTRY_READ,), progress, beside_next=True))


def _beside(call: Call, stage: CallStage) -> CallStage:
    return replace(stage, calls=(call, *stage.calls))


def _ledger_write(operation: str, *, units: int, index_units: int = 0) -> Call:
    draws = {"LedgerWrites": units} | ({"LedgerIndexWrites": index_units} if index_units else {})
    return Call(f"dynamodb:{operation}", draws, 0.008, Priced.WRITE_UNIT, units + index_units)


def _iot(operation: str, seconds: float, priced: Priced = Priced.NOTHING) -> Call:
    return Call(f"iot:{operation}", {operation: 1}, seconds, priced)


OPENED = _ledger_write("PutItem", units=1, index_units=1)
# The lease is taken, or given back.
TAKEN_OVER = _ledger_write("PutItem", units=1, index_units=2)
CONFIRMED = _ledger_write("TransactWriteItems", units=6, index_units=1)
NUMBER = _ledger_write("UpdateItem", units=1)
LEDGER_READ = Call("dynamodb:GetItem", {"LedgerReads": 1}, 0.006, Priced.READ_UNIT)
REGISTRY_READ = Call("dynamodb:GetItem", {"RegistryReads": 1}, 0.006, Priced.READ_UNIT)
# A record with its certificate is under 2 KB, one without under 1 KB. The chain is an item of its own.
RECORDED = _ledger_write("PutItem", units=1)
RECORDED_WITH_CERTIFICATE = _ledger_write("PutItem", units=2)
CREATE_THING = _iot("CreateThing", 0.06, Priced.REGISTRY_OPERATION)
ATTACH_THING = _iot("AttachThingPrincipal", 0.06, Priced.REGISTRY_OPERATION)
JOIN_GROUP = _iot("AddThingToThingGroup", 0.06, Priced.REGISTRY_OPERATION)
ATTACH_POLICY = _iot("AttachPolicy", 0.06)
REGISTER_CERTIFICATE = _iot("RegisterCertificate", 0.09)
CREATE_CERTIFICATE = _iot("CreateCertificateFromCsr", 0.12)
UPDATE_CERTIFICATE = _iot("UpdateCertificate", 0.06)
DESCRIBE_CERTIFICATE = _iot("DescribeCertificate", 0.06)
ISSUE_CERTIFICATE = Call("acm-pca:IssueCertificate", {"IssueCertificate": 1}, 0.15)
GET_CERTIFICATE = Call("acm-pca:GetCertificate", {"GetCertificate": 1}, 0.05)
