"""The message of a connect: the rule's messages are read strictly, clients other than devices are ignored."""

import json

import pytest
from secretfree.retirement.connected import Connected
from support.retiring import event_body


def test_a_device_s_connect_names_the_device_and_its_certificate() -> None:
    connected = Connected.from_message(event_body("a" * 64, "widget-1"))
    assert connected is not None
    assert (connected.device_id, connected.certificate_id) == ("widget-1", "a" * 64)


@pytest.mark.parametrize(
    ("client", "principal"),
    [
        ("widget-1", "AROAEXAMPLE:role"),
        ("widget-1", "A" * 64),
        ("widget-1", "a" * 64 + "\n"),
        ("a client/with a slash", "a" * 64),
        ("", "a" * 64),
        ("x" * 65, "a" * 64),
    ],
)
def test_a_client_that_is_no_device_of_the_product_is_passed_over(client: str, principal: str) -> None:
    assert Connected.from_message(event_body(principal, client)) is None


@pytest.mark.parametrize(
    "body", ["", "x", "[]", "null", "{}", json.dumps({"clientId": 1, "principalIdentifier": "a" * 64})]
)
def test_what_the_rule_does_not_send_is_an_error(body: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Connected.from_message(body)
