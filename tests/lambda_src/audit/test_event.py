"""Which changes of the tables are events, and what of them is kept."""

import json
from datetime import UTC, datetime

import pytest
from secretfree.audit.event import LONGEST, ItemChange, event_of, shard_of

AT = datetime(2026, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC)
DEVICE = {"device-id": "widget-1", "pubkey": "LS0t", "key-fingerprint": "ab" * 32, "batch": "b-1", "source": "csv"}
CERTIFICATE = {"device-id": "widget-1", "record": "certificate#c0ffee", "issuer": "private-ca", "generation": "2"}
ISSUANCE = {"device-id": "widget-1", "record": "issuance#private-ca", "state": "begun"}


def change(before=None, after=None, *, record=None, device_id="widget-1", expired=False):
    return ItemChange(
        change_id="1", at=AT, device_id=device_id, record=record, before=before, after=after, expired=expired
    )


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        (None, DEVICE, "enrolled"),
        (DEVICE, {**DEVICE, "status": "blocked"}, "blocked"),
        ({**DEVICE, "status": "blocked"}, DEVICE, "unblocked"),
        ({**DEVICE, "status": "blocked"}, {**DEVICE, "status": "allowed"}, "unblocked"),
        (DEVICE, {**DEVICE, "status": "lost"}, "status-changed"),
        (DEVICE, {**DEVICE, "key-fingerprint": "cd" * 32}, "key-replaced"),
        (DEVICE, {**DEVICE, "pubkey": "LS0u"}, "key-replaced"),
        (DEVICE, {**DEVICE, "batch": "b-2"}, "record-changed"),
        (DEVICE, None, "removed"),
    ],
)
def test_each_change_of_the_registry_is_an_event(before, after, name):
    assert event_of(change(before, after)).event == name


def test_a_write_that_changes_nothing_is_none():
    assert event_of(change(DEVICE, DEVICE)) is None


@pytest.mark.parametrize("device_id", ["batch#b-1", "key#" + "ab" * 32])
def test_items_of_the_registry_that_are_no_devices_are_none(device_id):
    assert event_of(change(None, {"device-id": device_id}, device_id=device_id)) is None


def test_a_replaced_key_names_the_former_one():
    event = event_of(change(DEVICE, {**DEVICE, "key-fingerprint": "cd" * 32}))
    assert event.fields["keyFingerprint"] == "cd" * 32
    assert event.fields["formerKeyFingerprint"] == "ab" * 32


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        (None, "active", "issued"),
        ("active", "superseded", "superseded"),
        ("active", "revoked", "revoked"),
    ],
)
def test_each_state_of_a_certificate_is_an_event(before, after, name):
    old = None if before is None else {**CERTIFICATE, "state": before}
    event = event_of(change(old, {**CERTIFICATE, "state": after}, record="certificate#c0ffee"))
    assert event.event == name
    assert event.fields["certificateId"] == "c0ffee"
    assert event.fields["issuer"] == "private-ca"


def test_a_certificates_record_that_changes_otherwise_is_none():
    old = {**CERTIFICATE, "state": "active"}
    assert event_of(change(old, {**old, "expires-at": "1"}, record="certificate#c0ffee")) is None


@pytest.mark.parametrize("record", ["certificate#c0ffee", "issuance#private-ca"])
def test_a_record_that_is_deleted_is_evidence_unless_its_time_to_live_did_it(record):
    assert event_of(change(CERTIFICATE, None, record=record)).event == "ledger-record-removed"
    assert event_of(change(CERTIFICATE, None, record=record, expired=True)) is None


def test_a_lease_and_a_step_are_none():
    later = {**ISSUANCE, "lease-owner": "x", "version": "2", "state": "issued"}
    assert event_of(change(ISSUANCE, later, record="issuance#private-ca")) is None


def test_an_issuance_that_did_not_finish_says_why():
    refused = event_of(change(ISSUANCE, {**ISSUANCE, "last-reason": "ca-disabled"}, record="issuance#private-ca"))
    assert (refused.event, refused.fields["reason"]) == ("issuance-refused", "ca-disabled")


def test_a_reissue_says_who_allowed_it_and_why():
    after = {"by": "arn:aws:iam::1:user/op", "reason": "new board", "generation": "3", "at": "2026-05-01T12:00:00Z"}
    event = event_of(change(None, after, record="reissue#private-ca"))
    assert event.event == "reissue-allowed"
    assert dict(event.fields) == {
        "by": "arn:aws:iam::1:user/op",
        "reason": "new board",
        "generation": "3",
        "issuer": "private-ca",
    }


def test_a_request_for_a_renewal_says_who_asked_and_by_which_job():
    after = {"by": "arn:aws:iam::1:user/op", "reason": "new CA", "job": "job-1", "at": "2026-05-01T12:00:00Z"}
    event = event_of(change(None, after, record="renewal#private-ca"))
    assert event.event == "renewal-requested"
    assert dict(event.fields) == {
        "by": "arn:aws:iam::1:user/op",
        "reason": "new CA",
        "job": "job-1",
        "issuer": "private-ca",
    }
    assert event_of(change(after, {**after, "expires-at": "1"}, record="renewal#private-ca")) is None


def test_a_retired_device_is_an_event_and_so_is_its_enrolment_anew():
    retired = {"device-id": DEVICE["device-id"], "status": "retired", "retired-reason": "scrapped"}
    event = event_of(change(DEVICE, retired))
    assert (event.event, event.fields["retiredReason"]) == ("retired", "scrapped")
    assert event_of(change(retired, DEVICE)).event == "enrolled"


def test_a_bound_key_is_an_event_and_an_unknown_record_is_none():
    assert event_of(change(None, {"key-fingerprint": "ab" * 32}, record="binding")).event == "key-bound"
    assert event_of(change(None, {"x": "y"}, record="something-new")) is None


def test_only_listed_attributes_are_kept_and_none_is_long():
    item = {**DEVICE, "owner-email": "private@example.com", "status": "blocked", "blocked-reason": "x" * 4000}
    event = event_of(change(DEVICE, item))
    assert set(event.fields) == {"keyFingerprint", "status", "batch", "source", "blockedReason"}
    assert len(event.fields["blockedReason"]) == LONGEST


def test_a_line_is_one_json_object_of_texts_with_its_end():
    line = event_of(change(None, DEVICE)).to_line()
    assert line.endswith("\n")
    assert line.count("\n") == 1
    document = json.loads(line)
    assert document["at"] == "2026-05-01T12:00:00.250Z"
    assert document["event"] == "enrolled"
    assert document["deviceId"] == "widget-1"
    assert all(isinstance(value, str) for value in document.values())


def test_a_device_has_one_of_256_folders():
    assert shard_of("widget-1") == shard_of("widget-1")
    assert len({shard_of(f"widget-{number}") for number in range(5000)}) == 256
