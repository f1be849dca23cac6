"""Each broken situation, as an on-call engineer meets it: the first line of `diagnose` is the cause."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import boto3
import pytest
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.errors import Reason
from secretfree.issuance.record import Issuance
from secretfree.issuance.states import IssuanceState
from secretfree.issuance.tickets import Ticket
from secretfree.request.device_id import DeviceId
from secretfree_cli.diagnose.commands import diagnose

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("situations")]  # one process for all of them

HOUR = timedelta(hours=1)


@pytest.fixture
def first_line(run: Any) -> Callable[..., str]:
    """The command's first line."""

    def of(*arguments: str, code: int = 0) -> str:
        return str(run(diagnose, *arguments, code=code).stdout.splitlines()[0])

    return of


def denied(desk: Any, reason: Reason, detail: str, *, device: str | None = "dev-1", request: str = "req-1") -> None:
    desk.log("Authorizer", "denied", request_id=request, device_id=device, reason=reason, detail=detail)


def not_ready(desk: Any, reason: Reason, **fields: Any) -> None:
    desk.log("PrivateCaIssuer", "not ready", request_id="req-1", device_id="dev-1", reason=reason, **fields)


def test_a_device_that_is_not_enrolled_is_unknown(desk: Any, first_line: Any) -> None:
    assert first_line("dev-1") == "unknown-device: Device dev-1 is not enrolled."


def test_another_key_than_the_enrolled_one_is_named(desk: Any, first_line: Any) -> None:
    desk.enroll("dev-1")
    denied(desk, Reason.KEY_MISMATCH, "the device is enrolled with another key")
    expected = "key-mismatch: The request of dev-1 came with another key than the enrolled one"
    assert first_line("dev-1").startswith(expected)
    assert first_line("--request-id", "req-1").startswith(expected)


def test_a_clone_of_a_provisioned_device_is_the_first_line_and_the_good_certificate_the_second(
    desk: Any, run: Any
) -> None:
    desk.enroll("dev-1")
    desk.provision("dev-1")
    denied(desk, Reason.KEY_MISMATCH, "the device is enrolled with another key")
    document = json.loads(run(diagnose, "dev-1", "--json").stdout)
    assert [finding["cause"] for finding in document["findings"]] == ["key-mismatch", "provisioned"]


def test_a_bad_signature_is_named(desk: Any, first_line: Any) -> None:
    desk.enroll("dev-1")
    denied(desk, Reason.BAD_SIGNATURE, "the signature is not by the request's own key")
    assert first_line("dev-1").startswith("bad-signature: The request of dev-1 has a bad signature")


@pytest.mark.parametrize(
    ("reason", "detail"),
    [
        (Reason.NOT_A_CSR, "not a PKCS #10 request in DER"),
        (Reason.REQUESTED_EXTENSION, "extension subjectAltName is not accepted"),
        (Reason.SUBJECT, "2 common names; accepted: one"),
    ],
)
def test_a_malformed_request_is_named_with_its_element(desk: Any, first_line: Any, reason: Reason, detail: str) -> None:
    denied(desk, reason, detail, device=None)
    line = first_line("--request-id", "req-1")
    assert line.startswith(f"{reason.value}: The request of this device ")
    assert detail in line


def test_a_blocked_device_is_named_with_the_operators_reason(desk: Any, first_line: Any) -> None:
    desk.enroll("dev-1", status="blocked", **{"blocked-reason": "stolen", "blocked-at": "2026-01-02T03:04:05Z"})
    assert first_line("dev-1") == "blocked-device: Device dev-1 is blocked: 'stolen'."


@pytest.mark.parametrize(
    ("status", "cause"), [("REVOKED", "certificate-revoked"), ("INACTIVE", "certificate-deactivated")]
)
def test_a_certificate_taken_out_of_use_by_hand_is_named(desk: Any, first_line: Any, status: str, cause: str) -> None:
    desk.enroll("dev-1")
    arn = desk.provision("dev-1")
    desk.iot.update_certificate(certificateId=arn.rpartition("/")[2], newStatus=status)
    assert first_line("dev-1").startswith(f"{cause}: The certificate of dev-1 (private-ca) was ")


