"""`secretfree diagnose` on a running cloud: real devices, really refused, and the cause in the first line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from secretfree_cli.diagnose.commands import diagnose
from secretfree_cli.queue.commands import queue


@pytest.fixture
def first_line(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The command's first line, once the logs have arrived.

    The tests of the alarms, in the same cloud, report throttled tables, which the command rightly names as well.
    """
    monkeypatch.setattr("secretfree_cli.target.resolve_target", lambda **_: cloud.target)

    def of(*arguments: str, expect: str) -> str:
        deadline = time.monotonic() + 20
        while True:
            result = CliRunner().invoke(diagnose, list(arguments), catch_exceptions=False)
            line = next(line for line in result.stdout.splitlines() if _is_of_this_test(line, expect))
            if line.startswith(f"{expect}: ") or time.monotonic() > deadline:
                assert line.startswith(f"{expect}: "), result.output
                return line
            time.sleep(0.5)

    return of


def _is_of_this_test(line: str, expect: str) -> bool:
    """Whether a line is of a finding, other than the throttling that the alarms' tests report."""
    is_finding = line != "" and not line.startswith(" ")
    return is_finding and (expect == "table-throttled" or not line.startswith("table-throttled: "))


def test_an_unknown_device(workshop: Any, first_line: Any) -> None:
    first_line(workshop.device().device_id, expect="unknown-device")


def test_a_clone_by_its_request_id(cloud: Any, workshop: Any, post: Any, first_line: Any) -> None:
    genuine = workshop.enrolled(cloud)
    answer = post(f"{cloud.url}/new", workshop.device(device_id=genuine.device_id).csr())
    first_line("--request-id", answer.json["requestId"], expect="key-mismatch")


def test_a_malformed_request_by_its_request_id(cloud: Any, first_line: Any, curl: Any) -> None:
    answer = curl(f"{cloud.url}/new", "device-csr: bm90IGEgQ1NS")
    line = first_line("--request-id", answer.json["requestId"], expect="not-a-csr")
    assert "The request of this device" in line


def test_a_blocked_device(cloud: Any, workshop: Any, first_line: Any) -> None:
    device = workshop.device()
    cloud.put_item(device.device_id, device.public_key_pem(), status="blocked")
    first_line(device.device_id, expect="blocked-device")


def test_a_good_device_then_its_policy_thing_and_certificate_taken_away(
    cloud: Any, workshop: Any, post: Any, first_line: Any
) -> None:
    device = workshop.enrolled(cloud)
    answer = post(f"{cloud.url}/new", device.csr()).json
    first_line(device.device_id, expect="provisioned")
    iot = cloud.target.client("iot")
    arn = iot.describe_certificate(certificateId=answer["certificateId"])["certificateDescription"]["certificateArn"]
    (policy,) = iot.list_attached_policies(target=arn)["policies"]

    iot.detach_policy(policyName=policy["policyName"], target=arn)
    first_line(device.device_id, expect="policy-detached")
    iot.attach_policy(policyName=policy["policyName"], target=arn)

    iot.detach_thing_principal(thingName=device.device_id, principal=arn)
    first_line(device.device_id, expect="thing-detached")
    iot.attach_thing_principal(thingName=device.device_id, principal=arn)

    iot.update_certificate(certificateId=answer["certificateId"], newStatus="REVOKED")
    first_line(device.device_id, expect="certificate-revoked")


def test_a_disabled_ca(cloud: Any, workshop: Any, post: Any, first_line: Any) -> None:
    device = workshop.enrolled(cloud)
    authority = cloud.target.client("acm-pca")
    authority.update_certificate_authority(CertificateAuthorityArn=cloud.target.authority_arn, Status="DISABLED")
    try:
        assert post(f"{cloud.url}/new", device.csr()).status in {202, 500, 503}
        first_line(device.device_id, expect="ca-not-active")
    finally:
        authority.update_certificate_authority(CertificateAuthorityArn=cloud.target.authority_arn, Status="ACTIVE")


def test_a_thing_of_another_type(cloud: Any, workshop: Any, post: Any, first_line: Any) -> None:
    device = workshop.enrolled(cloud)
    cloud.target.client("iot").create_thing(thingName=device.device_id)
    assert post(f"{cloud.url}/new", device.csr()).status == 409
    first_line(device.device_id, expect="conflicting-thing")


def test_a_device_that_never_came(cloud: Any, workshop: Any, first_line: Any) -> None:
    first_line(workshop.enrolled(cloud).device_id, expect="never-asked")


def test_the_timeline_of_a_device(cloud: Any, workshop: Any, post: Any, first_line: Any) -> None:
    device = workshop.enrolled(cloud)
    assert post(f"{cloud.url}/new", device.csr()).status == 200
    first_line(device.device_id, expect="provisioned")
    shown = json.loads(CliRunner().invoke(diagnose, [device.device_id, "--json"]).stdout)
    assert [entry["what"].split(" ")[0] for entry in shown["timeline"]][:1] in (["issuance"], ["allowed"])
    assert shown["notRead"] == []


def test_the_queues_of_the_stack_are_read(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secretfree_cli.target.resolve_target", lambda **_: cloud.target)
    shown = json.loads(CliRunner().invoke(queue, ["--next", "1", "--json"], catch_exceptions=False).stdout)
    assert shown["notRead"] == []
    assert {one["kind"] for one in shown["deadLetters"]} == {"blocks", "retirements"}
