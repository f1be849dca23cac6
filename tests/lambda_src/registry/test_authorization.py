"""The authorization decision under each match policy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from secretfree.clock import SystemClock
from secretfree.contract import MatchPolicy
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.registry.authorization import AuthorizedDevice, authorize, confirm
from secretfree.registry.entry import DeviceStatus, RegistryEntry
from secretfree.request.csr import VerifiedCsr
from secretfree.request.device_id import DeviceId
from secretfree.request.device_profile import DeviceProfile
from secretfree.request.keys import DevicePublicKey

BY_BOTH, BY_KEY, BY_UDID = MatchPolicy.UDID_AND_PUBLIC_KEY, MatchPolicy.PUBLIC_KEY, MatchPolicy.UDID
MakeCsr = Callable[..., VerifiedCsr]


@dataclass
class Registry:
    """Port `RegistryReader`, over a list; `index` is what the index leads to, when it lags behind the table."""

    entries: list[RegistryEntry] = field(default_factory=list)
    index: list[RegistryEntry] | None = None

    def by_device_id(self, device_id: DeviceId) -> RegistryEntry | None:
        return next((entry for entry in self.entries if entry.device_id == device_id), None)

    def by_fingerprint(self, fingerprint: str) -> Sequence[RegistryEntry]:
        return self.index if self.index is not None else [e for e in self.entries if e.fingerprint == fingerprint]


@dataclass
class Bindings:
    """Port `BindingReader`, of one answer."""

    fingerprint: str | None = None

    def bound_fingerprint(self, device_id: DeviceId) -> str | None:
        return self.fingerprint


MOMENT = datetime(2027, 1, 1, tzinfo=UTC)


@dataclass
class Frozen(SystemClock):
    """A clock that stands still."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment


@pytest.fixture
def entry(public_key: DevicePublicKey) -> RegistryEntry:
    return RegistryEntry(DeviceId.parse("widget-1"), public_key, public_key.fingerprint, DeviceStatus.ALLOWED)


def _refusal(
    csr: VerifiedCsr, match: MatchPolicy, registry: Registry, bindings: Bindings | None = None
) -> tuple[ErrorCode, Reason]:
    with pytest.raises(SecretFreeError) as caught:
        authorize(csr, match=match, registry=registry, bindings=bindings)
    return caught.value.code, caught.value.reason


@pytest.mark.parametrize("match", MatchPolicy)
def test_an_enrolled_device_is_authorized_for_its_key_and_this_request(
    verified_csr: MakeCsr, entry: RegistryEntry, match: MatchPolicy
) -> None:
    csr = verified_csr("widget-1")
    device = authorize(csr, match=match, registry=Registry([entry]), bindings=Bindings())
    assert device == AuthorizedDevice(entry.device_id, csr.public_key.fingerprint, csr.digest)


@pytest.mark.parametrize("match", MatchPolicy)
def test_an_unknown_device_is_refused(verified_csr: MakeCsr, match: MatchPolicy) -> None:
    assert _refusal(verified_csr(), match, Registry(), Bindings()) == (ErrorCode.NOT_AUTHORIZED, Reason.UNKNOWN_DEVICE)


@pytest.mark.parametrize("match", MatchPolicy)
@pytest.mark.parametrize(
    ("status", "reason"),
    [(DeviceStatus.BLOCKED, Reason.BLOCKED_DEVICE), (DeviceStatus.UNREADABLE, Reason.REGISTRY_RECORD)],
)
def test_a_device_that_is_not_allowed_is_refused(
    verified_csr: MakeCsr, entry: RegistryEntry, match: MatchPolicy, status: DeviceStatus, reason: Reason
) -> None:
    registry = Registry([replace(entry, status=status)])
    assert _refusal(verified_csr(), match, registry, Bindings()) == (ErrorCode.NOT_AUTHORIZED, reason)