def test_a_deleted_certificate_is_named(desk: Any, first_line: Any) -> None:
    desk.enroll("dev-1")
    arn = desk.provision("dev-1")
    desk.iot.detach_policy(policyName="widget-policy", target=arn)
    desk.iot.detach_thing_principal(thingName="dev-1", principal=arn)
    desk.iot.update_certificate(certificateId=arn.rpartition("/")[2], newStatus="INACTIVE")
    desk.iot.delete_certificate(certificateId=arn.rpartition("/")[2])
    assert first_line("dev-1").startswith("certificate-deleted: ")


def test_a_detached_policy_is_named(desk: Any, first_line: Any) -> None:
    desk.enroll("dev-1")
    desk.iot.detach_policy(policyName="widget-policy", target=desk.provision("dev-1"))
    assert first_line("dev-1") == (
        "policy-detached: The policy widget-policy is detached from the certificate of dev-1."
    )


def test_another_policy_is_named(desk: Any, first_line: Any) -> None:
    desk.enroll("dev-1")
    arn = desk.provision("dev-1")
    desk.iot.create_policy(policyName="other", policyDocument='{"Version":"2012-10-17","Statement":[]}')
    desk.iot.detach_policy(policyName="widget-policy", target=arn)
    desk.iot.attach_policy(policyName="other", target=arn)
    assert first_line("dev-1") == (
        "policy-wrong: The certificate of dev-1 has the wrong policy: other instead of widget-policy."
    )


def test_a_policy_whose_document_no_longer_lets_the_device_connect_is_named(desk: Any, first_line: Any) -> None:
    desk.enroll("dev-1")
    desk.provision("dev-1")
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:Publish", "Resource": "*"}]}
    desk.iot.create_policy_version(policyName="widget-policy", policyDocument=json.dumps(document), setAsDefault=True)
    assert first_line("dev-1") == "policy-wrong: The policy widget-policy does not allow dev-1 to connect."


def test_a_detached_thing_is_named(desk: Any, first_line: Any) -> None:
    desk.enroll("dev-1")
    desk.iot.detach_thing_principal(thingName="dev-1", principal=desk.provision("dev-1"))
    assert first_line("dev-1") == "thing-detached: The thing dev-1 is detached from its certificate."


def test_a_thing_of_another_type_is_named(desk: Any, first_line: Any) -> None:
    desk.enroll("dev-1")
    desk.iot.create_thing(thingName="dev-1")
    assert first_line("dev-1").startswith("conflicting-thing: The thing dev-1 has the type none, and not widget-type")


def test_a_device_stuck_at_202_is_named_with_its_state_and_attempts(desk: Any, first_line: Any) -> None:
    desk.enroll("dev-1")
    held = desk.begin("dev-1", ago=HOUR).requested("arn:certificate")
    desk.ledger.write(held.unfinished(Reason.CERTIFICATE_PENDING).released(desk.now))
    not_ready(desk, Reason.CERTIFICATE_PENDING)
    assert first_line("dev-1") == (
        "stuck-at-202: Device dev-1 is stuck at 202 after 1 attempts: "
        "the certificate authority has not delivered the certificate (last reason: certificate-pending)."
    )


def test_a_disabled_ca_is_named_before_the_failure_that_it_causes(desk: Any, first_line: Any) -> None:
    desk.enroll("dev-1")
    desk.ledger.write(desk.begin("dev-1", ago=HOUR).released(desk.now))
    desk.log(
        "PrivateCaIssuer",
        "failed",
        request_id="req-1",
        device_id="dev-1",
        reason=Reason.CONFIGURATION,
        detail="the private CA refuses to issue (InvalidStateException)",
    )
    desk.pca.update_certificate_authority(CertificateAuthorityArn=desk.authority_arn, Status="DISABLED")
    assert first_line("dev-1") == "ca-not-active: The Private CA is DISABLED, so it signs nothing."
    assert first_line("--request-id", "req-1") == "ca-not-active: The Private CA is DISABLED, so it signs nothing."


