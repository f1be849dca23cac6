"""What becomes of an admitted device, given what the table holds."""

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from secretfree.adapters.dynamodb.registry_items import (
    AttributeValue,
    EnrolledDevice,
    Provenance,
    is_device,
    timestamp,
    to_item,
)
from secretfree.registry.admission import Refusal, admit
from secretfree.registry.decision import Outcome, Verdict, decide
from secretfree.registry.entry import DeviceStatus
from secretfree.request.keys import DevicePublicKey

KEY, OTHER = (DevicePublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key()) for _ in range(2))
NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def item(key: DevicePublicKey | None = KEY, *, batch: str = "new", **row: object) -> dict[str, AttributeValue]:
    record = admit("dev-1", key, key_optional=True, **row)  # type: ignore[arg-type]
    return to_item(record, Provenance(batch, NOW, "csv"))


def enrolled(key: DevicePublicKey | None = KEY, **row: object) -> EnrolledDevice:
    return EnrolledDevice.from_item(item(key, batch="old", **row))


def test_an_item_has_what_the_runtime_and_the_audit_read() -> None:
    assert item(attributes={"colour": "red"}) == {
        "device-id": {"S": "dev-1"},
        "pubkey": {"S": KEY.registry_text()},
        "key-fingerprint": {"S": KEY.fingerprint},
        "status": {"S": "allowed"},
        "batch": {"S": "new"},
        "enrolled-at": {"S": "2026-01-31T09:30:00Z"},
        "source": {"S": "csv"},
        "attributes": {"M": {"colour": {"S": "red"}}},
    }


def test_an_item_without_a_key_has_no_key_attributes() -> None:
    assert not {"pubkey", "key-fingerprint"} & set(item(None))


def test_an_unknown_device_is_enrolled() -> None:
    assert decide(item(), None, ()) == Verdict(Outcome.ENROLLED, item())


def test_a_device_enrolled_with_this_key_is_left_as_it_is() -> None:
    assert decide(item(), enrolled(), {"dev-1"}).outcome is Outcome.UNCHANGED


@pytest.mark.parametrize(
    ("given", "kept", "named"),
    [
        ({"colour": "red", "lot": "7"}, {"colour": "blue", "lot": "7"}, "colour"),
        ({"colour": "red", "lot": "7"}, {}, "colour, lot"),
        ({f"a{number}": "x" for number in range(9)}, {}, "a0, a1, a2, a3, a4, ..."),
    ],
)
def test_attributes_that_the_registry_has_otherwise_are_named(
    given: dict[str, str], kept: dict[str, str], named: str
) -> None:
    verdict = decide(item(attributes=given), enrolled(attributes=kept), ())
    assert verdict.outcome is Outcome.UNCHANGED
    assert (verdict.detail or "").endswith(f": {named}")


def test_attributes_that_the_row_does_not_have_are_no_difference() -> None:
    assert decide(item(), enrolled(attributes={"colour": "red"}), ()).detail is None
    both = {"colour": "red", "lot": "7"}
    assert decide(item(attributes={"lot": "7"}), enrolled(attributes=both), ()).detail is None


def test_what_this_batch_wrote_before_it_was_cut_off_counts_as_enrolled_and_is_not_written_again() -> None:
    verdict = decide(item(), EnrolledDevice.from_item(item()), {"dev-1"})
    assert (verdict.outcome, verdict.already_written) == (Outcome.ENROLLED, True)


def test_an_enrolled_device_with_another_key_is_refused() -> None:
    verdict = decide(item(), enrolled(OTHER), ())
    assert (verdict.outcome, verdict.reason) == (Outcome.REFUSED, Refusal.ENROLLED_WITH_OTHER_KEY)
    assert "old" in (verdict.detail or "")


