"""The demo's chapters after the deployment. Each step is checked against the local cloud."""

from __future__ import annotations

import json
import secrets
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secretfree.errors import ErrorCode
from secretfree.registry.entry import DeviceStatus
from secretfree_device import Answer, IssuerPath, ProvisioningClient
from secretfree_device.keys import KeyType
from secretfree_device.session import DeviceSession, MqttRefusedError

from secretfree_cli.demo.narrator import Narrator
from secretfree_cli.device.addresses import broker_of, own_topic
from secretfree_cli.device.simulator import SimulatedDevice
from secretfree_cli.devices.enrolled import set_status
from secretfree_cli.importing.options import gate_of
from secretfree_cli.importing.progress import Silent
from secretfree_cli.importing.run import ImportRequest, registry_of, run_import
from secretfree_cli.manifests.single import SingleDevice
from secretfree_cli.output import ExitCode
from secretfree_cli.target import Target

_SILENCE_SECONDS: Final = 0.5
"""How long the demo waits for a message that must not arrive. An allowed message arrives within milliseconds."""


@dataclass(frozen=True)
class Cast:
    """The devices of the demo, each with its own key."""

    sensor: SimulatedDevice
    gateway: SimulatedDevice
    prototype: SimulatedDevice
    stolen: SimulatedDevice
    unknown: SimulatedDevice

    @property
    def enrolled(self) -> Sequence[SimulatedDevice]:
        """The devices whose public keys the factory delivers."""
        return self.sensor, self.gateway, self.prototype, self.stolen

    @classmethod
    def born(cls, directory: Path) -> Cast:
        """Make the devices with new ids, so that a second run on the same cloud works."""
        run = secrets.token_hex(3)

        def device(role: str, key_type: KeyType) -> SimulatedDevice:
            return SimulatedDevice.create_in(directory, f"{role}-{run}", key_type=key_type)

        return cls(
            sensor=device("sensor", KeyType.EC_P256),
            gateway=device("gateway", KeyType.RSA_2048),
            prototype=device("prototype", KeyType.EC_P384),
            stolen=device("stolen", KeyType.EC_P256),
            unknown=device("unknown", KeyType.EC_P256),
        )


