"""The exact calls that end a device's access, and what counts as done."""

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from secretfree.adapters.authority_revocation import RevokingAuthorities, serial_in_hex
from secretfree.adapters.iot_connections import IotConnections
from secretfree.adapters.iot_core import IotCertificates
from secretfree.errors import SecretFreeError
from secretfree.issuance.ports import ThrottledError

CA = "arn:aws:acm-pca:eu-central-1:111122223333:certificate-authority/11111111-2222-3333-4444-555555555555"


def stubbed(service: str) -> tuple[Any, Stubber]:
    client = boto3.client(service, region_name="eu-central-1")
    stubber = Stubber(client)
    stubber.activate()
    return client, stubber


def test_a_connection_ends_with_its_session_and_without_its_last_will() -> None:
    client, stubber = stubbed("iot-data")
    parameters = {"clientId": "widget-1", "cleanSession": True, "preventWillMessage": True}
    stubber.add_response("delete_connection", {}, parameters)
    assert IotConnections(client).end("widget-1")
    stubber.assert_no_pending_responses()


def test_a_client_that_is_not_connected_is_no_failure() -> None:
    client, stubber = stubbed("iot-data")
    stubber.add_client_error("delete_connection", "ResourceNotFoundException", http_status_code=404)
    assert not IotConnections(client).end("widget-1")


@pytest.mark.parametrize(("code", "raised"), [("ThrottlingException", ThrottledError), ("Forbidden", SecretFreeError)])
def test_other_failures_are_raised(code: str, raised: type[Exception]) -> None:
    client, stubber = stubbed("iot-data")
    stubber.add_client_error("delete_connection", code)
    with pytest.raises(raised):
        IotConnections(client).end("widget-1")


def test_a_certificate_is_set_to_revoked() -> None:
    client, stubber = stubbed("iot")
    stubber.add_response("update_certificate", {}, {"certificateId": "a" * 64, "newStatus": "REVOKED"})
    assert IotCertificates(client).revoke("a" * 64)
    stubber.add_client_error("update_certificate", "ResourceNotFoundException", http_status_code=404)
    assert not IotCertificates(client).revoke("a" * 64)


def test_the_ca_revokes_by_the_serial_number_in_the_certificate_s_arn() -> None:
    client, stubber = stubbed("acm-pca")
    parameters = {
        "CertificateAuthorityArn": CA,
        "CertificateSerial": "0abc",
        "RevocationReason": "PRIVILEGE_WITHDRAWN",
    }
    stubber.add_response("revoke_certificate", {}, parameters)
    assert RevokingAuthorities(lambda _arn: client, [CA]).revoke(f"{CA}/certificate/{0xABC}")
    stubber.assert_no_pending_responses()


@pytest.mark.parametrize("code", ["RequestAlreadyProcessedException", "ResourceNotFoundException"])
def test_a_certificate_that_is_revoked_or_gone_is_done(code: str) -> None:
    client, stubber = stubbed("acm-pca")
    stubber.add_client_error("revoke_certificate", code)
    assert RevokingAuthorities(lambda _arn: client, [CA]).revoke(f"{CA}/certificate/1")


def test_a_ca_of_another_product_line_is_left_alone() -> None:
    client, _ = stubbed("acm-pca")
    assert not RevokingAuthorities(lambda _arn: client, []).revoke(f"{CA}/certificate/1")


@pytest.mark.parametrize(("decimal", "expected"), [("1", "01"), ("16", "10"), ("2748", "0abc"), ("65535", "ffff")])
def test_serial_numbers_are_whole_bytes(decimal: str, expected: str) -> None:
    assert serial_in_hex(decimal) == expected
