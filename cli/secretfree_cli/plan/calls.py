"""The runtime's calls to AWS, in its order: what one device draws from each quota. A test holds it to the runtime.

Answer times are typical ones inside a Region, and assumed: they move how long an invocation lasts, hardly the plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from secretfree.config import IssuerKind
from secretfree.ledger import IssuanceState


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


@dataclass(frozen=True)
class Stage:
    """Calls made side by side. Where one is given up, the ledger holds `resumed_from`, which chooses the next path.

    The call that is scarcest comes last: the others are made whatever becomes of it, as the runtime does.
    """

    calls: tuple[Call, ...]
    resumed_from: IssuanceState | None
    """None: the ledger still knows nothing of the device."""
    leased: bool = True
    """Whether the worker holds the lease by now, and so knows the device's age, and has a lease to give back."""

    @property
    def seconds(self) -> float:
        """The slowest call's time."""
        return max(call.seconds for call in self.calls)


@dataclass(frozen=True)
class CallSequence:
    """What requests do: the stages of a device never seen, those of one that comes back, the call that gives up."""

    first: tuple[Stage, ...]
    resumed: Mapping[IssuanceState, tuple[Stage, ...]]
    giving_up: Call

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
        """How long an unhindered first request takes."""
        return sum(stage.seconds for stage in self.first)


def call_sequence(issuer: IssuerKind, *, thing_groups: int = 0) -> CallSequence:
    """Return the calls of the pipeline in `secretfree.issuance` through `issuer`."""
    opened = IssuanceState.REQUESTING
    tied = Stage((ATTACH_THING, *[JOIN_GROUP] * thing_groups, ATTACH_POLICY), IssuanceState.ISSUED)
    confirmed = Stage((_ledger_write("TransactWriteItems", units=8, index_units=1),), IssuanceState.ISSUED)
    authorized = Stage((REGISTRY_READ,), None, leased=False)
    found = _ledger_write("PutItem", units=1)  # the condition fails: that costs the same and changes no index
    taken_over = _ledger_write("PutItem", units=1, index_units=2)
    looked_at = Stage((CREATE_THING,), IssuanceState.ISSUED)  # repeated: the thing must be there still, and ours
    opening = (authorized, Stage((_ledger_write("PutItem", units=1, index_units=1),), None, leased=False))

    def reopening(state: IssuanceState) -> tuple[Stage, ...]:
        reading, finding, taking_over = (
            Stage((call,), state, leased=False) for call in (REGISTRY_READ, found, taken_over)
        )
        return (reading, finding, taking_over)

    if issuer is IssuerKind.PRIVATE_CA:
        requested = Stage((CREATE_THING, ISSUE_CERTIFICATE), opened)
        collected = Stage((GET_CERTIFICATE, GET_CERTIFICATE), IssuanceState.REQUESTED)  # usually ready at a second look
        installed = Stage((REGISTER_CERTIFICATE,), IssuanceState.ISSUED)
        finishing: tuple[Stage, ...] = (tied, confirmed)
        after_request = (_beside(RECORDED, collected), _beside(RECORDED_WITH_CERTIFICATE, installed), *finishing)
    else:
        requested = Stage((CREATE_THING, CREATE_CERTIFICATE), opened)
        collected = Stage((), opened)
        installed = Stage((DESCRIBE_CERTIFICATE,), IssuanceState.ISSUED)  # nothing to register: it is looked at again
        finishing = (tied, Stage((UPDATE_CERTIFICATE,), IssuanceState.ISSUED), confirmed)
        after_request = (Stage((RECORDED_WITH_CERTIFICATE,), IssuanceState.ISSUED), *finishing)
    resumed = {
        opened: (*reopening(opened), requested, *after_request),
        IssuanceState.ISSUED: (*reopening(IssuanceState.ISSUED), looked_at, installed, *finishing),
    }
    if issuer is IssuerKind.PRIVATE_CA:
        resumed[IssuanceState.REQUESTED] = (
            *reopening(IssuanceState.REQUESTED),
            replace(looked_at, resumed_from=IssuanceState.REQUESTED),
            collected,
            _beside(RECORDED_WITH_CERTIFICATE, installed),
            *finishing,
        )
    return CallSequence(first=(*opening, requested, *after_request), resumed=resumed, giving_up=taken_over)


def _beside(call: Call, stage: Stage) -> Stage:
    return replace(stage, calls=(call, *stage.calls))


def _ledger_write(operation: str, *, units: int, index_units: int = 0) -> Call:
    draws = {"LedgerWrites": units} | ({"LedgerIndexWrites": index_units} if index_units else {})
    return Call(f"dynamodb:{operation}", draws, 0.008, Priced.WRITE_UNIT, units + index_units)


def _iot(operation: str, seconds: float, priced: Priced = Priced.NOTHING) -> Call:
    return Call(f"iot:{operation}", {operation: 1}, seconds, priced)


REGISTRY_READ = Call("dynamodb:GetItem", {"RegistryReads": 1}, 0.006, Priced.READ_UNIT)
# A record with its certificate and chain is some 3 KB, one without under 1 KB.
RECORDED = _ledger_write("PutItem", units=1)
RECORDED_WITH_CERTIFICATE = _ledger_write("PutItem", units=3)
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
