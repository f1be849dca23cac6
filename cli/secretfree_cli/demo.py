"""`secretfree demo`: the whole story on one machine, told step by step, and checked step by step."""

from __future__ import annotations

import json
import secrets
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from secretfree.errors import ErrorCode
from secretfree.registry.entry import DeviceStatus

from secretfree_cli.command_line import command
from secretfree_cli.device.commands import broker_of, own_topic
from secretfree_cli.device.keys import KeyType
from secretfree_cli.device.mqtt import DeviceConnection, MqttError, MqttRefusedError
from secretfree_cli.device.provisioning import Answer, IssuerPath, ProvisioningClient, ProvisioningError
from secretfree_cli.device.simulator import SimulatedDevice
from secretfree_cli.devices.enrolled import set_status
from secretfree_cli.importing.options import gate_of
from secretfree_cli.importing.progress import Silent
from secretfree_cli.importing.run import ImportRequest, registry_of, run_import
from secretfree_cli.local.cloud import bring_down, bring_up, deploy_into
from secretfree_cli.local.deployment import Deployment
from secretfree_cli.local.interruption import ending_on_signals, undisturbed
from secretfree_cli.local.state import CloudRecord, StateFolder, find_project
from secretfree_cli.manifests.single import SingleDevice
from secretfree_cli.output import CliError, ExitCode, stdout
from secretfree_cli.target import Target, local_target

_SILENCE_SECONDS = 0.5
"""How long a message that must not arrive is waited for; one that may arrives within milliseconds."""


@command("demo")
@click.option("--keep", is_flag=True, help="Leave the local cloud up and the devices in ./devices, to go on with.")
def demo(*, keep: bool) -> None:
    """Show all of it on this machine: from an empty cloud to devices on MQTT, and every impostor refused.

    Needs no AWS account and no Docker. Exits non-zero if any step does not go as told, and stops what it started.
    """
    narrator = Narrator(stdout())
    began = time.monotonic()
    folder = StateFolder(find_project())
    try:
        with ending_on_signals(), _local_cloud(narrator, folder, keep=keep) as record, _device_folder(keep) as devices:
            Story(narrator, local_target(record), devices).tell()
    except StepFailedError as failure:
        narrator.failed(str(failure))
        raise SystemExit(ExitCode.FAILURE) from failure
    except (ProvisioningError, MqttError) as error:
        narrator.failed(str(error))
        raise CliError(
            "the demo did not go as told", hint="`secretfree local logs aws` shows what the Lambdas said"
        ) from error
    narrator.end(seconds=time.monotonic() - began, keep=keep)


class StepFailedError(Exception):
    """A step did not go as told."""


