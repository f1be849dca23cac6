"""Two Regions: what one issues is good in the other, the loss of one, a race of devices between both, and a block."""

from __future__ import annotations

import base64
import json
import os
import shlex
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from secretfree_cli.local.cloud import (
    bring_down,
    bring_up,
    deploy_into,
    set_replication_lag,
    start_region,
)
from secretfree_cli.local.deployment import Deployment
from secretfree_cli.local.interruption import ending_on_signals
from secretfree_cli.local.state import StateFolder
from secretfree_cli.main import main
from secretfree_cli.target import Target, local_target
from secretfree_device.mqtt import DeviceConnection
from secretfree_device.session import Broker, MqttError
from support.alarms_on_the_cloud import alarms_of, each_fires_alone_and_clears
from support.borrowed_roles import BorrowedRoles, is_denied
from support.documents import ROOT, commands

REPOSITORY = Path(__file__).resolve().parents[2]
FIRST, SECOND = "us-east-1", "eu-west-1"
OWN_CA, SHARED_CA = "new", "shared"
"""The API's paths: of each Region's own CA, and of the first Region's for both."""
PATIENCE_SECONDS = 60.0
WORKERS = 24
"""Devices that ask at the same time in each Region."""


@dataclass(frozen=True)
class Device:
    folder: Path
    device_id: str

    @property
    def key(self) -> Path:
        return self.folder / "device.key"

    @property
    def certificate(self) -> Path:
        return self.folder / "device.pem"

    def public_key(self) -> bytes:
        return (
            self._private_key()
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )

    def csr(self) -> bytes:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.device_id)])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(self._private_key(), hashes.SHA256())
        return request.public_bytes(serialization.Encoding.PEM)

    def _private_key(self) -> ec.EllipticCurvePrivateKey:
        key = serialization.load_pem_private_key(self.key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key


@dataclass(frozen=True)
class Regions:
    """Both Regions of a running cloud, and a product line in them."""

    folder: StateFolder
    targets: Mapping[str, Target]

    def enrol(self, region: str, *devices: Device) -> None:
        table = self.targets[region].resource("dynamodb").Table(self.targets[region].registry_table)
        with table.batch_writer() as batch:
            for device in devices:
                pubkey = base64.b64encode(device.public_key()).decode()
                batch.put_item(Item={"device-id": device.device_id, "pubkey": pubkey})

    def is_enrolled(self, region: str, device: Device) -> bool:
        table = self.targets[region].resource("dynamodb").Table(self.targets[region].registry_table)
        return "Item" in table.get_item(Key={"device-id": device.device_id}, ConsistentRead=True)

    def ask(self, region: str, device: Device, *, path: str = OWN_CA) -> tuple[int, dict[str, Any]]:
        """One request; the certificate of a 200 is the device's."""
        request = urllib.request.Request(  # noqa: S310 -- http to loopback
            f"{self.targets[region].require_url()}/{path}",
            method="POST",
            headers={"device-csr": base64.b64encode(device.csr()).decode()},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                status, document = answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            status, document = error.code, json.load(error)
        if status == 200:
            device.certificate.write_text(document["certificate"])
        return status, document

    def provision(
        self, region: str, device: Device, *, path: str = OWN_CA, patience: float = PATIENCE_SECONDS
    ) -> dict[str, Any]:
        """Ask until there is a certificate, as the wire contract says."""
        end = time.monotonic() + patience
        while True:
            status, document = self.ask(region, device, path=path)
            if status == 200:
                return document
            assert status in {202, 429} or status >= 500, (status, document)
            assert time.monotonic() < end, document
            time.sleep(1)

    def connection(self, region: str, device: Device) -> DeviceConnection:
        target = self.targets[region]
        assert target.mqtt_host is not None
        broker = Broker(target.mqtt_host, target.mqtt_port, server_name="localhost", ca_file=target.broker_ca)
        return DeviceConnection(
            broker, client_id=device.device_id, certificate=device.certificate, private_key=device.key
        )

    def connects(self, region: str, device: Device) -> bool:
        try:
            with self.connection(region, device) as session:
                session.publish(f"widget/{device.device_id}/temperature", "20")
        except MqttError:
            return False
        return True

    def active(self, region: str) -> dict[str, list[str]]:
        """The active certificates at IoT Core, by device."""
        iot = self.targets[region].client("iot")
        found: dict[str, list[str]] = {}
        for page in iot.get_paginator("list_certificates").paginate():
            for one in page["certificates"]:
                if one["status"] == "ACTIVE":
                    for thing in iot.list_principal_things(principal=one["certificateArn"])["things"]:
                        found.setdefault(thing, []).append(one["certificateId"])
        return found

    def current(self, region: str) -> dict[str, tuple[str, str | None]]:
        """State and current certificate by device, in the Region's ledger."""
        table = self.targets[region].resource("dynamodb").Table(self.targets[region].ledger_table)
        items: list[Any] = []
        page = table.scan()
        items += page["Items"]
        while "LastEvaluatedKey" in page:
            page = table.scan(ExclusiveStartKey=page["LastEvaluatedKey"])
            items += page["Items"]
        return {
            item["device-id"]: (item["state"], item.get("certificate-id"))
            for item in items
            if item["record"].startswith("issuance#")
        }


def seconds_until(condition: Callable[[], bool], *, patience: float = PATIENCE_SECONDS) -> float:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < patience, "it did not come about"
        time.sleep(0.1)
    return time.monotonic() - start


def make_regions(folder: StateFolder, app: Path) -> Regions:
    home, _ = bring_up(folder, wanted=(FIRST, SECOND))
    deploy_into(folder, Deployment(app, context={"shared-authority": home.authority_arn}))
    return Regions(folder, {name: local_target(folder.of_region(name).require_up()) for name in (FIRST, SECOND)})


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Regions]:
    folder = StateFolder(tmp_path_factory.mktemp("regions"))
    os.environ.setdefault("SECRETFREE_ALARM_PERIOD", "2")  # as for the cloud of one Region
    with ending_on_signals():
        try:
            yield make_regions(folder, REPOSITORY / "examples" / "two-regions")
        finally:
            bring_down(folder, forget_data=True)


@pytest.fixture(scope="module")
def new_device(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Device]:
    root = tmp_path_factory.mktemp("devices")

    def make(name: str) -> Device:
        device = Device(root / name, name)
        device.folder.mkdir()
        key = ec.generate_private_key(ec.SECP256R1())
        device.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return device

    return make


def test_a_device_of_one_region_connects_in_the_other_without_asking_there(
    regions: Regions, new_device: Callable[[str], Device]
) -> None:
    for here, there in ((FIRST, SECOND), (SECOND, FIRST)):
        device = new_device(f"roamer-{here}")
        regions.enrol(here, device)
        answer = regions.provision(here, device)
        assert answer["endpoint"] == regions.targets[here].iot_endpoint
        seconds_until(lambda: regions.connects(there, device))  # noqa: B023
        again = regions.ask(there, device)[1]
        assert again["certificateId"] == answer["certificateId"]
        assert again["endpoint"] == regions.targets[there].iot_endpoint


@pytest.mark.parametrize("count", [16, pytest.param(500, marks=[pytest.mark.nightly, pytest.mark.timeout(3000)])])
def test_devices_that_ask_in_both_regions_at_once_have_one_certificate_each_in_the_end(
    regions: Regions,
    new_device: Callable[[str], Device],
    record_testsuite_property: Callable[[str, object], None],
    count: int,
) -> None:
    """The Regions share a CA and do not see each other's writes for two seconds."""
    began = time.monotonic()
    devices = [new_device(f"racer-{count}-{number}") for number in range(count)]
    regions.enrol(FIRST, *devices)
    seconds_until(lambda: all(regions.is_enrolled(SECOND, device) for device in devices[-1:]))
    set_replication_lag(regions.folder, 2)
    try:
        with ThreadPoolExecutor(WORKERS) as first, ThreadPoolExecutor(WORKERS) as second:

            def answers_of(pool: ThreadPoolExecutor, region: str) -> Iterator[dict[str, Any]]:
                return pool.map(
                    lambda device: regions.provision(region, device, path=SHARED_CA, patience=20 * PATIENCE_SECONDS),
                    devices,
                )

            pairs = list(zip(answers_of(first, FIRST), answers_of(second, SECOND), strict=True))
        record_testsuite_property("seconds until the last answer", round(time.monotonic() - began))
        one_each = {
            device.device_id: [answer["certificateId"]] for device, (answer, _) in zip(devices, pairs, strict=True)
        }
        quiet = seconds_until(
            lambda: all(one_each.items() <= regions.active(region).items() for region in (FIRST, SECOND)),
            patience=10 * PATIENCE_SECONDS,
        )
        record_testsuite_property("seconds until quiescence", round(quiet))
    finally:
        set_replication_lag(regions.folder, 0)
    assert all(one["certificateId"] == other["certificateId"] for one, other in pairs)
    for region in (FIRST, SECOND):
        ledger = regions.current(region)
        assert {name: ledger[name] for name in one_each} == {
            name: ("active", certificate) for name, (certificate,) in one_each.items()
        }
        assert all(regions.connects(region, device) for device in devices[:: max(1, count // 8)])


def test_a_blocked_device_is_dropped_and_refused_in_both_regions(
    regions: Regions,
    new_device: Callable[[str], Device],
    monkeypatch: pytest.MonkeyPatch,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    monkeypatch.setenv("SECRETFREE_PROJECT", str(regions.folder.project))
    device = new_device("stolen")
    regions.enrol(FIRST, device)
    regions.provision(FIRST, device)
    seconds_until(lambda: regions.connects(SECOND, device))
    with regions.connection(FIRST, device) as one, regions.connection(SECOND, device) as other:
        began = time.monotonic()
        done = CliRunner().invoke(main, ["block", "stolen", "--reason", "reported stolen", "--local"])
        assert done.exit_code == 0, done.output
        for region, session in ((FIRST, one), (SECOND, other)):
            seconds_until(lambda: not session.is_connected)  # noqa: B023
            record_testsuite_property(f"seconds until dropped in {region}", round(time.monotonic() - began, 2))
    for region in (FIRST, SECOND):
        assert regions.ask(region, device)[0] == 403
        assert not regions.connects(region, device)


@pytest.fixture
def run(regions: Regions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Result]:
    """Run a documented command in the local cloud, as its reader does in a folder of their own."""
    monkeypatch.setenv("SECRETFREE_PROJECT", str(regions.folder.project))
    monkeypatch.chdir(tmp_path)

    def run_one(command: str) -> Result:
        return CliRunner().invoke(main, shlex.split(command)[1:])

    return run_one


def test_a_lost_region_keeps_no_device_from_the_other_and_catches_up_when_it_is_back(
    regions: Regions, new_device: Callable[[str], Device], run: Callable[[str], Result]
) -> None:
    """By the guide's commands, and by the runbook's."""

    def documented(command: str) -> None:
        # What follows from another command of the guide takes a moment.
        seconds_until(lambda: run(command).exit_code == 0, patience=PATIENCE_SECONDS / 2)

    up, *steps = commands(ROOT / "docs" / "guides" / "several-regions.md")
    assert up == f"secretfree local up --app examples/two-regions --region {FIRST} --region {SECOND}"
    lost, back = (steps.index(f"secretfree local {verb}-region {FIRST}") for verb in ("stop", "start"))
    block, block_again, report = commands(ROOT / "docs" / "runbooks" / "region-lost.md")
    before, during, stolen = (new_device(f"{name}-the-loss") for name in ("before", "during", "stolen-in"))
    regions.enrol(FIRST, before, stolen)
    for device in (before, stolen):
        regions.provision(FIRST, device)
    for step in steps[:lost]:
        documented(step)
    seconds_until(lambda: regions.connects(SECOND, before) and regions.connects(SECOND, stolen))
    documented(steps[lost])
    try:
        for step in steps[lost + 1 : back]:
            documented(step)
        documented(f"{block.replace('DEVICE_ID', stolen.device_id)} --local")
        regions.enrol(SECOND, during)
        regions.provision(SECOND, during)
        assert regions.connects(SECOND, during)
        assert regions.connects(SECOND, before)
    finally:
        start_region(regions.folder, FIRST)
    documented(steps[back])
    seconds_until(lambda: regions.connects(FIRST, during))
    certificate = during.certificate.read_text()
    assert regions.ask(FIRST, during)[1]["certificate"] == certificate
    assert regions.connects(FIRST, before)
    seconds_until(lambda: not regions.connects(FIRST, stolen))
    assert regions.ask(FIRST, stolen)[0] == 403
    documented(f"{block_again.replace('DEVICE_ID', stolen.device_id)} --local")
    documented(f"{report} --local")


@pytest.fixture(scope="module")
def as_follower(regions: Regions) -> Iterator[Callable[..., str]]:
    """Make one AWS call under the role of the second Region's follower."""
    target = regions.targets[SECOND]
    resources = target.client("cloudformation").describe_stack_resources(StackName=target.stack_name)
    functions = [
        target.client("lambda").get_function_configuration(FunctionName=one["PhysicalResourceId"])
        for one in resources["StackResources"]
        if one["ResourceType"] == "AWS::Lambda::Function"
    ]
    (follower,) = [one for one in functions if one["Handler"].endswith("follower.handler")]
    borrowed = BorrowedRoles(target.client("lambda"))
    yield partial(borrowed, follower)
    borrowed.remove()


def test_the_follower_can_do_nothing_but_follow(regions: Regions, as_follower: Callable[..., str]) -> None:
    target = regions.targets[SECOND]
    key = {"device-id": {"S": "probe"}}
    table = {"TableName": target.registry_table}
    assert as_follower("dynamodb", "get_item", Key=key, **table) == "allowed"
    found = as_follower("iot", "update_certificate", certificateId="a" * 64, newStatus="REVOKED")
    assert found == "ResourceNotFoundException"
    forbidden: list[tuple[str, str, dict[str, Any]]] = [
        ("dynamodb", "put_item", {**table, "Item": key}),
        ("dynamodb", "scan", table),
        ("dynamodb", "scan", {"TableName": target.ledger_table}),
        ("dynamodb", "delete_item", {"TableName": target.ledger_table, "Key": {**key, "record": {"S": "x"}}}),
        ("iot", "create_keys_and_certificate", {"setAsActive": True}),
        ("iot", "delete_thing", {"thingName": "another"}),
        ("iot", "create_policy", {"policyName": "all", "policyDocument": '{"Version":"2012-10-17","Statement":[]}'}),
        ("iot-data", "publish", {"topic": "widget/another/command"}),
    ]
    allowed = [
        (service, operation)
        for service, operation, given in forbidden
        if not is_denied(as_follower(service, operation, **given))
    ]
    assert allowed == []


def test_each_alarm_of_the_replication_fires_alone_and_clears(regions: Regions) -> None:
    """Last, because what the other tests do, such as losing a Region, may set off alarms."""
    target = regions.targets[SECOND]
    alarms = alarms_of(target)
    replication = {name: one for name, one in alarms.items() if one["AlarmDescription"].endswith("/replication.md")}
    assert len(replication) == 2
    each_fires_alone_and_clears(target, alarms, of=replication)
