"""What an issuer checks on its own: the registry, the subject, and AWS IoT Core."""

from dataclasses import replace
from datetime import timedelta

import pytest
from secretfree.contract import IssuerKind, MatchPolicy
from secretfree.errors import ErrorCode, Reason
from secretfree.issuance.model import IssuedCertificate
from secretfree.issuance.pipeline import issue
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.request.device_id import DeviceId
from support.fake_cloud import Fault
from support.world import World, issuing_calls, refused, verified_csr

BOTH = pytest.mark.parametrize("kind", list(IssuerKind))


@BOTH
@pytest.mark.parametrize("match", list(MatchPolicy))
@pytest.mark.parametrize(
    ("key", "attributes", "reason"),
    [
        (None, {}, Reason.UNKNOWN_DEVICE),
        (0, {"status": "blocked"}, Reason.BLOCKED_DEVICE),
        (0, {"status": "whatever"}, Reason.REGISTRY_RECORD),
        (1, {}, Reason.KEY_MISMATCH),
    ],
    ids=["never-enrolled", "blocked-since", "unreadable", "another-key"],
)
def test_the_word_of_the_caller_alone_issues_nothing(
    kind: IssuerKind, match: MatchPolicy, key: int | None, attributes: dict[str, str], reason: Reason
) -> None:
    if match is MatchPolicy.UDID and reason is Reason.KEY_MISMATCH:
        pytest.skip("this policy compares no key with the registry's")
    world = World(kind, match=match)
    if key is not None:
        world.cloud.enroll("widget-1", verified_csr("widget-1", key).public_key.fingerprint, **attributes)
    for _ in range(2):
        error = refused(world.ask_as_enrolled)
        assert (error.code, error.reason) == (ErrorCode.NOT_AUTHORIZED, reason)
    assert issuing_calls(world) == set()
    assert world.record()["state"] == "abandoned"
    assert "pending" not in world.record()
    assert ("widget-1", "binding") not in world.items
    assert isinstance(world.ask(), IssuedCertificate)


@BOTH
def test_a_device_blocked_after_its_certificate_was_issued_is_not_answered_with_it(kind: IssuerKind) -> None:
    world = World(kind)
    world.ask()
    world.cloud.enroll("widget-1", verified_csr("widget-1").public_key.fingerprint, status="blocked")
    assert refused(world.ask_as_enrolled).reason is Reason.BLOCKED_DEVICE


@BOTH
@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.TIMED_OUT_BEFORE])
def test_without_the_registry_nothing_is_issued_and_the_device_hears_when_to_ask_again(
    kind: IssuerKind, fault: Fault
) -> None:
    world = World(kind)
    world.cloud.always["GetItem"] = fault
    error = refused(world.ask)
    assert (error.code, error.reason) == (ErrorCode.UNAVAILABLE, Reason.REGISTRY_UNAVAILABLE)
    assert error.retry_after is not None
    assert issuing_calls(world) == set()
    world.cloud.always.clear()
    assert isinstance(world.ask(), IssuedCertificate)


@BOTH
def test_where_the_request_s_subject_is_copied_its_common_name_is_the_device_s_id(kind: IssuerKind) -> None:
    """Under PUBLIC_KEY the common name may be anything; the IoT Core CA would certify it."""
    world = World(kind, match=MatchPolicy.PUBLIC_KEY)
    csr = verified_csr("someone-else")
    world.cloud.enroll("widget-1", csr.public_key.fingerprint)
    authorized = AuthorizedDevice(DeviceId.parse("widget-1"), csr.public_key.fingerprint, csr.digest)

    def ask() -> object:
        return issue(authorized, csr, ports=world.ports, policy=world.policy, clock=world.clock, deadline=2000.0)

    if kind is IssuerKind.IOT_CORE:
        error = refused(ask)
        assert (error.code, error.reason) == (ErrorCode.NOT_AUTHORIZED, Reason.DEVICE_ID)
        assert issuing_calls(world) == set()
    else:
        assert isinstance(ask(), IssuedCertificate)


@BOTH
def test_a_recorded_certificate_is_verified_against_iot_core_at_most_once_a_day(kind: IssuerKind) -> None:
    world = World(kind)
    first = world.ask()
    assert isinstance(first, IssuedCertificate)
    for _day in range(3):
        world.clock.sleep(timedelta(hours=25).total_seconds())
        world.cloud.calls.clear()
        assert [world.ask() for _ in range(4)] == [replace(first, reused=True)] * 4
        assert world.cloud.calls.count("DescribeCertificate") == 1
    world.cloud.calls.clear()
    world.ask("widget-2")
    assert "DescribeCertificate" not in world.cloud.calls


@BOTH
@pytest.mark.parametrize("status", ["REVOKED", "INACTIVE", None])
def test_a_certificate_deleted_or_taken_out_of_use_is_not_handed_out_for_good(
    kind: IssuerKind, status: str | None
) -> None:
    world = World(kind)
    first = world.ask()
    assert isinstance(first, IssuedCertificate)
    if status is None:
        world.cloud.remove(first.certificate_id)
    else:
        world.cloud.certificates[first.certificate_id].status = status
    world.clock.sleep(timedelta(hours=25).total_seconds())
    world.cloud.calls.clear()
    for _ in range(3):
        assert refused(world.ask).code is ErrorCode.NOT_AUTHORIZED
    assert world.cloud.calls.count("DescribeCertificate") == 1
    record = world.ports.ledger.read(DeviceId.parse("widget-1"), kind.value)  # type: ignore[attr-defined]
    world.ports.ledger.write(record.reopened(world.clock.now()))
    assert isinstance(world.ask(), IssuedCertificate)
    assert len(world.cloud.issued) == 2


@BOTH
@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.TIMED_OUT_BEFORE, Fault.REFUSED])
def test_while_iot_core_does_not_answer_the_ledger_is_believed(kind: IssuerKind, fault: Fault) -> None:
    world = World(kind)
    first = world.ask()
    assert isinstance(first, IssuedCertificate)
    world.clock.sleep(timedelta(hours=25).total_seconds())
    world.cloud.always["DescribeCertificate"] = fault
    assert world.ask() == replace(first, reused=True)
