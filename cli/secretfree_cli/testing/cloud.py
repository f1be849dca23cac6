"""The deployed app of a test: makes devices, enrols, provisions and connects them."""

from __future__ import annotations

import fcntl
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
from secretfree.registry.entry import DeviceStatus
from secretfree_device import Identity, IssuerPath, Patience, ProvisioningClient
from secretfree_device.keys import KeyType
from secretfree_device.session import DeviceSession

from secretfree_cli.device.addresses import broker_of, own_topic
from secretfree_cli.device.simulator import Firmware, SimulatedDevice
from secretfree_cli.devices.enrolled import set_status
from secretfree_cli.importing.options import gate_of
from secretfree_cli.importing.progress import Silent
from secretfree_cli.importing.run import ImportRequest, registry_of, run_import
from secretfree_cli.local import lambda_logs
from secretfree_cli.local.cloud import deploy_into
from secretfree_cli.local.deployment import Deployment
from secretfree_cli.local.emulators.private_ca.settings import TAG_PREFIX
from secretfree_cli.local.state import CloudRecord, StateFolder
from secretfree_cli.local.status import Status, status_of
from secretfree_cli.manifests.single import SingleDevice
from secretfree_cli.output import CliError, ExitCode
from secretfree_cli.target import Target, local_target

_misbehaving = threading.Lock()


class LocalSession(boto3.Session):
    """A boto3 session whose clients and resources call a local cloud."""

    def __init__(self, record: CloudRecord, endpoint_of: Callable[[str], str | None]) -> None:
        """Use the operator's key. `endpoint_of` returns the endpoint of a service's API."""
        super().__init__(
            aws_access_key_id=record.access_key_id,
            aws_secret_access_key=record.secret_access_key,
            region_name=record.region,
        )
        self._endpoint_of = endpoint_of

    def client(self, service_name: str, *args: Any, **settings: Any) -> Any:
        """Like boto3's, with the service's endpoint in the local cloud as the default."""
        settings.setdefault("endpoint_url", self._endpoint_of(service_name))
        return super().client(service_name, *args, **settings)  # type: ignore[call-overload]

    def resource(self, service_name: str, *args: Any, **settings: Any) -> Any:
        """As in boto3."""
        settings.setdefault("endpoint_url", self._endpoint_of(service_name))
        return super().resource(service_name, *args, **settings)  # type: ignore[call-overload]


