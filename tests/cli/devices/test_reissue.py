"""Opening a new generation for a device."""

from datetime import UTC, datetime, timedelta

import pytest
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.issuance.record import Issuance
from secretfree.issuance.states import Standing
from secretfree.request.device_id import DeviceId
from secretfree_cli.output import ExitCode
from support.stack_on_moto import DEVICES, Stack


def issuance(state: str, *, owner: str | None = None, issuer: str = "private-ca") -> Issuance:
    now = datetime.now(UTC)
    record = Issuance.first(DeviceId.parse("dev-0"), issuer, DEVICES[0].public_key.fingerprint, owner="w", now=now)
    if state != "requesting":
        record = record.issued(
            certificate_id="c" * 64, certificate_pem="pem", chain=None, not_after=now + timedelta(days=90)
        )
    if state in {"active", "revoked"}:
        record = record.active(clear_at=None)
    return record.revoked(now) if state == "revoked" else record


@pytest.mark.parametrize("state", ["active", "revoked"])
def test_a_reissue_opens_a_new_generation_and_keeps_who_and_why(state: str, stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    ledger = DynamoDbLedger(stack.client, table="ledger")
    ledger.write(issuance(state))
    done = stack.json("reissue", "dev-0", "--reason", "revoked by mistake")
    assert [one["outcome"] for one in done["issuances"]] == ["reopened"]
    found = ledger.read(DeviceId.parse("dev-0"), "private-ca")
    assert found is not None
    standing = found.standing(found.fingerprint, now=datetime.now(UTC), renewal_window=timedelta(days=30), trusts=bool)
    assert standing is Standing.NEXT_GENERATION
    (shown,) = stack.json("show", "dev-0")["issuances"]
    assert shown["lastReissue"]["reason"] == "revoked by mistake"
    assert shown["lastReissue"]["by"].startswith("arn:aws:")
    again = stack.json("reissue", "dev-0", "--reason", "again")
    assert [one["outcome"] for one in again["issuances"]] == ["already-open"]


def test_a_reissue_at_one_issuer_leaves_the_other_alone(stack: Stack) -> None:
    ledger = DynamoDbLedger(stack.client, table="ledger")
    for issuer in ("private-ca", "iot-core"):
        ledger.write(issuance("active", issuer=issuer))
    stack.run("reissue", "dev-0", "--reason", "x", "--issuer", "iot-core")
    left = ledger.read(DeviceId.parse("dev-0"), "private-ca")
    assert left is not None
    assert left.state.value == "active"


def test_a_device_that_is_being_served_is_not_reissued(stack: Stack) -> None:
    DynamoDbLedger(stack.client, table="ledger").write(issuance("requesting"))
    assert "being issued" in stack.run("reissue", "dev-0", "--reason", "x", code=ExitCode.FAILURE).stderr


def test_a_reissue_needs_a_reason_a_ledger_and_an_issuance(stack: Stack) -> None:
    stack.run("reissue", "dev-0", "--reason", " ", code=ExitCode.USAGE)
    stack.run("reissue", "dev-0", "--reason", "x", code=ExitCode.NOT_FOUND)
    stack.has_ledger = False
    stack.run("reissue", "dev-0", "--reason", "x", code=ExitCode.USAGE)


def test_a_request_that_comes_between_makes_the_reissue_fail(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = DynamoDbLedger(stack.client, table="ledger")
    ledger.write(issuance("active"))
    stale = ledger.read(DeviceId.parse("dev-0"), "private-ca")
    assert stale is not None
    ledger.write(stale)
    monkeypatch.setattr(DynamoDbLedger, "read", lambda *_: stale)
    assert "run it again" in stack.run("reissue", "dev-0", "--reason", "x", code=ExitCode.FAILURE).stderr
