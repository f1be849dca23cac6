"""The decision on an admitted device, by its record in the table."""

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from secretfree.adapters.dynamodb.registry_items import device_item, is_device, read_device
from secretfree.registry.admission import Refusal, admit
from secretfree.registry.decision import Outcome, Verdict, decide
from secretfree.registry.device import MAX_FORMER, EnrolledDevice, Provenance, timestamp
from secretfree.registry.entry import DeviceStatus
from secretfree.request.keys import DevicePublicKey

KEY, OTHER = (DevicePublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key()) for _ in range(2))
NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def device(key: DevicePublicKey | None = KEY, *, batch: str = "new", **row: object) -> EnrolledDevice:
    record = admit("dev-1", key, key_optional=True, **row)  # type: ignore[arg-type]
    return EnrolledDevice.newly(record, Provenance(batch, NOW, "csv"))


def enrolled(key: DevicePublicKey | None = KEY, **row: object) -> EnrolledDevice:
    return read_device(device_item(device(key, batch="old", **row)))


def test_an_item_has_what_the_runtime_and_the_audit_read() -> None:
    assert device_item(device(attributes={"colour": "red"}, not_before="2027-01-01T01:00:00+01:00")) == {
        "device-id": {"S": "dev-1"},
        "pubkey": {"S": KEY.registry_text()},
        "key-fingerprint": {"S": KEY.fingerprint},
        "status": {"S": "allowed"},
        "batch": {"S": "new"},
        "enrolled-at": {"S": "2026-01-31T09:30:00Z"},
        "source": {"S": "csv"},
        "not-before": {"S": "2027-01-01T00:00:00Z"},
        "attributes": {"M": {"colour": {"S": "red"}}},
    }


def test_an_item_without_a_key_has_no_key_attributes() -> None:
    assert not {"pubkey", "key-fingerprint"} & set(device_item(device(None)))


def test_an_unknown_device_is_enrolled() -> None:
    assert decide(device(), None, ()) == Verdict(Outcome.ENROLLED, device())


def test_a_device_enrolled_with_this_key_is_left_as_it_is() -> None:
    assert decide(device(), enrolled(), {"dev-1"}).outcome is Outcome.UNCHANGED


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
    verdict = decide(device(attributes=given), enrolled(attributes=kept), ())
    assert verdict.outcome is Outcome.UNCHANGED
    assert (verdict.detail or "").endswith(f": {named}")


def test_attributes_that_the_row_does_not_have_are_no_difference() -> None:
    assert decide(device(), enrolled(attributes={"colour": "red"}), ()).detail is None
    both = {"colour": "red", "lot": "7"}
    assert decide(device(attributes={"lot": "7"}), enrolled(attributes=both), ()).detail is None


def test_what_this_batch_wrote_before_it_was_interrupted_counts_as_enrolled_and_is_not_written_again() -> None:
    verdict = decide(device(), read_device(device_item(device())), {"dev-1"})
    assert (verdict.outcome, verdict.already_written) == (Outcome.ENROLLED, True)


def test_an_enrolled_device_with_another_key_is_refused() -> None:
    verdict = decide(device(), enrolled(OTHER), ())
    assert (verdict.outcome, verdict.reason) == (Outcome.REFUSED, Refusal.ENROLLED_WITH_OTHER_KEY)
    assert "old" in (verdict.detail or "")


def test_with_a_reason_the_key_is_replaced_and_the_former_record_kept() -> None:
    verdict = decide(device(), enrolled(OTHER), (), replace_reason="module swapped")
    assert verdict.outcome is Outcome.REPLACED
    item = device_item(verdict.device)
    assert item["pubkey"] == {"S": KEY.registry_text()}
    assert item["replaced"] == {"L": [{"M": enrolled(OTHER).stored}]}
    assert item["replaced-reason"] == {"S": "module swapped"}


def test_a_replacement_that_this_batch_made_before_it_was_interrupted_is_not_made_again() -> None:
    first = decide(device(), enrolled(OTHER), (), replace_reason="x")
    again = decide(device(), read_device(device_item(first.device)), {"dev-1"}, replace_reason="x")
    assert (again.outcome, again.already_written) == (Outcome.REPLACED, True)


def test_another_key_is_no_pardon_for_a_blocked_device() -> None:
    kept = {"blocked-reason": {"S": "stolen"}, "blocked-at": {"S": "2026-01-30T00:00:00Z"}}
    blocked = {**device_item(device(OTHER, batch="old", status="blocked")), **kept}
    verdict = decide(device(), read_device(blocked), (), replace_reason="x")
    item = device_item(verdict.device)
    assert item["status"] == {"S": "blocked"}
    assert {name: item[name] for name in kept} == kept


def test_a_key_that_another_device_holds_is_refused_even_with_a_reason_to_replace() -> None:
    for known in (None, enrolled(), enrolled(OTHER)):
        verdict = decide(device(), known, {"dev-1", "dev-2"}, replace_reason="x")
        assert (verdict.outcome, verdict.reason) == (Outcome.REFUSED, Refusal.KEY_OF_OTHER_DEVICE)


def test_a_row_never_unblocks_and_never_blocks_an_enrolled_device() -> None:
    assert decide(device(), enrolled(status="blocked"), ()).outcome is Outcome.UNCHANGED
    verdict = decide(device(status="blocked"), enrolled(), ())
    assert (verdict.outcome, verdict.reason) == (Outcome.REFUSED, Refusal.ENROLLED_WITH_OTHER_STATUS)
    assert decide(device(status="blocked"), enrolled(status="blocked"), ()).outcome is Outcome.UNCHANGED


