"""The local cloud of one storm: its quotas, its registry entries, and its content after the storm."""

from __future__ import annotations

import base64
import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from secretfree.contract import Variable
from secretfree.request.keys import DevicePublicKey
from secretfree_cli.device import signing_request
from secretfree_cli.local.cloud import bring_down, bring_up, deploy_into
from secretfree_cli.local.deployment import Deployment
from secretfree_cli.local.emulators.aws_limits import IOT_RATES_VARIABLE, OPERATIONS
from secretfree_cli.local.state import CloudRecord, StateFolder
from secretfree_cli.plan.quotas import QuotaTable, default_quotas
from secretfree_cli.target import Target, local_target

REPOSITORY = Path(__file__).resolve().parents[2]
AUTHORIZER = "authorizer.handler"


@dataclass(frozen=True)
class Device:
    """A device of the fleet: its id, and the `device-csr` header that it posts each time."""

    device_id: str
    device_csr: str
    public_key: ec.EllipticCurvePublicKey


@dataclass(frozen=True)
class Stock:
    """The content of the local cloud: the number of each certificate and thing, and each issuance's state."""

    active_certificates: frozenset[str]
    other_certificates: int
    things: frozenset[str]
    ledger: Mapping[str, Mapping[str, Any]]
    """The `issuance#` records by device."""
    numbers: int
    """Numbers that devices took of the queues of tickets."""
    signed: int
    """Certificates that the Private CA issued, without its own."""


@dataclass(frozen=True)
class StormCloud:
    """A local cloud with the sample deployed."""

    folder: StateFolder
    record: CloudRecord
    target: Target
    signed_before: int

    @property
    def url(self) -> str:
        """The API's base."""
        return self.target.require_url()

    def enrol(self, devices: Sequence[Device]) -> None:
        """Write the registry items, as the enrolment does."""
        table = self.target.resource("dynamodb").Table(self.target.registry_table)
        with table.batch_writer() as batch:
            for device in devices:
                key = DevicePublicKey.from_key(device.public_key)
                batch.put_item(
                    Item={
                        "device-id": device.device_id,
                        "pubkey": base64.b64encode(key.pem().encode()).decode(),
                        "key-fingerprint": key.fingerprint,
                        "status": "allowed",
                    }
                )

    def function_environment(self) -> dict[str, str]:
        """The environment of the authorizer and of the Private CA's issuer, with the emulators' addresses."""
        functions = [
            function["Environment"]["Variables"]
            for function in self._functions()
            if function["Handler"].endswith(AUTHORIZER)
            or function["Environment"]["Variables"].get("SECRETFREE_ISSUER") == "private-ca"
        ]
        merged = {name: value for variables in functions for name, value in variables.items()}
        return merged | self.record.environment()

    def set_issuance_rate(self, rate: int) -> None:
        """Change the deployed functions as another `issuance_rate` of the construct would."""
        for function in self._functions():
            variables = function["Environment"]["Variables"]
            if Variable.ISSUANCE_RATE in variables:
                self.target.client("lambda").update_function_configuration(
                    FunctionName=function["FunctionName"],
                    Environment={"Variables": {**variables, Variable.ISSUANCE_RATE.value: str(rate)}},
                )

    def stage_throttle(self) -> tuple[float, float]:
        """Requests a second and the burst that the deployed API lets through: the emulator does not apply them."""
        api_id, stage = self.url.rstrip("/").split("/")[-2:]
        settings = self.target.client("apigateway").get_stage(restApiId=api_id, stageName=stage)["methodSettings"]
        return float(settings["*/*"]["throttlingRateLimit"]), float(settings["*/*"]["throttlingBurstLimit"])

    def stock(self) -> Stock:
        """Count what the cloud holds."""
        iot = self.target.client("iot")
        certificates = [
            certificate
            for page in iot.get_paginator("list_certificates").paginate(PaginationConfig={"PageSize": 250})
            for certificate in page["certificates"]
        ]
        states = Counter(certificate["status"] for certificate in certificates)
        records = list(self._ledger())
        return Stock(
            active_certificates=frozenset(c["certificateId"] for c in certificates if c["status"] == "ACTIVE"),
            other_certificates=len(certificates) - states["ACTIVE"],
            things=frozenset(
                thing["thingName"]
                for page in iot.get_paginator("list_things").paginate(PaginationConfig={"PageSize": 250})
                for thing in page["things"]
            ),
            ledger={item["device-id"]: item for item in records if item["record"].startswith("issuance#")},
            numbers=sum(int(item.get("given", 0)) for item in records if item["record"].startswith("tickets#")),
            signed=_signed(self.folder) - self.signed_before,
        )

    def _ledger(self) -> Iterator[Mapping[str, Any]]:
        table = self.target.resource("dynamodb").Table(self.target.ledger_table)
        start: dict[str, Any] = {}
        while True:
            page = table.scan(**start)
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _functions(self) -> Iterator[Mapping[str, Any]]:
        resources = self.target.client("cloudformation").describe_stack_resources(StackName=self.target.stack_name)
        for resource in resources["StackResources"]:
            if resource["ResourceType"] == "AWS::Lambda::Function":
                yield self.target.client("lambda").get_function_configuration(
                    FunctionName=resource["PhysicalResourceId"]
                )