def test_a_ca_that_ends_before_the_certificates_would_is_named(desk: Any, first_line: Any) -> None:
    desk.deploy(validity_days=400)
    desk.enroll("dev-1")
    desk.ledger.write(desk.begin("dev-1", ago=HOUR).released(desk.now))
    assert first_line("dev-1").startswith("ca-too-old: The Private CA ends on ")


def test_a_throttled_table_is_named(desk: Any, first_line: Any) -> None:
    desk.enroll("dev-1")
    boto3.client("cloudwatch").put_metric_data(
        Namespace="AWS/DynamoDB",
        MetricData=[
            {
                "MetricName": "ReadThrottleEvents",
                "Dimensions": [{"Name": "TableName", "Value": desk.physical["Registry"]}],
                "Timestamp": desk.now - timedelta(minutes=5),
                "Value": 12,
            }
        ],
    )
    desk.log(
        "Authorizer",
        "failed",
        request_id="req-1",
        device_id="dev-1",
        reason=Reason.REGISTRY_UNAVAILABLE,
        detail="GetItem: ProvisionedThroughputExceededException",
    )
    expected = f"table-throttled: DynamoDB throttles requests to the table {desk.physical['Registry']}."
    assert first_line("dev-1") == expected


@pytest.mark.parametrize(
    ("detail", "quota"),
    [
        ("RegisterCertificate: ThrottlingException", "IoT Core RegisterCertificate (10 a second by default)"),
        ("IssueCertificate: ThrottlingException", "Private CA IssueCertificate (25 a second by default)"),
    ],
)
def test_a_used_up_quota_is_named_with_its_service_and_figure(
    desk: Any, first_line: Any, detail: str, quota: str
) -> None:
    desk.enroll("dev-1")
    desk.ledger.write(desk.begin("dev-1", ago=HOUR).released(desk.now))
    not_ready(desk, Reason.THROTTLED, detail=detail)
    assert first_line("dev-1").startswith(f"quota-used-up: The quota of {quota} is used up")


def test_a_stale_lease_is_named(desk: Any, first_line: Any) -> None:
    desk.enroll("dev-1")
    desk.begin("dev-1", ago=timedelta(minutes=3))
    assert first_line("dev-1").startswith("stale-lease: The worker that issued for dev-1 ended early")


def test_a_device_that_never_reached_the_stack_is_sent_to_its_address(desk: Any, run: Any) -> None:
    desk.enroll("dev-1")
    shown = run(diagnose, "dev-1").stdout
    assert shown.startswith("never-asked: Device dev-1 is enrolled, but no request of it has reached this stack")
    assert "https://a1.execute-api.eu-central-1.amazonaws.com/v1/new" in shown


def test_requests_for_unknown_paths_point_to_a_wrong_endpoint(desk: Any, first_line: Any) -> None:
    desk.enroll("dev-1")
    line = {"requestId": "req-9", "status": "404", "responseType": "MISSING_AUTHENTICATION_TOKEN"}
    desk.log_raw("Api", json.dumps(line))
    assert first_line("dev-1").startswith("wrong-endpoint-or-stage: Device dev-1 is enrolled, but no request")
    assert first_line("--request-id", "req-9") == (
        "wrong-endpoint-or-stage: The request's path does not exist in this API (404)."
    )


def test_a_device_that_waits_for_its_turn_is_named_with_its_number_and_time(desk: Any, first_line: Any) -> None:
    desk.enroll("dev-1")
    at = desk.now + HOUR
    wait_for_turn(desk, "dev-1", Ticket(number=1234, at=at))
    assert first_line("dev-1") == (
        "waiting-for-turn: dev-1 waits for its turn: it has number 1234 at private-ca, and its time is "
        f"{at:%Y-%m-%d %H:%M:%S} UTC."
    )


def test_a_certificate_of_another_region_in_the_dead_letters_is_named(desk: Any, first_line: Any) -> None:
    desk.enroll("dev-1")
    desk.give_up("Following", {"device": "dev-1", "issuer": "private-ca"})
    assert first_line("dev-1") == (
        "in-the-dead-letters: A certificate that another Region issued to dev-1 was given up in this Region. "
        "It is in the dead letters."
    )


