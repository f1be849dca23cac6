"""The storm, as far as one machine takes it: many requests of one device, and forged ones beside good devices."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from secretfree_cli.device.simulator import SimulatedDevice
from secretfree_cli.local.emulators.aws_limits import DEFAULT_CONCURRENCY
from secretfree_device import Answer, IssuerPath, Patience, ProvisioningClient

CONCURRENT = 200
GOOD_DEVICES = 20
FORGERS = 4
# A request waits for its turn at the emulator, which runs a few Lambdas at a time.
TIMEOUT = 240.0

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def enrolled(cloud: Any, tmp_path: Path) -> Any:
    """Make and enrol devices whose names begin with the given word."""

    def make(word: str, count: int = 1) -> list[SimulatedDevice]:
        devices = [SimulatedDevice.create(tmp_path / f"{word}-{n}", f"{word}-{n}") for n in range(count)]
        for device in devices:
            cloud.put_item(device.device_id, device.public_key_pem.encode())
        return devices

    return make


@pytest.fixture(scope="module", autouse=True)
def warm_functions(cloud: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let cold starts pass: several at once, on a busy machine, take longer than an authorizer has."""
    for issuer in IssuerPath:
        device = SimulatedDevice.create(tmp_path_factory.mktemp("warm") / "device", f"warm-{issuer.value}")
        cloud.put_item(device.device_id, device.public_key_pem.encode())
        requests = [device.signing_request() for _ in range(2 * DEFAULT_CONCURRENCY)]
        with ThreadPoolExecutor(len(requests)) as pool:
            # The client asks again after any 5xx.
            list(pool.map(lambda request, issuer=issuer: client(cloud).provision(issuer, lambda: request), requests))


def client(cloud: Any) -> ProvisioningClient:
    return ProvisioningClient(cloud.url, timeout=TIMEOUT, patience=Patience(total=TIMEOUT))


def at_once(cloud: Any, device: SimulatedDevice, issuer: IssuerPath) -> list[Answer]:
    """Every request with a CSR of its own, all sent when all are ready."""
    start = threading.Barrier(CONCURRENT)

    def post(signing_request: bytes) -> Answer:
        start.wait(timeout=60)
        return client(cloud).post(issuer, signing_request)

    requests = [device.signing_request() for _ in range(CONCURRENT)]
    with ThreadPoolExecutor(CONCURRENT) as pool:
        return list(pool.map(post, requests))


@pytest.mark.parametrize("issuer", list(IssuerPath))
def test_200_requests_of_one_device_at_once_make_one_certificate(cloud: Any, enrolled: Any, issuer: IssuerPath) -> None:
    (device,) = enrolled(f"crowd-{issuer.value}")
    before = cloud.issued()

    answers = at_once(cloud, device, issuer)
    identity = client(cloud).provision(issuer, device.signing_request)

    assert set(Counter(answer.status for answer in answers)) <= {200, 202}
    assert all((answer.retry_after or 0) >= 1 for answer in answers if answer.status == 202)
    assert {certificate_of(answer) for answer in answers if answer.status == 200} <= {identity.certificate_id}
    after = cloud.issued()
    assert after.certificates - before.certificates == {identity.certificate_id}
    assert after.things - before.things == {device.device_id}
    assert {record for name, record in after.ledger - before.ledger if name == device.device_id} == {
        f"certificate#{identity.certificate_id}",
        f"issuance#{'private-ca' if issuer is IssuerPath.PRIVATE_CA else 'iot-core'}",
    }
    signed = after.signed_by_private_ca - before.signed_by_private_ca
    assert signed == (1 if issuer is IssuerPath.PRIVATE_CA else 0)


def test_forged_requests_at_full_rate_keep_no_good_device_from_its_certificate(cloud: Any, enrolled: Any) -> None:
    good = enrolled("good", GOOD_DEVICES)
    (victim,) = enrolled("victim")
    (forger,) = enrolled("forger")
    before = cloud.issued()

    with flood(cloud, victim.forged_signing_request(forger)) as refusals:
        with ThreadPoolExecutor(GOOD_DEVICES) as pool:
            identities = list(pool.map(lambda device: device.provision(client(cloud)), good))
        refused_meanwhile = Counter(refusals)

    assert [identity.thing_name for identity in identities] == [device.device_id for device in good]
    assert refused_meanwhile[403] > 0
    assert set(refusals) == {403}
    after = cloud.issued()
    assert after.certificates - before.certificates == {identity.certificate_id for identity in identities}
    assert after.signed_by_private_ca - before.signed_by_private_ca == GOOD_DEVICES
    assert victim.device_id not in {name for name, _ in after.ledger}


@contextmanager
def flood(cloud: Any, forged: bytes) -> Iterator[list[int]]:
    """Post `forged` over and over, each forger as fast as it is answered; the statuses so far."""
    statuses: list[int] = []
    over = threading.Event()

    def keep_posting() -> None:
        while not over.is_set():
            statuses.append(client(cloud).post(IssuerPath.PRIVATE_CA, forged).status)

    with ThreadPoolExecutor(FORGERS) as pool:
        forgers = [pool.submit(keep_posting) for _ in range(FORGERS)]
        try:
            yield statuses
        finally:
            over.set()
    for forger in forgers:
        forger.result()


def certificate_of(answer: Answer) -> str:
    return str(json.loads(answer.body)["certificateId"])