class Story:
    """The chapters after the deployment, each checked against the local cloud."""

    def __init__(self, narrator: Narrator, target: Target, directory: Path) -> None:
        """Use the stack of `target`, and store the devices in `directory`."""
        self._narrator = narrator
        self._target = target
        self._directory = directory
        self._url, self._roots = target.device_url()
        self._client = ProvisioningClient(self._url, ca_file=self._roots)

    def run(self) -> None:
        """Run every chapter. Raises StepFailedError and the errors of a device."""
        cast = self._make_devices()
        self._enrol(cast)
        self._provision(cast)
        self._talk(cast)
        self._refuse(cast)
        self._ask_again(cast)

    def _make_devices(self) -> Cast:
        self._narrator.chapter(
            "At the factory: make key pairs. No secret leaves a device",
            """Each device makes a key pair and keeps the private key: here in a file, in the field in a secure element.
            The factory records device ids and public keys. That list is useless to a thief.""",
        )
        cast = Cast.born(self._directory)
        for device in (*cast.enrolled, cast.unknown):
            self._narrator.check(
                device.identity is None, f"{device.device_id}: {device.key_type.value} key, no certificate"
            )
        return cast

    def _enrol(self, cast: Cast) -> None:
        self._narrator.chapter(
            "Enrol the devices: the registry lists who may have a certificate",
            """`secretfree enroll files` checks each key and writes id, public key and fingerprint into the registry.
            The Lambdas' roles can read that table, not write it.""",
        )
        gate = gate_of(self._target)
        summary = run_import(
            self._target,
            ImportRequest(
                manifests=[
                    SingleDevice(
                        device.device_id, device.public_key_file.read_bytes(), device.public_key_file.name, gate.profile
                    )
                    for device in cast.enrolled
                ],
                gate=gate,
                parallelism=1,
                resumable=False,
            ),
            Silent(),
        )
        self._narrator.check(
            summary.exit_code is ExitCode.OK and summary.rows == len(cast.enrolled),
            f"{len(cast.enrolled)} devices enrolled, in batch {summary.batch}; "
            f"{cast.unknown.device_id} is not among them",
            otherwise=json.dumps(summary.document()),
        )
        self._narrator.check(
            set_status(registry_of(self._target), cast.stolen.device_id, DeviceStatus.BLOCKED, reason="stolen"),
            f"{cast.stolen.device_id} is reported stolen and blocked, as `secretfree block` does",
        )

    def _provision(self, cast: Cast) -> None:
        self._narrator.chapter(
            "First boot: the device sends a signing request and receives a certificate",
            """The device posts a CSR. The authorizer checks the CSR's signature (proof of possession), and looks up
            the id and the key in the registry. The issuer gets a certificate from a CA, and registers certificate,
            thing and policy.""",
        )
        for device, issuer, authority in (
            (cast.gateway, IssuerPath.PRIVATE_CA, "AWS Private CA"),
            (cast.prototype, IssuerPath.IOT_CORE, "IoT Core's own CA"),
        ):
            began = time.monotonic()
            identity = device.provision(self._client, issuer)
            self._narrator.check(
                identity.thing_name == device.device_id,
                f"{device.device_id}: POST /{issuer.value} -> 200 after {time.monotonic() - began:.2f} s, "
                f"signed by {authority}, valid until {identity.not_after}",
                otherwise=f"thing {identity.thing_name}",
            )

    def _talk(self, cast: Cast) -> None:
        self._narrator.chapter(
            "On MQTT: mutual TLS, and a policy for each device's own topics",
            """The clock starts before the sensor has a certificate. It stops when the sensor receives its own message
            from the broker. Then the sensor tries to publish on the gateway's topic.""",
        )
        self._narrator.check(cast.sensor.identity is None, f"{cast.sensor.device_id} has no certificate")
        began = time.monotonic()
        identity = cast.sensor.provision(self._client, IssuerPath.PRIVATE_CA)
        topic = own_topic(self._target, identity, "temperature")
        with cast.sensor.connection(broker_of(self._target, identity)) as sensor:
            sensor.subscribe(topic)
            sensor.publish(topic, "21.5")
            message = sensor.receive(timeout=5.0)
            seconds = time.monotonic() - began
            self._narrator.check(
                message is not None and (message.topic, message.payload) == (topic, b"21.5"),
                f"published and received on {topic}; from no certificate to this message: {seconds:.2f} s",
                otherwise=f"received {message}",
            )
            self._publish_for_another(sensor, cast.gateway)

    def _publish_for_another(self, sensor: DeviceSession, other: SimulatedDevice) -> None:
        identity = other.identity
        assert identity is not None  # noqa: S101 - provisioned in the chapter before
        topic = own_topic(self._target, identity, "temperature")
        with other.connection(broker_of(self._target, identity)) as gateway:
            gateway.subscribe(topic)
            refusal = None
            try:
                sensor.publish(topic, "99.9")
            except MqttRefusedError as error:
                refusal = error
            self._narrator.check(
                refusal is not None,
                f"publish on {topic} by the sensor: refused by policy, reason code {refusal and refusal.reason!r}",
                otherwise="the broker accepted it",
            )
            self._narrator.check(
                gateway.receive(timeout=_SILENCE_SECONDS) is None, "the gateway, subscribed there, received nothing"
            )
            gateway.publish(topic, "40.0")
            own = gateway.receive(timeout=5.0)
            self._narrator.check(
                own is not None and own.payload == b"40.0", "a message from the gateway itself arrives there"
            )

    def _refuse(self, cast: Cast) -> None:
        self._narrator.chapter(
            "Impostors: every one is refused, with the same answer",
            """All refusals are alike, so that a stranger cannot find out which devices exist.
            The true reason is in the log and in a metric.""",
        )
        certificates = self._certificate_count()
        clone = SimulatedDevice.create(self._directory / "clone", cast.sensor.device_id)
        impostors: Mapping[str, tuple[str, bytes]] = {
            "a clone": ("the sensor's id, another key", clone.signing_request()),
            "a forged CSR": (
                "the sensor's id and public key, signed by another key",
                cast.sensor.forged_signing_request(clone),
            ),
            "an unenrolled device": ("id and key not in the registry", cast.unknown.signing_request()),
            "a blocked device": ("right id and key, reported stolen", cast.stolen.signing_request()),
        }
        bodies = set()
        for who, (what, request) in impostors.items():
            answer = self._client.post(IssuerPath.PRIVATE_CA, request)
            self._narrator.check(
                answer.status == 403, f"{who} ({what}): {answer.status}", otherwise=answer.body.decode(errors="replace")
            )
            bodies.add(_without_request_id(answer))
        self._narrator.check(
            len(bodies) == 1 and all(json.loads(body)["code"] == ErrorCode.NOT_AUTHORIZED for body in bodies),
            f"the same body each time, apart from the request id: {' | '.join(sorted(bodies))}",
        )
        status = _post_without_a_csr(f"{self._url}/{IssuerPath.PRIVATE_CA.value}", self._roots)
        self._narrator.check(status == 401, f"a request without the device-csr header: {status}")
        self._narrator.check(
            self._certificate_count() == certificates,
            f"nothing was issued: IoT Core still holds {certificates} certificates",
            otherwise=f"{self._certificate_count()}",
        )

    def _ask_again(self, cast: Cast) -> None:
        self._narrator.chapter(
            "A lost answer costs nothing: a repeated request gets the same certificate",
            """A device that lost power before it stored the answer posts again, with a newly signed CSR.
            Device and key are the same, so the service issues and pays for no second certificate.""",
        )
        before = cast.sensor.identity
        after = cast.sensor.provision(self._client, IssuerPath.PRIVATE_CA)
        self._narrator.check(
            after == before, f"{cast.sensor.device_id}: the same certificate, {after.certificate_id[:16]}..."
        )

    def _certificate_count(self) -> int:
        return sum(
            len(page["certificates"])
            for page in self._target.client("iot").get_paginator("list_certificates").paginate()
        )


def _without_request_id(answer: Answer) -> str:
    document = json.loads(answer.body)
    document.pop("requestId", None)
    return json.dumps(document)


def _post_without_a_csr(url: str, roots: Path | None) -> int:
    context = ssl.create_default_context(cafile=None if roots is None else str(roots))
    request = urllib.request.Request(url, method="POST")  # noqa: S310 - the target's own address
    try:
        with urllib.request.urlopen(request, timeout=35, context=context) as response:  # noqa: S310
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