@contextmanager
def storm_cloud(*, quota_factor: float | None) -> Iterator[StormCloud]:
    """A local cloud of its own, with AWS's default quotas times `quota_factor`, or with none."""
    os.environ.update(_throttling(quota_factor) if quota_factor else {})
    # It holds sockets and keys. None of it is kept.
    with tempfile.TemporaryDirectory(prefix="storm-") as project:
        folder = StateFolder(Path(project))
        try:
            bring_up(folder)
            record = deploy_into(folder, Deployment(REPOSITORY))
            yield StormCloud(folder, record, local_target(record), _signed(folder))
        finally:
            bring_down(folder, forget_data=True)


def make_devices(prefix: str, count: int) -> list[Device]:
    """Devices with a key each. Their CSRs are signed beforehand, so that the storm measures the cloud alone."""
    return [_device(f"{prefix}-{number:05}") for number in range(count)]


def forged_csr(victim: Device) -> str:
    """A `device-csr` header with the victim's id and public key, signed by another key: the costliest refusal."""
    return _header(victim.device_id, victim.public_key, ec.generate_private_key(ec.SECP256R1()))


def _device(device_id: str) -> Device:
    key = ec.generate_private_key(ec.SECP256R1())
    return Device(device_id, _header(device_id, key.public_key(), key), key.public_key())


def _header(device_id: str, public_key: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePrivateKey) -> str:
    request = signing_request.certification_request(
        subject=signing_request.standard_subject(device_id), public_key=public_key, signer=signer
    )
    return base64.b64encode(signing_request.standard_pem(request)).decode()


def _throttling(factor: float) -> dict[str, str]:
    quotas = default_quotas()
    iot = {name: quota.rate * factor for name, quota in quotas.quotas.items() if quota.rate and name in OPERATIONS}
    iot["RegisterCertificateWithoutCA"] = iot["RegisterCertificate"]
    return {
        IOT_RATES_VARIABLE: ",".join(f"{operation}={rate:g}" for operation, rate in sorted(iot.items())),
        "SECRETFREE_PRIVATE_CA_ISSUE_RATE": f"{_rate(quotas, 'IssueCertificate') * factor:g}",
        "SECRETFREE_PRIVATE_CA_GET_RATE": f"{_rate(quotas, 'GetCertificate') * factor:g}",
    }


def _rate(quotas: QuotaTable, name: str) -> float:
    rate = quotas[name].rate
    if rate is None:
        raise ValueError(f"quota {name} is no rate")
    return rate


def _signed(folder: StateFolder) -> int:
    with sqlite3.connect(f"file:{folder.data / 'private-ca.sqlite3'}?mode=ro", uri=True) as store:
        (count,) = store.execute("SELECT count(*) FROM certificates").fetchone()
    return int(count)