def test_an_item_of_an_existing_deployment_gets_its_fingerprint() -> None:
    legacy = read_device({"device-id": {"S": "dev-1"}, "pubkey": {"S": KEY.registry_text()}})
    assert (legacy.fingerprint, legacy.fingerprint_recorded) == (KEY.fingerprint, False)
    assert decide(device(), legacy, ()).outcome is Outcome.INDEXED


def test_an_existing_item_whose_key_cannot_be_read_conflicts_with_any_key() -> None:
    broken = read_device({"device-id": {"S": "dev-1"}, "pubkey": {"S": "rubbish"}})
    assert broken.fingerprint is None
    assert decide(device(), broken, ()).reason == Refusal.ENROLLED_WITH_OTHER_KEY


def test_a_row_without_a_key_leaves_an_enrolled_device_as_it_is() -> None:
    assert decide(device(None), enrolled(), ()).outcome is Outcome.UNCHANGED
    assert decide(device(None), None, ()).outcome is Outcome.ENROLLED


@pytest.mark.parametrize(("device_id", "expected"), [("dev-1", True), ("batch#x", False), ("a/b", False)])
def test_a_batchs_record_is_no_device(device_id: str, expected: bool) -> None:
    assert is_device({"device-id": {"S": device_id}}) is expected


def test_an_item_under_an_impossible_id_is_read_without_failing() -> None:
    odd = read_device({"device-id": {"S": "a/b"}, "key-fingerprint": {"S": "f" * 64}})
    assert (odd.fingerprint, odd.status) == ("f" * 64, DeviceStatus.UNREADABLE)


def test_a_timestamp_is_utc_in_whole_seconds() -> None:
    assert timestamp(datetime.fromisoformat("2026-01-31T10:30:00.999+01:00")) == "2026-01-31T09:30:00Z"


def test_what_this_batch_wrote_before_it_was_complete_counts_as_enrolled_before() -> None:
    verdict = decide(device(), read_device(device_item(device())), {"dev-1"}, complete=True)
    assert (verdict.outcome, verdict.already_written) == (Outcome.UNCHANGED, False)


def test_the_record_of_a_device_does_not_grow_however_often_its_key_is_replaced() -> None:
    stored = enrolled(attributes={"colour": "red" * 100})
    sizes = set()
    for number in range(1_000):
        key = (KEY, OTHER)[number % 2 == 0]
        verdict = decide(device(key, batch=f"batch-{number:04}"), stored, (), replace_reason="swap")
        assert verdict.outcome is Outcome.REPLACED
        item = device_item(verdict.device)
        if number > MAX_FORMER:
            sizes.add(len(str(item)) - len(item["replaced-forgotten"]["N"]))
        stored = read_device(item)
    assert len(sizes) == 1
    assert [record.batch for record in stored.former] == [f"batch-{998 - n:04}" for n in range(MAX_FORMER)]
    assert stored.forgotten == 1_000 - MAX_FORMER
    assert all(record.former == () for record in stored.former)


def test_former_items_that_an_earlier_version_nested_are_read_as_a_flat_history() -> None:
    first = {**device_item(device(KEY, batch="a")), "colour": {"S": "red"}}
    second = {**device_item(device(OTHER, batch="b")), "replaced": {"M": first}}
    third = {**device_item(device(KEY, batch="c")), "replaced": {"M": second}}
    read = read_device(third)
    assert [record.batch for record in read.former] == ["b", "a"]
    assert device_item(read)["replaced"]["L"][1]["M"] == first


@pytest.mark.parametrize(
    "broken",
    [
        {"status": {"S": "maybe"}},
        {"not-before": {"S": "tomorrow"}},
        {"replaced": {"S": "x"}},
        {"replaced": {"L": [{"S": "x"}]}},
        {"replaced": {"L": [{"M": {"pubkey": {"S": "x"}}}]}},
    ],
)
def test_an_unreadable_record_is_refused_and_not_taken_for_enrolled(broken: dict[str, dict[str, object]]) -> None:
    read = read_device({**device_item(device(batch="old")), **broken})
    assert read.status is DeviceStatus.UNREADABLE
    assert decide(device(), read, {"dev-1"}).reason == Refusal.UNREADABLE_RECORD


@pytest.mark.parametrize("key", [KEY, OTHER, None])
def test_a_retired_device_is_enrolled_anew_only_with_a_reason_and_with_any_key(key: DevicePublicKey | None) -> None:
    retired = read_device(device_item(enrolled().retired("scrapped", NOW)))
    assert (retired.status, retired.public_key, retired.retired_reason) == (DeviceStatus.RETIRED, None, "scrapped")
    refused = decide(device(key), retired, ())
    assert (refused.outcome, refused.reason) == (Outcome.REFUSED, Refusal.RETIRED)
    assert "2026-01-31T09:30:00Z" in (refused.detail or "")
    anew = decide(device(key), retired, (), replace_reason="refurbished")
    assert anew.outcome is Outcome.REPLACED
    assert (anew.device.status, anew.device.replaced_reason) == (DeviceStatus.ALLOWED, "refurbished")
    assert [former.status for former in anew.device.former] == [DeviceStatus.RETIRED]


def test_a_device_that_was_blocked_before_it_was_retired_is_allowed_when_it_is_enrolled_anew() -> None:
    retired = read_device(device_item(enrolled(status="blocked").retired("scrapped", NOW)))
    assert decide(device(), retired, (), replace_reason="found").device.status is DeviceStatus.ALLOWED