def test_a_connect_in_the_dead_letters_does_not_hide_the_good_certificate(desk: Any, run: Any) -> None:
    desk.enroll("dev-1")
    desk.provision("dev-1")
    desk.give_up("Retirement", {"clientId": "dev-1", "principalIdentifier": "ab" * 32})
    for _ in range(2):  # a look hides no message
        found = json.loads(run(diagnose, "dev-1", "--json").stdout)["findings"]
        assert [one["cause"] for one in found] == ["provisioned", "in-the-dead-letters"]


@pytest.mark.parametrize("given_up", [0, 2])
def test_a_block_that_did_not_take_effect_comes_before_the_block(desk: Any, first_line: Any, given_up: int) -> None:
    desk.enroll("dev-1", status="blocked")
    desk.provision("dev-1")
    for _ in range(given_up):
        desk.give_up("Blocking", {"DDBStreamBatchInfo": "..."})
    line = first_line("dev-1")
    assert line.startswith("block-not-through: Device dev-1 is blocked, and a certificate of it is still active: ")
    assert ("the dead letters have 2 changes" in line) is bool(given_up)


def test_a_device_refused_as_unknown_and_enrolled_since_only_has_to_ask_again(desk: Any, first_line: Any) -> None:
    denied(desk, Reason.UNKNOWN_DEVICE, "no such device")
    desk.enroll("dev-1", **{"enrolled-at": f"{desk.now:%Y-%m-%dT%H:%M:%SZ}"})
    assert "was enrolled afterwards. It has sent no request since." in first_line("dev-1")


def test_a_good_device_is_said_to_be_good(desk: Any, first_line: Any) -> None:
    desk.enroll("dev-1")
    desk.provision("dev-1")
    assert first_line("dev-1").startswith("provisioned: Device dev-1 has a valid certificate (private-ca) until ")


def test_a_request_that_no_log_names_is_not_found(desk: Any, first_line: Any) -> None:
    assert first_line("--request-id", "nobody", code=4).startswith("not-found: Nothing was found about request nobody")


def test_the_document_for_machines_has_the_cause_the_timeline_and_what_was_not_read(desk: Any, run: Any) -> None:
    desk.enroll("dev-1", **{"enrolled-at": "2026-01-02T03:04:05Z"})
    desk.provision("dev-1")
    document = json.loads(run(diagnose, "dev-1", "--json").stdout)
    assert document["healthy"] is True
    assert document["findings"][0]["cause"] == "provisioned"
    assert document["timeline"][0] == {"at": "2026-01-02T03:04:05Z", "what": "enrolled"}
    assert document["notRead"] == []


def test_what_may_not_be_read_is_reported_and_the_rest_is_still_diagnosed(
    desk: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import ClientError
    from secretfree_cli.diagnose.collectors import logs

    def refuse(*_: Any, **__: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "FilterLogEvents")

    monkeypatch.setattr(logs, "find", refuse)
    desk.enroll("dev-1", status="blocked")
    result = run(diagnose, "dev-1")
    assert result.stdout.startswith("blocked-device: ")
    assert "not read: the logs (FilterLogEvents: AccessDeniedException)" in result.stderr


def test_either_a_device_or_a_request_is_asked_about(desk: Any, run: Any) -> None:
    run(diagnose, code=2)
    run(diagnose, "dev-1", "--request-id", "req-1", code=2)


def wait_for_turn(desk: Any, device_id: str, ticket: Ticket) -> None:
    """The issuer has given the device a number."""
    waiting = Issuance.first(DeviceId.parse(device_id), "private-ca", "ab" * 32, owner="w", now=desk.now)
    ledger = DynamoDbLedger(desk.dynamodb, table=desk.physical["Ledger"])
    ledger.write(waiting.never_requested().parked().waiting(ticket))


def test_every_state_of_an_issuance_has_its_words() -> None:
    from secretfree_cli.diagnose.rules.waiting import _STATES

    unfinished = set(IssuanceState) - {IssuanceState.ACTIVE, IssuanceState.REVOKED, IssuanceState.ABANDONED}
    assert set(_STATES) == unfinished
