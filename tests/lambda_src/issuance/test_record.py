"""The ledger's record: which transitions exist, and what each leaves behind."""

from datetime import UTC, datetime, timedelta

import pytest
from secretfree.errors import SecretFreeError
from secretfree.issuance.record import LEASE, Issuance
from secretfree.issuance.states import IssuanceState, Standing
from secretfree.request.device_id import DeviceId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WINDOW = timedelta(days=30)


def ANY(_reference: str | None) -> bool:  # noqa: N802 - a constant
    """Every CA is trusted."""
    return True


def first() -> Issuance:
    return Issuance.first(DeviceId.parse("widget-1"), "private-ca", "a" * 64, owner="worker", now=NOW)


def issued() -> Issuance:
    return (
        first()
        .requested("arn")
        .issued(certificate_id="c1", certificate_pem="pem", chain=None, not_after=NOW + timedelta(days=365))
    )


def active() -> Issuance:
    return issued().active(clear_at=None)


def test_the_token_is_the_generation_s_own_and_fits_private_ca() -> None:
    record = first()
    other = record.next_generation(record.fingerprint, "w", NOW)
    token = record.token("ledger-1")
    assert token == first().token("ledger-1")
    assert token != other.token("ledger-1")
    assert token != record.token("ledger-2")
    assert len(token) == 36
    assert token.isalnum()


@pytest.mark.parametrize(
    "transition",
    [
        lambda: active().requested("arn"),
        lambda: first().active(clear_at=None),
        lambda: first().revoked(NOW),
        lambda: active().abandoned(NOW),
        lambda: active().revoked(NOW).active(clear_at=None),
        lambda: first().abandoned(NOW).requested("arn"),
    ],
)
def test_a_step_that_is_not_next_is_refused(transition: object) -> None:
    with pytest.raises(SecretFreeError, match="cannot go from"):
        transition()  # type: ignore[operator]


def test_a_lease_holds_until_it_expires() -> None:
    record = first()
    assert (
        record.standing("a" * 64, now=NOW + LEASE - timedelta(seconds=1), renewal_window=WINDOW, trusts=ANY)
        is Standing.WAIT
    )
    assert record.standing("a" * 64, now=NOW + LEASE, renewal_window=WINDOW, trusts=ANY) is Standing.RESUME
    assert record.released(NOW).standing("a" * 64, now=NOW, renewal_window=WINDOW, trusts=ANY) is Standing.RESUME


@pytest.mark.parametrize(
    ("record", "fingerprint", "after", "expected"),
    [
        (active(), "a", timedelta(), Standing.SERVE),
        (active(), "a", timedelta(days=350), Standing.RENEW),
        (active(), "b", timedelta(), Standing.NEXT_GENERATION),
        (active().revoked(NOW), "a", timedelta(), Standing.REFUSE),
        (active().revoked(NOW), "b", timedelta(), Standing.NEXT_GENERATION),
        (first().abandoned(NOW), "a", timedelta(), Standing.NEXT_GENERATION),
    ],
)
def test_standing_follows_from_state_key_and_time(
    record: Issuance, fingerprint: str, after: timedelta, expected: Standing
) -> None:
    assert record.standing(fingerprint * 64, now=NOW + after, renewal_window=WINDOW, trusts=ANY) is expected


def test_a_new_generation_accounts_for_the_old_certificate_and_for_an_unanswered_request() -> None:
    renewed = active().next_generation("a" * 64, "w", NOW)
    assert (renewed.superseded, renewed.suspects, renewed.replaces_key) == (("c1",), (), False)
    rekeyed = first().next_generation("b" * 64, "w", NOW)
    assert [suspect.fingerprint for suspect in rekeyed.suspects] == ["a" * 64]
    assert rekeyed.replaces_key
    assert rekeyed.next_generation("b" * 64, "w", NOW).replaces_key


def renewed(record: Issuance, number: int) -> Issuance:
    """The record after one more renewal, with the certificate `c<number>`."""
    begun = record.next_generation("a" * 64, "w", NOW).requested("arn")
    ready = begun.issued(certificate_id=f"c{number}", certificate_pem="pem", chain=None, not_after=NOW)
    return ready.active(clear_at=NOW)


def test_the_oldest_and_the_latest_stay_superseded_and_what_is_between_is_obsolete() -> None:
    third = renewed(active(), 2).next_generation("a" * 64, "w", NOW)
    assert (third.superseded, third.obsolete) == (("c1", "c2"), ())
    fourth = renewed(renewed(active(), 2), 3).next_generation("a" * 64, "w", NOW)
    assert (fourth.superseded, fourth.obsolete) == (("c1", "c3"), ("c2",))
    assert fourth.abandoned(NOW).due == NOW