@pytest.mark.parametrize("match", [BY_BOTH, BY_UDID])
def test_a_common_name_that_is_no_device_id_is_malformed_where_one_is_needed(
    verified_csr: MakeCsr, entry: RegistryEntry, match: MatchPolicy
) -> None:
    refusal = _refusal(verified_csr("wid*"), match, Registry([entry]), Bindings())
    assert refusal == (ErrorCode.MALFORMED_REQUEST, Reason.DEVICE_ID)


# --- by both ---


def test_a_clone_with_another_key_is_refused(
    verified_csr: MakeCsr, entry: RegistryEntry, other_key: ec.EllipticCurvePrivateKey
) -> None:
    clone = verified_csr("widget-1", key=other_key)
    assert _refusal(clone, BY_BOTH, Registry([entry])) == (ErrorCode.NOT_AUTHORIZED, Reason.KEY_MISMATCH)


def test_a_record_without_a_key_authorizes_nobody(verified_csr: MakeCsr, entry: RegistryEntry) -> None:
    registry = Registry([replace(entry, public_key=None, fingerprint=None)])
    assert _refusal(verified_csr(), BY_BOTH, registry) == (ErrorCode.NOT_AUTHORIZED, Reason.REGISTRY_RECORD)


def test_a_recorded_fingerprint_authorizes_without_the_key(verified_csr: MakeCsr, entry: RegistryEntry) -> None:
    registry = Registry([replace(entry, public_key=None)])
    assert authorize(verified_csr(), match=BY_BOTH, registry=registry).device_id == "widget-1"


@pytest.mark.parametrize("match", [BY_BOTH, BY_KEY])
def test_a_record_with_a_defect_authorizes_nobody(
    verified_csr: MakeCsr, entry: RegistryEntry, match: MatchPolicy
) -> None:
    broken = replace(entry, public_key=None, fingerprint=None, defect="pubkey: unreadable")
    refusal = _refusal(verified_csr(), match, Registry([broken], index=[broken]))
    assert refusal == (ErrorCode.NOT_AUTHORIZED, Reason.REGISTRY_RECORD)


# --- by key ---


@pytest.mark.parametrize("common_name", ["another", "wid*", "widget 1"])
def test_by_key_the_registry_names_the_device_whatever_the_common_name_says(
    verified_csr: MakeCsr, entry: RegistryEntry, common_name: str
) -> None:
    assert authorize(verified_csr(common_name), match=BY_KEY, registry=Registry([entry])).device_id == "widget-1"


def test_by_key_a_truncated_common_name_of_a_cc32xx_does_not_matter(
    verified_csr: MakeCsr, entry: RegistryEntry
) -> None:
    csr = verified_csr("", profile=DeviceProfile.TI_CC32XX)
    assert authorize(csr, match=BY_KEY, registry=Registry([entry])).device_id == "widget-1"


def test_one_key_for_two_devices_authorizes_neither(verified_csr: MakeCsr, entry: RegistryEntry) -> None:
    twin = replace(entry, device_id=DeviceId.parse("widget-2"))
    refusal = _refusal(verified_csr(), BY_KEY, Registry([entry, twin]))
    assert refusal == (ErrorCode.NOT_AUTHORIZED, Reason.AMBIGUOUS_KEY)


def test_an_index_that_lags_behind_the_table_decides_nothing(verified_csr: MakeCsr, entry: RegistryEntry) -> None:
    rekeyed = replace(entry, public_key=None, fingerprint="0" * 64, device_id=DeviceId.parse("widget-2"))
    csr = verified_csr()
    assert _refusal(csr, BY_KEY, Registry(index=[rekeyed]))[1] is Reason.UNKNOWN_DEVICE
    assert authorize(csr, match=BY_KEY, registry=Registry(index=[rekeyed, entry])).device_id == "widget-1"


# --- by UDID ---


