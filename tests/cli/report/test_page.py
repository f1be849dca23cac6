"""The report's page: what it says, that nothing breaks out of it, and how a browser shows it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from secretfree_cli.report.facts import MOST_STUCK, AuthorityLine, DenialSeries, Facts, StuckDevice, class_of
from secretfree_cli.report.page import render
from support.browser import BROWSERS, browser, overflowing

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\"'&"


def facts() -> Facts:
    days = [NOW.replace(hour=0) - timedelta(days=back) for back in range(13, -1, -1)]
    made = Facts(title=HOSTILE, made_at=NOW, days=days, asked=3)
    for number in range(40):
        made.add_device(f"reel-{number % 3}", blocked=number == 7, provisioned=number % 2 == 0)
    made.add_device(HOSTILE, blocked=False, provisioned=False)
    made.ends.update({"within 7 days": 3, "later": 17})
    made.denials = [
        DenialSeries(reason=reason, by_day={day: (index + rank) % 5 for index, day in enumerate(days)})
        for rank, reason in enumerate(("unknown-device", "key-mismatch", HOSTILE))
    ]
    made.authorities = [
        AuthorityLine(
            arn="arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/11111111-2222-3333-4444-555555555555",
            status="ACTIVE",
            not_after=NOW + timedelta(days=900),
        )
    ]
    made.add_stuck(
        StuckDevice(
            device_id="f" * 64, issuer="private-ca", state="requested", attempts=4, since=NOW - timedelta(hours=3)
        )
    )
    return made


class Outline(HTMLParser):
    """Tags that stay open, addresses that a browser would fetch, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta"}:
            self.open.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_is_well_formed_fetches_nothing_and_lets_no_name_become_markup() -> None:
    outline = Outline()
    outline.feed(render(facts()))
    assert outline.open == []
    assert outline.fetched == []
    assert HOSTILE in outline.text
    assert "<script" not in render(facts())


def test_the_page_shows_each_part() -> None:
    page = render(facts())
    for heading in (
        "From enrolment to certificate",
        "Enrolled and provisioned, by batch",
        "When certificates end",
        "Refused requests, by day and reason",
        "Certificate authorities",
        "Devices without an end: 1",
    ):
        assert heading in page


def test_an_empty_product_line_has_a_page() -> None:
    page = render(Facts(title="widget", made_at=NOW, days=[NOW]))
    assert "No device is enrolled." in page
    assert "No issuance is unfinished." in page


@pytest.mark.parametrize(
    ("left", "name"),
    [
        (timedelta(), "ended"),
        (timedelta(days=7), "within 7 days"),
        (timedelta(days=8), "within 30 days"),
        (timedelta(days=366), "later"),
    ],
)
def test_a_certificate_is_counted_in_the_class_of_its_end(left: timedelta, name: str) -> None:
    assert class_of(NOW + left, NOW) == name


def test_of_many_stuck_devices_those_that_wait_longest_are_kept() -> None:
    made = Facts(title="widget", made_at=NOW, days=[NOW])
    for number in range(MOST_STUCK + 20):
        since = NOW - timedelta(minutes=number)
        made.add_stuck(StuckDevice(device_id=str(number), issuer="i", state="issued", attempts=1, since=since))
    assert made.stuck_in_all == MOST_STUCK + 20
    assert min(int(one.device_id) for one in made.stuck) == 20


@pytest.mark.slow
@pytest.mark.skipif(browser() is None, reason=f"none of {', '.join(BROWSERS)} is installed")
def test_no_width_makes_the_page_overflow(tmp_path: Path) -> None:
    # The measuring page reads the report from outside, which its policy does not concern.
    (tmp_path / "report.html").write_text(render(facts()))
    assert overflowing(str(browser()), tmp_path, ["report.html"], [390, 1280]) == []