class Narrator:
    """Says what happens, in the order in which it happens; plain text without a terminal."""

    CHAPTERS = 8

    def __init__(self, console: Console) -> None:
        """Tell it on `console`."""
        self._console = console
        self._chapter = 0
        self._done, self._not_done = ("✓", "✗") if console.encoding.lower().startswith("utf") else ("ok", "NOT OK")

    def chapter(self, title: str, explanation: str) -> None:
        """Open the next chapter: what happens, and why it matters."""
        self._chapter += 1
        self._console.print(f"\n[bold]{self._chapter}/{self.CHAPTERS}  {escape(title)}[/bold]")
        for line in explanation.strip().splitlines():
            self._console.print(f"     [dim]{escape(line.strip())}[/dim]")

    def done(self, text: str) -> None:
        """Say what was done."""
        self._console.print(f"   [green]{self._done}[/green] {escape(text)}")

    def tell(self, text: str) -> None:
        """Say something in passing."""
        self._console.print(f"     {escape(text)}")

    def check(self, holds: bool, text: str, *, otherwise: str = "") -> None:  # noqa: FBT001 - a check reads as one
        """Say what was seen, if it is so; else end the demo. Raises StepFailedError."""
        if not holds:
            raise StepFailedError(f"not so: {text}" + (f" ({otherwise})" if otherwise else ""))
        self.done(text)

    def failed(self, text: str) -> None:
        """Say that the story ends here."""
        self._console.print(f"   [red]{self._not_done}[/red] {escape(text)}")

    def end(self, *, seconds: float, keep: bool) -> None:
        """Say that all went as told, and what to do next."""
        self._console.print(f"\n[bold green]All of it went as told[/bold green], in {seconds:.0f} s.")
        if keep:
            self.tell("The local cloud is still up, and the devices are in ./devices. For instance:")
            self.tell("  secretfree local status --json      addresses, for curl, the AWS CLI or an MQTT client")
            self.tell("  secretfree device new my-device     a device of your own; it says what comes next")
            self.tell("  secretfree local down               stop it")
        else:
            self.tell("The local cloud was stopped. `secretfree demo --keep` leaves it up, to try things on.")

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Show that something slow is going on, where there is a terminal to show it on."""
        if self._console.is_terminal:
            with self._console.status(escape(what)):
                yield
        else:
            yield


@dataclass(frozen=True)
class Cast:
    """The devices of the story, each with a key of its own."""

    sensor: SimulatedDevice
    gateway: SimulatedDevice
    prototype: SimulatedDevice
    stolen: SimulatedDevice
    unknown: SimulatedDevice

    @property
    def enrolled(self) -> Sequence[SimulatedDevice]:
        """Those whose public keys the factory hands over."""
        return self.sensor, self.gateway, self.prototype, self.stolen

    @classmethod
    def born(cls, directory: Path) -> Cast:
        """Make them. Ids are new each time, so that a second run on the same cloud works."""
        telling = secrets.token_hex(3)

        def device(role: str, key_type: KeyType) -> SimulatedDevice:
            return SimulatedDevice.create_in(directory, f"{role}-{telling}", key_type=key_type)

        return cls(
            sensor=device("sensor", KeyType.EC_P256),
            gateway=device("gateway", KeyType.RSA_2048),
            prototype=device("prototype", KeyType.EC_P384),
            stolen=device("stolen", KeyType.EC_P256),
            unknown=device("unknown", KeyType.EC_P256),
        )


class Story:
    """The chapters after the deployment, each one checked against what the local cloud really did."""

    def __init__(self, narrator: Narrator, target: Target, directory: Path) -> None:
        """Prepare to tell it, to the stack of `target`, with devices in `directory`."""
        self._narrator = narrator
        self._target = target
        self._directory = directory
        self._client = ProvisioningClient(target.require_url())

    def tell(self) -> None:
        """Tell them. Raises StepFailedError, and what the device raises."""
        cast = self._make_devices()
        self._enrol(cast)
        self._provision(cast)
        self._talk(cast)
        self._refuse(cast)
        self._ask_again(cast)

    def _make_devices(self) -> Cast:
        self._narrator.chapter(
            "At the factory: key pairs, and nothing secret leaves the devices",
            """Each device makes a key pair and keeps the private half: here a file, in the field a secure element.
            The factory writes down device ids and public keys. A thief of that list can impersonate no device.""",
        )
        cast = Cast.born(self._directory)
        for device in (*cast.enrolled, cast.unknown):
            self._narrator.check(
                device.identity is None, f"{device.device_id}: {device.key_type.value} key, no certificate"
            )
        return cast

    def _enrol(self, cast: Cast) -> None:
        self._narrator.chapter(
            "Enrol them: this is the list of who may come",
            """`secretfree enroll files` checks each key and writes id, public key and fingerprint into the registry.
            The Lambdas' roles can read that table and cannot write it.""",
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
            f"{cast.stolen.device_id} is reported stolen: blocked, as by `secretfree block`",
        )

    def _provision(self, cast: Cast) -> None:
        self._narrator.chapter(
            "First boot: a signing request goes out, a certificate comes back",
            """The device posts a CSR. The authorizer checks the signature (proof that the key is in there), the id and
            the key against the registry. The issuer has a CA sign, and registers certificate, thing and policy.""",
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
            "On MQTT: mutual TLS, and a policy that knows who is talking",
            """The clock starts while the sensor has no certificate and stops when its own message came back to it
            through the broker. Then it tries to speak in the gateway's name.""",
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
                f"published and received on {topic}, {seconds:.2f} s after it had no certificate",
                otherwise=f"received {message}",
            )
            self._speak_for_another(sensor, cast.gateway)

    def _speak_for_another(self, sensor: DeviceConnection, other: SimulatedDevice) -> None:
        identity = other.identity
        assert identity is not None  # noqa: S101 - provisioned a chapter ago
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
                otherwise="the broker took it",
            )
            self._narrator.check(
                gateway.receive(timeout=_SILENCE_SECONDS) is None, "the gateway, listening there, received nothing"
            )
            gateway.publish(topic, "40.0")
            own = gateway.receive(timeout=5.0)
            self._narrator.check(
                own is not None and own.payload == b"40.0", "what the gateway itself publishes there arrives"
            )

    def _refuse(self, cast: Cast) -> None:
        self._narrator.chapter(
            "Impostors: each one refused, and told nothing",
            """Every refusal is the same answer, so that no one can find out which devices exist.
            The true reason is in the log and in a metric.""",
        )
        certificates = self._certificate_count()
        clone = SimulatedDevice.create(self._directory / "clone", cast.sensor.device_id)
        impostors: Mapping[str, tuple[str, bytes]] = {
            "a clone": ("the sensor's id, a key of its own", clone.signing_request()),
            "a forged CSR": (
                "the sensor's id and public key, signed by another key",
                cast.sensor.forged_signing_request(clone),
            ),
            "an unenrolled device": ("id and key in no registry", cast.unknown.signing_request()),
            "a blocked device": ("id and key right, reported stolen", cast.stolen.signing_request()),
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
            f"the same body for each, the request id aside: {' | '.join(sorted(bodies))}",
        )
        status = _post_without_a_csr(f"{self._target.require_url()}/{IssuerPath.PRIVATE_CA.value}")
        self._narrator.check(status == 401, f"a request without the device-csr header: {status}")
        self._narrator.check(
            self._certificate_count() == certificates,
            f"nothing was issued meanwhile: IoT Core still holds {certificates} certificates",
            otherwise=f"{self._certificate_count()}",
        )

    def _ask_again(self, cast: Cast) -> None:
        self._narrator.chapter(
            "A lost answer costs nothing: ask again, get the same certificate",
            """A device that lost power before it stored the answer posts again, with a newly signed CSR.
            Same device, same key: no second certificate is issued and paid for.""",
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


@contextmanager
def _local_cloud(narrator: Narrator, folder: StateFolder, *, keep: bool) -> Iterator[CloudRecord]:
    """Have the local cloud up and the sample deployed, and stop it afterwards if it was not up before."""
    narrator.chapter(
        "A cloud on this machine",
        """Two emulators on loopback play AWS: one with IAM roles and IoT policies enforced, one as AWS Private CA.
        Everything else is the real thing: the CDK app, the Lambdas' code, TLS, MQTT.""",
    )
    was_up = False
    try:
        with folder.exclusive():
            began = time.monotonic()
            with narrator.working("starting the emulators"):
                record, was_up = bring_up(folder, tell=lambda _text: None)
            state = "was up already" if was_up else f"up after {time.monotonic() - began:.1f} s"
            narrator.done(f"{state}, at {record.endpoint_url}")
            record = _deployed(narrator, folder, record, was_up=was_up)
        yield record
    finally:
        if not (keep or was_up):
            with undisturbed(), narrator.working("stopping what was started"), folder.exclusive():
                bring_down(folder)


def _deployed(narrator: Narrator, folder: StateFolder, record: CloudRecord, *, was_up: bool) -> CloudRecord:
    narrator.chapter(
        "Deploy the sample app with the CDK CLI",
        """One construct: a REST API, the authorizer and the issuers under least-privilege roles, two tables,
        an IoT policy. The first time, the Lambdas' dependencies are fetched by their hashes.""",
    )
    # A cloud that was only started again may hold the stack of older code: deploying anew costs seconds then.
    if was_up and record.stack_name is not None:
        narrator.done(f"stack {record.stack_name} is there already")
        return record
    began = time.monotonic()
    with narrator.working("cdk deploy"):
        record = deploy_into(folder, Deployment(folder.project), tell=lambda _text: None)
    narrator.done(f"stack {record.stack_name} deployed in {time.monotonic() - began:.1f} s")
    return record


@contextmanager
def _device_folder(keep: bool) -> Iterator[Path]:  # noqa: FBT001 - private, one use
    with ExitStack() as stack:
        yield (
            Path("devices")
            if keep
            else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="secretfree-demo-")))
        )


def _without_request_id(answer: Answer) -> str:
    document = json.loads(answer.body)
    document.pop("requestId", None)
    return json.dumps(document)


def _post_without_a_csr(url: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=35) as response:  # noqa: S310
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
