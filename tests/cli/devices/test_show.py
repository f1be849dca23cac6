"""What the command shows of one device: its certificates, its issuances, and what is wrong with them."""

import time

import boto3
import pytest
from botocore.exceptions import ClientError
from secretfree_cli.devices.iot_view import IotView
from secretfree_cli.output import ExitCode
from support.stack_on_moto import DEVICES, Stack


def test_a_device_is_shown_with_its_certificates(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    stack.certify(0)
    shown = stack.json("show", "dev-0")
    assert shown["keyFingerprint"] == DEVICES[0].public_key.fingerprint
    assert shown["attributes"] == {"colour": "red"}
    assert [one["certificateId"] for one in shown["certificates"]] == ["c1"]
    assert "c1 active" in stack.run("show", "dev-0").stdout
    stack.run("show", "dev-9", code=ExitCode.NOT_FOUND)
    stack.run("show", "a/b", code=ExitCode.USAGE)


def test_a_device_stuck_at_202_is_shown_with_since_attempts_lease_and_reason(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    later = str(int((time.time() + 30) * 1000))
    stack.record_issuance(
        0, **{"lease-owner": {"S": "w"}, "lease-expires": {"N": later}, "last-reason": {"S": "throttled"}}
    )
    (issuance,) = stack.json("show", "dev-0")["issuances"]
    assert (issuance["state"], issuance["attempts"], issuance["generation"]) == ("requesting", 14, 1)
    assert (issuance["since"], issuance["lastReason"]) == ("2026-01-01T00:00:00Z", "throttled")
    assert issuance["leaseExpires"].endswith("Z")
    shown = stack.run("show", "dev-0").stdout
    assert "gets 202 since 2026-01-01T00:00:00Z, after 14 requests; last reason: throttled" in shown
    assert "lease held until" in shown


def test_a_device_with_a_good_certificate_is_not_called_stuck_while_its_renewal_fails(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    end = {"N": str(4_102_444_800_000)}
    stack.record_issuance(0, **{"in-use": {"M": {"not-after": end}}, "last-reason": {"S": "<b>not a code</b>"}})
    (issuance,) = stack.json("show", "dev-0")["issuances"]
    assert (issuance["inUseUntil"], issuance["lastReason"]) == ("2100-01-01T00:00:00Z", None)
    shown = stack.run("show", "dev-0").stdout
    assert "gets its former certificate since" in shown
    assert "gets 202" not in shown
    assert "not a code" not in shown


def test_a_restored_ledger_does_not_hide_an_active_certificate(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    certificate = stack.register(0)
    shown = stack.json("show", "dev-0")
    (one,) = shown["certificates"]
    assert (one["certificateId"], one["state"]) == (certificate, None)
    assert one["iotCore"] == {
        "status": "ACTIVE",
        "policies": ["devices"],
        "policyAttached": True,
        "thingAttached": True,
    }
    assert [f"certificate {certificate}: active at IoT Core, but the ledger has no record of it"] == shown["warnings"]
    assert stack.json("remove", "dev-0", code=ExitCode.REFUSED)["devices"][0]["outcome"] == "has-active-certificate"
    boto3.client("iot").update_certificate(certificateId=certificate, newStatus="INACTIVE")
    stack.run("remove", "dev-0")
    assert stack.items() == {}


def test_what_the_ledger_calls_active_is_compared_with_iot_core(stack: Stack) -> None:
    stack.enroll((0, 0), (1, 1), batch="one")
    stack.certify(0, certificate="0" * 64)
    assert any("IoT Core does not have it" in said for said in stack.json("show", "dev-0")["warnings"])
    certificate = stack.register(1, status="REVOKED")
    stack.certify(1, certificate=certificate)
    assert any("IoT Core says REVOKED" in said for said in stack.json("show", "dev-1")["warnings"])


def test_an_active_certificate_without_policy_or_thing_is_said(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    stack.certify(0, certificate=stack.register(0, policy=False, thing=False))
    said = " ".join(stack.json("show", "dev-0")["warnings"])
    assert "the policy devices is not attached" in said
    assert "the thing dev-0 is not attached" in said


def test_a_blocked_device_whose_certificate_is_active_is_reported(stack: Stack) -> None:
    stack.enroll((0, 0), batch="one")
    stack.certify(0, certificate=stack.register(0))
    assert stack.json("show", "dev-0")["warnings"] == []
    stack.run("block", "dev-0", "--reason", "stolen")
    assert "Blocking stops new certificates and revokes none" in stack.json("show", "dev-0")["warnings"][0]


def test_a_device_that_only_iot_core_knows_is_shown_and_does_not_pass_for_enrolled(stack: Stack) -> None:
    certificate = stack.register(9)
    shown = stack.json("show", "dev-9", code=ExitCode.NOT_FOUND)
    assert (shown["status"], shown["certificates"][0]["certificateId"]) == ("not-enrolled", certificate)


def test_where_iot_core_may_not_be_asked_the_rest_is_shown(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.enroll((0, 0), batch="one")
    stack.certify(0)

    def denied(*_: object) -> None:
        message = "User is not authorized to perform: iot:DescribeThing on resource: x"
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": message}}, "DescribeThing")

    monkeypatch.setattr(IotView, "thing", denied)
    shown = stack.json("show", "dev-0")
    assert shown["certificates"][0]["state"] == "active"
    assert "iotCore" not in shown["certificates"][0]
    assert "could not be read" in shown["warnings"][0]
