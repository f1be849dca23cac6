"""What is read from API Gateway's event."""

from typing import Any

import pytest
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.handlers.http.request import device_csr, header_values, request_id


@pytest.mark.parametrize("name", ["device-csr", "Device-Csr", "DEVICE-CSR"])
def test_the_header_is_found_in_any_letter_case(name: str) -> None:
    assert device_csr({"multiValueHeaders": {"Accept": ["*/*"], name: ["AAAA"]}}) == "AAAA"


@pytest.mark.parametrize(
    "event",
    [{}, {"multiValueHeaders": None}, {"multiValueHeaders": {}}, {"multiValueHeaders": {"device-csr": []}},
     {"multiValueHeaders": {"device-csr": None}}, {"headers": {"device-csr": "AAAA"}}],
)  # fmt: skip
def test_no_value_is_a_missing_header(event: dict[str, Any]) -> None:
    with pytest.raises(SecretFreeError) as caught:
        device_csr(event)
    assert (caught.value.code, caught.value.reason) == (ErrorCode.MISSING_CSR, Reason.MISSING_HEADER)


@pytest.mark.parametrize(
    "headers",
    [{"device-csr": ["AAAA", "BBBB"]}, {"device-csr": ["AAAA"] * 2}, {"device-csr": ["A"], "Device-CSR": ["A"]}],
)
def test_more_than_one_value_is_malformed_whatever_the_last_one_is(headers: dict[str, list[str]]) -> None:
    with pytest.raises(SecretFreeError) as caught:
        device_csr({"multiValueHeaders": headers, "headers": {"device-csr": "AAAA"}})
    assert (caught.value.code, caught.value.reason) == (ErrorCode.MALFORMED_REQUEST, Reason.MULTIPLE_HEADERS)


def test_another_header_can_have_many_values() -> None:
    event = {"multiValueHeaders": {"accept": ["a"], "Accept": ["b", "c"], "device-csr": ["AAAA"]}}
    assert header_values(event, "accept") == ["a", "b", "c"]


def test_the_request_id_is_api_gateways() -> None:
    assert request_id({"requestContext": {"requestId": "id-1"}}) == "id-1"
    assert [request_id(event) for event in ({}, {"requestContext": None}, {"requestContext": {}})] == ["", "", ""]
