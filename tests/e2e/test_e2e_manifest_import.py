"""A manifest dropped into the bucket: its rows in the registry, a results object, and its devices provisioned."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from secretfree.request.keys import DevicePublicKey

DEADLINE = 240
"""Seconds: the emulator runs a Lambda for each row, where AWS runs one for each 200."""


@dataclass(frozen=True)
class Import:
    """The deployed import: its bucket, its state machine, and the registry that it fills."""

    cloud: Any
    bucket: str
    state_machine: str

    def drop(self, name: str, body: str) -> None:
        self.cloud.target.client("s3").put_object(Bucket=self.bucket, Key=f"manifests/{name}", Body=body.encode())

    def account_of(self, name: str) -> dict[str, Any]:
        """Wait for the summary of the manifest's import."""
        return self._wait_for(lambda summary: summary["manifest"]["key"] == f"manifests/{name}")

    def run_again(self, name: str) -> str:
        """Start the import of a manifest again with the same input; return how the execution ended."""
        states = self.cloud.target.client("stepfunctions")
        executions = states.list_executions(stateMachineArn=self.state_machine)["executions"]
        inputs = [states.describe_execution(executionArn=e["executionArn"])["input"] for e in executions]
        (event,) = [text for text in inputs if json.loads(text)["detail"]["object"]["key"] == f"manifests/{name}"]
        arn = states.start_execution(stateMachineArn=self.state_machine, input=event)["executionArn"]
        ends = time.monotonic() + DEADLINE
        while (status := states.describe_execution(executionArn=arn)["status"]) == "RUNNING":
            assert time.monotonic() < ends, "the execution did not end"
            time.sleep(0.5)
        return str(status)

    def lines(self, key: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._read(key).splitlines()]

    def registry(self) -> dict[str, Mapping[str, Any]]:
        client = self.cloud.target.client("dynamodb")
        items = client.scan(TableName=self.cloud.target.registry_table, ConsistentRead=True)["Items"]
        return {item["device-id"]["S"]: item for item in items}

    def _wait_for(self, accepted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        ends = time.monotonic() + DEADLINE
        while time.monotonic() < ends:
            listed = self.cloud.target.client("s3").list_objects_v2(Bucket=self.bucket, Prefix="results/")
            for key in (found["Key"] for found in listed.get("Contents", [])):
                if key.endswith("/summary.json"):
                    summary: dict[str, Any] = json.loads(self._read(key))
                    if accepted(summary):
                        return summary
            time.sleep(0.5)
        raise AssertionError("no results object came")

    def _read(self, key: str) -> bytes:
        body: bytes = self.cloud.target.client("s3").get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body


@pytest.fixture(scope="module")
def factory(bodies: Any) -> Import:
    _index_keys(bodies)
    stack = {"StackName": bodies.target.stack_name}
    described = bodies.target.client("cloudformation").describe_stacks(**stack)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
    resources = bodies.target.client("cloudformation").describe_stack_resources(**stack)
    (machine,) = [
        resource["PhysicalResourceId"]
        for resource in resources["StackResources"]
        if resource["ResourceType"] == "AWS::StepFunctions::StateMachine"
    ]
    return Import(bodies, outputs["ManifestBucket"], machine)


def _index_keys(cloud: Any) -> None:
    """Give the rows that other tests put into the shared registry their fingerprint: an import refuses to miss any."""
    table, client = cloud.target.registry_table, cloud.target.client("dynamodb")
    for item in client.scan(TableName=table, ConsistentRead=True)["Items"]:
        if "pubkey" in item and "key-fingerprint" not in item:
            fingerprint = DevicePublicKey.from_registry(item["pubkey"]["S"]).fingerprint
            client.put_item(TableName=table, Item={**item, "key-fingerprint": {"S": fingerprint}})


def key_of(device: Any) -> str:
    return base64.b64encode(device.public_key_pem()).decode()


def test_the_devices_of_a_dropped_csv_are_enrolled_and_provisioned_and_bad_rows_reported(
    factory: Import, workshop: Any, post: Callable[..., Any]
) -> None:
    good = [workshop.device(device_id=f"lot-a-{number}") for number in range(3)]
    rows = [f"{device.device_id},{key_of(device)}" for device in good]
    rows.insert(1, f"no good id,{key_of(good[0])}")
    rows.append("lot-a-9,bm8ga2V5")
    factory.drop("lot a.csv", "\r\n".join(["device-id,public-key", *rows]) + "\r\n")

    account = factory.account_of("lot a.csv")

    assert account["status"] == "COMPLETE", account
    assert {name: account[name] for name in ("rows", "enrolled", "refused")} == {
        "rows": 5,
        "enrolled": 3,
        "refused": 2,
    }
    assert [(row["row"], row["reason"]) for row in factory.lines(account["refusedRows"])] == [
        (2, "device-id"),
        (5, "key-kind"),
    ]
    registry = factory.registry()
    assert {registry[device.device_id]["batch"]["S"] for device in good} == {account["batch"]}
    assert registry[f"batch#{account['batch']}"]["state"] == {"S": "complete"}
    reply = post(f"{factory.cloud.url}/new", good[0].csr())
    assert (reply.status, reply.json["thingName"]) == (200, "lot-a-0")

    before = registry
    assert factory.run_again("lot a.csv") == "SUCCEEDED"
    again = factory.account_of("lot a.csv")
    assert {**again, "execution": "", "finishedAt": ""} == {**account, "execution": "", "finishedAt": ""}
    assert devices_of(factory.registry()) == devices_of(before)


def test_json_lines_are_imported_with_their_attributes(factory: Import, workshop: Any) -> None:
    device = workshop.device(device_id="lot-b-0")
    statement = {"device-id": "lot-b-0", "public-key": key_of(device), "attributes": {"model": "P1"}}
    factory.drop("lot-b.jsonl", json.dumps(statement) + "\n")
    assert factory.account_of("lot-b.jsonl")["enrolled"] == 1
    assert factory.registry()["lot-b-0"]["attributes"] == {"M": {"model": {"S": "P1"}}}


def test_a_file_that_is_no_manifest_fails_and_says_so(factory: Import) -> None:
    factory.drop("lot-c.csv", "serial,colour\r\n1,red\r\n")
    account = factory.account_of("lot-c.csv")
    assert account["status"] == "FAILED"
    assert account["error"]["error"] == "ManifestRefused"
    assert "device-id and public-key" in account["error"]["cause"]


def devices_of(registry: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {name: item for name, item in registry.items() if "#" not in name}
