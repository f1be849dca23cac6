"""An issuer that dies at each of its calls, before and after the call's effect; then its devices come back.

The dying is done here: the runtime's own pipeline, on the deployed stack's configuration and the local cloud's
services, with the process "killed" at one call. The devices come back through the API and the deployed Lambdas.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from secretfree.adapters import clients, single_try_clients
from secretfree.clock import SystemClock
from secretfree.config.issuer import IssuerConfig
from secretfree.contract import IssuerKind
from secretfree.handlers import wiring
from secretfree.issuance.pipeline import issue
from secretfree.issuance.record import LEASE
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.request.csr import UnverifiedCsr, verify
from secretfree.request.device_id import DeviceId
from secretfree.request.device_profile import DeviceProfile
from secretfree_cli.device.simulator import Identity, SimulatedDevice
from secretfree_device import IssuerPath, Patience, ProvisioningClient
from support.fake_cloud import Client, FakeCloud, Fault, InlineExecutor, Killed
from support.issuing_calls import CALLS

PATHS = {IssuerKind.PRIVATE_CA: IssuerPath.PRIVATE_CA, IssuerKind.IOT_CORE: IssuerPath.IOT_CORE}
PATIENCE = 120.0

pytestmark = pytest.mark.timeout(600)


class ClockOfTheDead(SystemClock):
    """An issuer's clock at its death, so long ago that its lease has ended."""

    def now(self) -> datetime:
        return super().now() - LEASE - timedelta(seconds=1)


def test_whatever_call_an_issuer_dies_at_its_device_gets_one_certificate_and_no_other_is_left(
    cloud: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cloud.issued()
    services = {name: cloud.target.client(name) for name in ("dynamodb", "iot", "acm-pca")}
    left_by: dict[str, tuple[IssuerKind, SimulatedDevice]] = {}
    for kind, operations in CALLS.items():
        config = IssuerConfig.from_environment(cloud.function_of_issuer(kind.value)["Environment"]["Variables"])
        for number, operation in enumerate(operations, start=1):
            for fault in (Fault.KILLED_BEFORE, Fault.KILLED_AFTER):
                name = f"dies-{kind.value}-{number}-{operation}-{fault.name.removeprefix('KILLED_').lower()}"
                device = SimulatedDevice.create(tmp_path / name, name)
                cloud.put_item(name, device.public_key_pem.encode())
                die(config, device, FakeCloud(faults={number: fault}), services, monkeypatch)
                left_by[name] = (kind, device)

    with ThreadPoolExecutor(4) as pool:
        identities = dict(zip(left_by, pool.map(lambda left: come_back(cloud, *left), left_by.values()), strict=True))

    after = cloud.issued()
    assert {name: identity.thing_name for name, identity in identities.items()} == {name: name for name in left_by}
    given = {found.certificate_id for found in identities.values()}
    iot = cloud.target.client("iot")
    # IoT Core's CA takes no token: a lost answer leaves an inactive certificate, which the sweeper discards later.
    left = after.certificates - before.certificates - given
    assert given <= after.certificates
    assert {describe(iot, lost)["status"] for lost in left} <= {"INACTIVE"}
    assert len(left) <= len([name for name in left_by if name.startswith("dies-iot-core")])
    assert after.signed_by_private_ca - before.signed_by_private_ca == 2 * len(CALLS[IssuerKind.PRIVATE_CA])
    for name, identity in identities.items():
        described = describe(iot, identity.certificate_id)
        assert described["status"] == "ACTIVE", name
        assert iot.list_principal_things(principal=described["certificateArn"])["things"] == [name]
        assert len(iot.list_attached_policies(target=described["certificateArn"])["policies"]) == 1, name


def describe(iot: Any, certificate_id: str) -> Any:
    return iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]


def die(
    config: IssuerConfig,
    device: SimulatedDevice,
    account: FakeCloud,
    services: Mapping[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Issue for `device` in this process, until it is killed at one of its calls."""

    def at(service: str) -> Any:
        return lambda *_: Client(account, services[service])

    monkeypatch.setattr(clients, "dynamodb", at("dynamodb"))
    monkeypatch.setattr(single_try_clients, "iot", at("iot"))
    monkeypatch.setattr(single_try_clients, "acm_pca", at("acm-pca"))
    clock = ClockOfTheDead()
    der = x509.load_pem_x509_csr(device.signing_request()).public_bytes(Encoding.DER)
    csr = verify(UnverifiedCsr.from_der(der), DeviceProfile.STANDARD)
    with pytest.raises(Killed):
        issue(
            AuthorizedDevice(DeviceId.parse(device.device_id), csr.public_key.fingerprint, csr.digest),
            csr,
            ports=replace(wiring.ports(config, config.issuer), executor=InlineExecutor()),
            policy=wiring.policy(config, config.issuer),
            clock=clock,
            deadline=clock.monotonic() + 20,
        )


def come_back(cloud: Any, kind: IssuerKind, device: SimulatedDevice) -> Identity:
    client = ProvisioningClient(cloud.url, timeout=PATIENCE, patience=Patience(total=PATIENCE))
    return device.provision(client, PATHS[kind])