def test_by_udid_the_bound_key_alone_is_taken(
    verified_csr: MakeCsr, entry: RegistryEntry, public_key: DevicePublicKey, other_key: ec.EllipticCurvePrivateKey
) -> None:
    registry, bindings = Registry([entry]), Bindings(public_key.fingerprint)
    assert authorize(verified_csr(), match=BY_UDID, registry=registry, bindings=bindings)
    stranger = verified_csr(key=other_key)
    assert _refusal(stranger, BY_UDID, registry, bindings) == (ErrorCode.NOT_AUTHORIZED, Reason.KEY_MISMATCH)


def test_by_udid_an_unbound_device_may_bring_any_key(
    verified_csr: MakeCsr, entry: RegistryEntry, other_key: ec.EllipticCurvePrivateKey
) -> None:
    unkeyed = Registry([replace(entry, public_key=None, fingerprint=None)])
    assert authorize(verified_csr(key=other_key), match=BY_UDID, registry=unkeyed, bindings=Bindings())


def test_by_udid_without_bindings_nobody_is_authorized(verified_csr: MakeCsr, entry: RegistryEntry) -> None:
    assert _refusal(verified_csr(), BY_UDID, Registry([entry])) == (ErrorCode.INTERNAL, Reason.CONFIGURATION)


# --- the context ---


def test_the_context_brings_the_device_to_the_issuer() -> None:
    device = AuthorizedDevice(DeviceId.parse("widget-1"), "a" * 64, "b" * 64)
    assert device.to_context() == {"deviceId": "widget-1", "keyFingerprint": "a" * 64, "csrDigest": "b" * 64}
    assert AuthorizedDevice.from_context({**device.to_context(), "principalId": "widget-1"}) == device


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"deviceId": "widget/1", "keyFingerprint": "a" * 64, "csrDigest": "b" * 64},
        {"deviceId": "widget-1", "keyFingerprint": "a" * 63, "csrDigest": "b" * 64},
        {"deviceId": "widget-1", "keyFingerprint": "a" * 64},
        {"deviceId": "widget-1", "keyFingerprint": "a" * 64, "csrDigest": None},
    ],
)
def test_another_context_is_our_own_fault(context: dict[str, object]) -> None:
    with pytest.raises(SecretFreeError) as caught:
        AuthorizedDevice.from_context(context)
    assert (caught.value.status, caught.value.reason) == (500, Reason.CONFIGURATION)


@pytest.mark.parametrize("match", MatchPolicy)
def test_the_issuer_itself_refuses_a_device_before_its_not_before(
    verified_csr: MakeCsr, entry: RegistryEntry, match: MatchPolicy
) -> None:
    csr = verified_csr()
    device = AuthorizedDevice(entry.device_id, csr.public_key.fingerprint, csr.digest)
    registry = Registry([replace(entry, not_before=MOMENT)])
    with pytest.raises(SecretFreeError) as caught:
        confirm(device, csr, match=match, registry=registry, clock=Frozen(MOMENT - timedelta(seconds=1)))
    assert (caught.value.code, caught.value.reason) == (ErrorCode.NOT_AUTHORIZED, Reason.NOT_YET_ALLOWED)
    confirm(device, csr, match=match, registry=registry, clock=Frozen(MOMENT))


@pytest.mark.parametrize("match", MatchPolicy)
def test_a_device_is_refused_before_its_not_before_and_allowed_from_then_on(
    verified_csr: MakeCsr, entry: RegistryEntry, match: MatchPolicy
) -> None:
    registry = Registry([replace(entry, not_before=MOMENT)])
    for seconds, allowed in ((-1, False), (0, True), (1, True)):
        clock = Frozen(MOMENT + timedelta(seconds=seconds))
        if allowed:
            assert authorize(verified_csr(), match=match, registry=registry, bindings=Bindings(), clock=clock)
            continue
        with pytest.raises(SecretFreeError) as caught:
            authorize(verified_csr(), match=match, registry=registry, bindings=Bindings(), clock=clock)
        assert (caught.value.code, caught.value.reason) == (ErrorCode.NOT_AUTHORIZED, Reason.NOT_YET_ALLOWED)
