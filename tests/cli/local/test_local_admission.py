"""Which requests may come in at all: the rule that every server of the local cloud applies before it reads further."""

from __future__ import annotations

import pytest
from secretfree_cli.local.emulators.admission import refusal_of


def asked(*headers: tuple[str, str]) -> str | None:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    return refusal_of(raw, is_deployed=lambda name: name == "api.example.com")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:4566",
        "127.0.0.1",
        "127.0.0.2:1",
        "localhost:4566",
        "LOCALHOST",
        "[::1]:4566",
        "abcd1234.execute-api.localhost:4566",
        "api.example.com",
        "API.example.com:8443",
    ],
)
def test_names_of_this_machine_and_of_what_is_deployed_are_taken(host):
    assert asked(("Host", host)) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:4566",
        "localhost.evil.example",
        "notlocalhost",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "192.168.0.1",
        "",
        "localhost:4566,evil.example",
        "localhost@evil.example",
        "localhost/evil",
        "[::2]",
    ],
)
def test_a_foreign_name_is_refused(host):
    assert asked(("Host", host)) is not None


def test_a_request_needs_exactly_one_host():
    assert asked() is not None
    assert asked(("Host", "localhost"), ("host", "localhost")) is not None


@pytest.mark.parametrize(
    "header",
    [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://localhost:3000"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "no-cors"),
        ("sec-fetch-dest", "empty"),
    ],
)
def test_what_a_page_sends_is_refused(header):
    assert asked(("Host", "localhost:4566"), header) is not None