def test_with_a_reason_the_key_is_replaced_and_the_former_item_kept_inside() -> None:
    verdict = decide(item(), enrolled(OTHER), (), replace_reason="module swapped")
    assert verdict.outcome is Outcome.REPLACED
    assert verdict.item["pubkey"] == {"S": KEY.registry_text()}
    assert verdict.item["replaced"]["M"] == enrolled(OTHER).item
    assert verdict.item["replaced-reason"] == {"S": "module swapped"}


def test_a_replacement_that_this_batch_made_before_it_was_cut_off_is_not_made_again() -> None:
    first = decide(item(), enrolled(OTHER), (), replace_reason="x")
    again = decide(item(), EnrolledDevice.from_item(first.item), {"dev-1"}, replace_reason="x")
    assert (again.outcome, again.already_written) == (Outcome.REPLACED, True)


def test_another_key_is_no_pardon_for_a_blocked_device() -> None:
    kept = {"blocked-reason": {"S": "stolen"}, "blocked-at": {"S": "2026-01-30T00:00:00Z"}}
    blocked = {**enrolled(OTHER, status="blocked").item, **kept}
    verdict = decide(item(), EnrolledDevice.from_item(blocked), (), replace_reason="x")
    assert verdict.item["status"] == {"S": "blocked"}
    assert {name: verdict.item[name] for name in kept} == kept


def test_a_key_that_another_device_holds_is_refused_even_with_a_reason_to_replace() -> None:
    for known in (None, enrolled(), enrolled(OTHER)):
        verdict = decide(item(), known, {"dev-1", "dev-2"}, replace_reason="x")
        assert (verdict.outcome, verdict.reason) == (Outcome.REFUSED, Refusal.KEY_OF_OTHER_DEVICE)


def test_a_row_never_unblocks_and_never_blocks_an_enrolled_device() -> None:
    assert decide(item(), enrolled(status="blocked"), ()).outcome is Outcome.UNCHANGED
    verdict = decide(item(status="blocked"), enrolled(), ())
    assert (verdict.outcome, verdict.reason) == (Outcome.REFUSED, Refusal.ENROLLED_WITH_OTHER_STATUS)
    assert decide(item(status="blocked"), enrolled(status="blocked"), ()).outcome is Outcome.UNCHANGED


def test_an_item_of_an_existing_deployment_gets_its_fingerprint() -> None:
    legacy = EnrolledDevice.from_item({"device-id": {"S": "dev-1"}, "pubkey": {"S": KEY.registry_text()}})
    assert (legacy.fingerprint, legacy.has_fingerprint_attribute) == (KEY.fingerprint, False)
    assert decide(item(), legacy, ()).outcome is Outcome.INDEXED


def test_an_existing_item_whose_key_cannot_be_read_conflicts_with_any_key() -> None:
    broken = EnrolledDevice.from_item({"device-id": {"S": "dev-1"}, "pubkey": {"S": "rubbish"}})
    assert broken.fingerprint is None
    assert decide(item(), broken, ()).reason == Refusal.ENROLLED_WITH_OTHER_KEY


def test_a_row_without_a_key_leaves_an_enrolled_device_as_it_is() -> None:
    assert decide(item(None), enrolled(), ()).outcome is Outcome.UNCHANGED
    assert decide(item(None), None, ()).outcome is Outcome.ENROLLED


@pytest.mark.parametrize(("device_id", "expected"), [("dev-1", True), ("batch#x", False), ("a/b", False)])
def test_a_batchs_record_is_no_device(device_id: str, expected: bool) -> None:
    assert is_device({"device-id": {"S": device_id}}) is expected


def test_an_item_under_an_impossible_id_is_read_without_failing() -> None:
    odd = EnrolledDevice.from_item({"device-id": {"S": "a/b"}, "key-fingerprint": {"S": "f" * 64}})
    assert (odd.fingerprint, odd.status) == ("f" * 64, DeviceStatus.UNREADABLE)


def test_a_timestamp_is_utc_in_whole_seconds() -> None:
    assert timestamp(datetime.fromisoformat("2026-01-31T10:30:00.999+01:00")) == "2026-01-31T09:30:00Z"