@dataclass(frozen=True)
class LocalCloud:
    """One product line of the deployed app, in the local cloud of this test run."""

    folder: StateFolder
    record: CloudRecord
    target: Target
    devices: Path
    """Folder of the simulated devices."""

    @classmethod
    def of(cls, folder: StateFolder, record: CloudRecord, *, devices: Path) -> LocalCloud:
        """Return the first product line of the stack that was deployed first.

        Raises: CliError if the app has no product line with outputs.
        """
        line = status_of(record).first_line
        if line is None:
            raise CliError(
                "the app has no product line with outputs", hint="call SecretFreeProvisioning.add_outputs() in the app"
            )
        return cls(folder, record, local_target(record, stack=line.stack_name, product=line.product), devices)

    def line(self, product: str | None = None, *, stack: str | None = None) -> LocalCloud:
        """Return another product line of this stack, or one of another stack."""
        target = local_target(self.record, stack=stack or self.target.stack_name, product=product)
        return replace(self, target=target)

    def deploy(self, app: Path, *, stack: str, context: Mapping[str, str] | None = None) -> LocalCloud:
        """Deploy an app and return the first product line of its stack named `stack`."""
        with self.folder.exclusive():
            record = deploy_into(self.folder, Deployment(app, context=context or {}))
        line = next(iter(status_of(record, stack=stack).product_lines), None)
        return self.line(line.product if line else None, stack=stack)

    @property
    def status(self) -> Status:
        """The content of `secretfree local status`: addresses, keys, tables, product lines."""
        return status_of(self.record)

    @property
    def url(self) -> str:
        """The base of this line's provisioning API; `/new` and `/proto` are below it."""
        return self.target.require_url()

    @property
    def session(self) -> boto3.Session:
        """A new boto3 session in the local cloud, with the rights of the account's root."""
        return LocalSession(self.record, self.target.endpoint_of)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that configure an AWS SDK or the AWS CLI for the local cloud."""
        return self.record.environment()

    def new_device(
        self,
        device_id: str | None = None,
        *,
        key_type: KeyType = KeyType.EC_P256,
        firmware: Firmware = Firmware.STANDARD,
    ) -> SimulatedDevice:
        """Make a device with its own key, which is not enrolled. The default id is random."""
        name = device_id or f"device-{secrets.token_hex(6)}"
        return SimulatedDevice.create_in(self.devices, name, key_type=key_type, firmware=firmware)

    def clone_of(self, device: SimulatedDevice) -> SimulatedDevice:
        """Make a device with the id of another and a different key, like a clone."""
        folder = self.devices / "clones" / secrets.token_hex(6)
        return SimulatedDevice.create(folder, device.device_id, firmware=device.firmware)

    def enroll(self, *devices: SimulatedDevice) -> None:
        """Enrol devices with the code of `secretfree enroll`. Raises CliError with the reason of a refusal."""
        gate = gate_of(self.target)
        manifests = [
            SingleDevice(device.device_id, device.public_key_file.read_bytes(), device.device_id, gate.profile)
            for device in devices
        ]
        request = ImportRequest(manifests=manifests, gate=gate, parallelism=1, resumable=False)
        summary = run_import(self.target, request, Silent())
        if summary.exit_code is not ExitCode.OK:
            raise CliError(f"not every device was enrolled: {summary.document()}")

    def enrolled_device(self, device_id: str | None = None, *, key_type: KeyType = KeyType.EC_P256) -> SimulatedDevice:
        """Make a device and enrol it."""
        device = self.new_device(device_id, key_type=key_type)
        self.enroll(device)
        return device

    def provision(
        self, device: SimulatedDevice, *, issuer: IssuerPath = IssuerPath.PRIVATE_CA, seconds: float = 60.0
    ) -> Identity:
        """Request a device's certificate as firmware does, within a time limit in seconds, and store it.

        Raises: ProvisioningRefusedError, with the service's answer; ProvisioningUnavailableError.
        """
        url, roots = self.target.device_url()
        client = ProvisioningClient(url, ca_file=roots, patience=Patience(total=seconds))
        return device.provision(client, issuer)

    def connect(self, device: SimulatedDevice) -> DeviceSession:
        """Return the MQTT session of a provisioned device: `with cloud.connect(device) as session`."""
        return device.connection(broker_of(self.target, _identity_of(device)))

    def topic(self, device: SimulatedDevice, leaf: str) -> str:
        """Return `PRODUCT/THING/leaf`: a topic that the least-privilege policy allows to this device."""
        return own_topic(self.target, _identity_of(device), leaf)

    def block(self, device: SimulatedDevice, *, reason: str = "test") -> None:
        """Refuse a device from now on, as `secretfree block` does."""
        set_status(registry_of(self.target), device.device_id, DeviceStatus.BLOCKED, reason=reason)

    def unblock(self, device: SimulatedDevice) -> None:
        """Allow a blocked device again."""
        set_status(registry_of(self.target), device.device_id, DeviceStatus.ALLOWED)

    @contextmanager
    def private_ca(
        self,
        *,
        issuance_seconds: float | None = None,
        issue_rate: float | None = None,
        get_rate: float | None = None,
        revoke_rate: float | None = None,
        sha1_csr: bool | None = None,
    ) -> Iterator[None]:
        """Make the Private CA slow or strict in the block. This affects other tests in the same cloud.

        A certificate is in progress for `issuance_seconds`. Above a rate, in calls per second, the CA throttles. With
        `sha1_csr=False` it refuses CSRs that are signed with SHA-1. Only one block at a time changes the CA: others
        wait.

        Raises: RuntimeError for a block inside another.
        """
        chosen = {
            "issuance-seconds": issuance_seconds,
            "issue-rate": issue_rate,
            "get-rate": get_rate,
            "revoke-rate": revoke_rate,
            "sha1-csr": None if sha1_csr is None else "accept" if sha1_csr else "refuse",
        }
        tags = [{"Key": TAG_PREFIX + name, "Value": str(value)} for name, value in chosen.items() if value is not None]
        authority = self.target.authority_arn
        client: Any = self.session.client("acm-pca")
        with self._misbehaviour():
            client.tag_certificate_authority(CertificateAuthorityArn=authority, Tags=tags)
            try:
                yield
            finally:
                client.untag_certificate_authority(CertificateAuthorityArn=authority, Tags=tags)

    def function_logs(self, *, since: int = 0) -> list[str]:
        """Return the functions' log lines, with the true reason of a refusal. `since`: milliseconds after 1970."""
        return [line.message for line in lambda_logs.read(self.session.client("logs"), since=since)]

    @contextmanager
    def _misbehaviour(self) -> Iterator[None]:
        if not _misbehaving.acquire(blocking=False):
            raise RuntimeError("private_ca() is in use already: leave that block first")
        try:
            with Path(self.record.ca_certificate).open() as shared:  # any file that all users of the cloud share
                fcntl.flock(shared, fcntl.LOCK_EX)
                yield
        finally:
            _misbehaving.release()


def _identity_of(device: SimulatedDevice) -> Identity:
    if device.identity is None:
        raise ValueError(f"device {device.device_id} has no certificate yet: provision it first")
    return device.identity