def test_what_another_key_had_is_obsolete_when_the_certificate_that_replaced_it_is_renewed() -> None:
    begun = active().next_generation("b" * 64, "w", NOW).requested("arn")
    done = begun.issued(certificate_id="c2", certificate_pem="pem", chain=None, not_after=NOW).active(clear_at=NOW)
    third = done.next_generation("b" * 64, "w", NOW)
    assert (third.superseded, third.obsolete) == (("c2",), ("c1",))


def test_a_connect_makes_obsolete_what_is_older_and_nothing_else() -> None:
    record = renewed(renewed(active(), 2), 3)
    assert record.superseded == ("c1", "c2")
    assert record.connected_with("c1", NOW) == record
    assert record.connected_with("elsewhere", NOW) == record
    middle = record.connected_with("c2", NOW)
    assert (middle.superseded, middle.obsolete) == (("c2",), ("c1",))
    latest = middle.connected_with("c3", NOW)
    assert (latest.superseded, latest.obsolete, latest.superseded_until) == ((), ("c1", "c2"), None)
    assert latest.without_obsolete(["c1"], NOW).obsolete == ("c2",)
    assert latest.without_obsolete(["c1"], NOW).due is not None
    assert latest.without_obsolete(["c1", "c2"], NOW).due is None


def test_a_connect_during_an_issuance_leaves_its_lease_alone() -> None:
    record = renewed(renewed(active(), 2), 3).next_generation("a" * 64, "w", NOW)
    assert record.connected_with("c3", NOW) == record


def test_a_connect_with_a_certificate_that_waits_for_its_end_keeps_that_date() -> None:
    record = renewed(renewed(active(), 2), 3)
    left = record.connected_with("c2", NOW).without_obsolete(["c1"], NOW)
    assert left.due == left.superseded_until == NOW


def test_only_a_certificate_recorded_as_active_stays_good_while_another_key_takes_its_place() -> None:
    second = active().next_generation("a" * 64, "w", NOW).requested("arn")
    unfinished = second.issued(certificate_id="c2", certificate_pem="pem", chain=None, not_after=NOW)
    rekeyed = unfinished.next_generation("b" * 64, "w", NOW)
    assert (rekeyed.superseded, rekeyed.obsolete) == (("c1",), ("c2",))
    after_revocation = unfinished.revoked(NOW).next_generation("b" * 64, "w", NOW)
    assert (after_revocation.superseded, after_revocation.obsolete) == ((), ("c1", "c2"))


def test_an_abandoned_generation_leaves_no_certificate_to_supersede() -> None:
    record = issued().abandoned(NOW).next_generation("a" * 64, "w", NOW)
    assert record.superseded == ()
    assert record.certificate_id is None


def test_only_what_is_left_to_clear_keeps_a_finished_record_due() -> None:
    later = NOW + timedelta(hours=1)
    assert issued().active(clear_at=later).due is None
    renewed = active().next_generation("a" * 64, "w", NOW).requested("arn")
    done = renewed.issued(certificate_id="c2", certificate_pem="pem", chain=None, not_after=NOW)
    assert done.active(clear_at=later).due == later
    assert done.active(clear_at=later).cleared().due is None
    assert done.revoked(NOW).due == NOW


def test_every_state_is_reachable() -> None:
    reached = {first().state, first().requested("r").state, issued().state, active().state}
    reached |= {active().revoked(NOW).state, first().abandoned(NOW).state}
    assert reached == set(IssuanceState)


def test_a_reopened_issuance_keeps_its_active_certificate_until_the_next_is_active() -> None:
    later = NOW + timedelta(days=9)
    record = active().reopened(later)
    assert record.standing("a" * 64, now=later, renewal_window=WINDOW, trusts=ANY) is Standing.NEXT_GENERATION
    assert (record.superseded, record.obsolete, record.due) == (("c1",), (), None)
    following = record.next_generation("a" * 64, "w", later)
    assert (following.generation, following.superseded, following.replaces_key) == (2, ("c1",), False)
    assert following.begun_at == later


def test_a_reopened_issuance_whose_certificate_was_revoked_has_it_removed() -> None:
    record = active().revoked(NOW).reopened(NOW)
    assert record.standing("a" * 64, now=NOW, renewal_window=WINDOW, trusts=ANY) is Standing.NEXT_GENERATION
    assert (record.superseded, record.obsolete, record.due) == ((), ("c1",), NOW)


@pytest.mark.parametrize("record", [first(), issued(), first().abandoned(NOW)])
def test_an_issuance_that_is_not_settled_on_a_certificate_is_not_reopened(record: Issuance) -> None:
    with pytest.raises(SecretFreeError, match="is not reopened"):
        record.reopened(NOW)
