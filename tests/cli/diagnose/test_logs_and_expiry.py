"""The commands `logs` and `expiring`."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from secretfree.errors import Reason
from secretfree.request.device_id import DeviceId
from secretfree_cli.expiry.commands import expiring
from secretfree_cli.logs.commands import logs


def three_lines(desk: Any) -> None:
    two = timedelta(minutes=2)
    desk.log("Authorizer", "denied", ago=two, request_id="r-1", device_id="dev-1", reason=Reason.KEY_MISMATCH)
    desk.log("Authorizer", "allowed", request_id="r-2", device_id="dev-2")
    desk.log("PrivateCaIssuer", "issued", request_id="r-2", device_id="dev-2", certificate_id="ab12")
    desk.log_raw("Authorizer", '{"_aws":{"CloudWatchMetrics":[]},"Product":"widget","deviceId":"dev-2"}')
    desk.log_raw("Authorizer", "START RequestId: dev-2 Version: 1")


def test_a_devices_lines_are_shown_in_order_without_metrics_and_the_runtimes_own(desk: Any, run: Any) -> None:
    three_lines(desk)
    shown = run(logs, "dev-2").stdout.splitlines()
    assert [line.split(" ", 3)[2] for line in shown] == ["allowed", "issued"]
    assert "certificateId=ab12" in shown[1]


def test_a_device_whose_id_begins_like_another_is_distinguished_from_it(desk: Any, run: Any) -> None:
    desk.log("Authorizer", "allowed", request_id="r-1", device_id="dev-10")
    run(logs, "dev-1", code=4)


def test_a_request_a_reason_and_an_event_are_found(desk: Any, run: Any) -> None:
    three_lines(desk)
    assert len(run(logs, "--request-id", "r-2").stdout.splitlines()) == 2
    assert "dev-1" in run(logs, "--reason", "key-mismatch").stdout
    assert len(run(logs, "--event", "issued").stdout.splitlines()) == 1
    run(logs, "dev-2", "--reason", "key-mismatch", code=4)


def test_for_machines_each_line_is_an_object(desk: Any, run: Any) -> None:
    three_lines(desk)
    (line,) = run(logs, "dev-1", "--json").stdout.splitlines()
    assert json.loads(line)["reason"] == "key-mismatch"


def test_lines_older_than_asked_are_left_out(desk: Any, run: Any) -> None:
    desk.log("Authorizer", "denied", ago=timedelta(hours=30), request_id="r-1", device_id="dev-1")
    run(logs, "dev-1", code=4)
    assert run(logs, "dev-1", "--since", "2d").stdout


def test_something_must_be_looked_for(desk: Any, run: Any) -> None:
    run(logs, code=2)
    run(logs, "dev-1", "--since", "soon", code=2)
    run(logs, "--reason", "because", code=2)


def test_certificates_and_cas_that_end_soon_are_listed_the_first_first(desk: Any, run: Any) -> None:
    desk.provision("dev-1")
    found = json.loads(run(expiring, "--within", "400d", "--json").stdout)["ending"]
    assert [(one["kind"], one["ended"]) for one in found] == [("certificate", False), ("ca", False)]
    assert found[0]["name"] == "dev-1"
    shown = run(expiring, "--within", "310d").stdout
    assert "dev-1" in shown
    assert "private-ca" in shown


def test_what_ends_later_and_what_was_replaced_is_not_listed(desk: Any, run: Any) -> None:
    desk.provision("dev-1")
    run(expiring, code=4)
    desk.begin("dev-2")
    run(expiring, "--within", "90d", code=4)


def test_a_certificate_whose_renewal_does_not_finish_is_listed(desk: Any, run: Any) -> None:
    desk.provision("dev-1")
    held = desk.ledger.read(DeviceId.parse("dev-1"), "private-ca")
    desk.ledger.write(held.next_generation(held.fingerprint, "worker", desk.now))
    (found,) = json.loads(run(expiring, "--within", "310d", "--json").stdout)["ending"]
    assert (found["name"], found["certificateId"]) == ("dev-1", held.certificate_id)
