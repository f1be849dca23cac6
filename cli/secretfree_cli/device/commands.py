"""`secretfree device`: simulate a device on this machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from secretfree.errors import SecretFreeError
from secretfree_device import (
    Identity,
    IssuerPath,
    Patience,
    ProvisioningClient,
    ProvisioningError,
    ProvisioningRefusedError,
)
from secretfree_device.jobs import work_off_next
from secretfree_device.keys import KeyType, KeyUnavailableError
from secretfree_device.session import MQTT_TLS_PORT, Broker, DeviceSession, MqttError, MqttRefusedError

from secretfree_cli.command_line import Group
from secretfree_cli.device.addresses import broker_of, own_topic
from secretfree_cli.device.simulator import Firmware, SimulatedDevice, TokenPlace
from secretfree_cli.output import (
    CliError,
    ExitCode,
    emit,
    emit_fields,
    emit_json,
    emit_json_line,
    json_option,
    note,
    printable,
)
from secretfree_cli.target import Target, target_finder_options

_ISSUERS = {"private-ca": IssuerPath.PRIVATE_CA, "iot-core": IssuerPath.IOT_CORE}

_directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("devices"),
    show_default=True,
    help="Folder of the simulated devices. Each has its own folder in it.",
)


@contextmanager
def _key_in_reach() -> Iterator[None]:
    """Report a token that is missing or refuses the key."""
    try:
        yield
    except KeyUnavailableError as error:
        raise CliError(str(error), hint="check the module, the labels and the PIN with pkcs11-tool") from error


@click.group(cls=Group)
def device() -> None:
    """Simulate a device: make a key, provision, connect, publish.

    A device uses only its key. The command uses AWS credentials only to find the addresses of the stack.
    """


@device.command()
@click.argument("device_id")
@click.option(
    "--key-type",
    type=click.Choice([key_type.value for key_type in KeyType]),
    default=KeyType.EC_P256.value,
    show_default=True,
    help="Type of the device's key.",
)
@click.option(
    "--profile",
    "firmware",
    type=click.Choice([firmware.value for firmware in Firmware]),
    default=Firmware.STANDARD.value,
    show_default=True,
    help="Firmware that determines the form of the device's CSR.",
)
@click.option(
    "--pkcs11",
    "module",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="MODULE",
    help="PKCS#11 library of a token that holds the key. Needs --token.",
)
@click.option("--token", metavar="LABEL", help="Label of the token.")
@click.option(
    "--key-label",
    metavar="LABEL",
    help="Label of the key in the token. An existing key is used, otherwise a new one is made. [default: DEVICE_ID]",
)
@_directory_option
@json_option
@_key_in_reach()
def new(
    *,
    device_id: str,
    key_type: str,
    firmware: str,
    module: Path | None,
    token: str | None,
    key_label: str | None,
    directory: Path,
    as_json: bool,
) -> None:
    """Make a device: a folder with its private key (mode 0600) and the public key to enrol.

    With --pkcs11 the key is in a token and never leaves it. The PIN is that of SECRETFREE_PKCS11_PIN, or is typed in.
    """
    if (module is None) != (token is None) or (module is None and key_label is not None):
        raise click.UsageError("--pkcs11 and --token need each other; --key-label needs both")
    place = None if module is None or token is None else TokenPlace(module.resolve(), token, key_label or device_id)
    try:
        made = SimulatedDevice.create_in(
            directory, device_id, key_type=KeyType(key_type), firmware=Firmware(firmware), token=place
        )
    except SecretFreeError as error:
        raise click.BadParameter(error.detail, param_hint="DEVICE_ID") from error
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--key-type") from error
    except FileExistsError as error:
        raise CliError(
            f"device {device_id} exists already in {directory}",
            hint="a device's key is never replaced: use another id, or delete its folder",
        ) from error
    if as_json:
        emit_json(
            {
                "deviceId": str(made.device_id),
                "keyType": made.key_type,
                "profile": made.firmware,
                "folder": made.folder,
                "publicKey": made.public_key_file,
            }
        )
        return
    kept = made.folder if place is None else f"token {place.token!r} as {place.key_label!r}"
    note(f"made device {made.device_id} ({key_type}); its private key stays in {kept}")
    note(f"next: secretfree enroll device {made.device_id} --public-key {made.public_key_file}")
    emit(str(made.public_key_file))


@device.command()
@click.argument("device_id")
@_directory_option
@click.option(
    "--issuer",
    type=click.Choice(list(_ISSUERS)),
    default="private-ca",
    show_default=True,
    help="private-ca posts to /new, iot-core to /proto.",
)
@click.option("--csr-in-body", is_flag=True, help="Send the CSR as the body (`ApiOptions(csr_in_body=True)`).")
@click.option("--url", metavar="URL", help="Base URL of the provisioning API, instead of the stack's.")
@click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="PEM of the CA that the API's server certificate chains to.  [default: the system's roots]",
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0, max=3600),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to repeat the request while the service answers 202, 429 or 5xx.",
)
@json_option
@target_finder_options
@_key_in_reach()
def provision(
    *,
    device_id: str,
    directory: Path,
    issuer: str,
    csr_in_body: bool,
    url: str | None,
    ca_file: Path | None,
    wait: float,
    find_target: Callable[[], Target],
    as_json: bool,
) -> None:
    """Post a CSR as the device does, and store the certificate."""
    simulated = _existing(directory, device_id)
    try:
        base_url, roots = (url, None) if url is not None else find_target().device_url()
        client = ProvisioningClient(
            base_url,
            ca_file=ca_file or roots,
            patience=Patience(total=wait),
            csr_in_body=csr_in_body,
        )
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--url") from error
    started = time.monotonic()
    try:
        identity = simulated.provision(client, _ISSUERS[issuer])
    except ProvisioningRefusedError as error:
        raise CliError(
            f"device {simulated.device_id} was refused: {error}",
            hint="the answer never has the reason: see the authorizer's log and the Denied metric",
            exit_code=ExitCode.REFUSED,
        ) from error
    except ProvisioningError as error:
        raise CliError(str(error)) from error
    note(f"provisioned in {time.monotonic() - started:.2f} s; kept in {simulated.folder}")
    if as_json:
        emit_json(_identity_document(simulated, identity))
    else:
        emit_fields(
            {
                "thing": identity.thing_name,
                "certificate": identity.certificate_id,
                "valid until": identity.not_after,
                "renew after": identity.renew_after,
                "request id": identity.request_id,
                "endpoint": identity.endpoint,
                "file": simulated.certificate_file,
            }
        )


@device.command()
@click.argument("device_id")
@_directory_option
@click.option("--topic", help="Topic to subscribe to and publish on.  [default: PRODUCT/THING/hello]")
@click.option("--message", default="hello", show_default=True, help="What to publish.")
@click.option(
    "--listen",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Stay connected after the first message, and print all messages.",
)
@click.option("--broker", metavar="HOST[:PORT]", help="Broker to connect to, instead of the stack's. Needs --topic.")
@click.option(
    "--broker-ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="PEM of the CA that the broker's certificate chains to.  [default: the system's roots]",
)
@json_option
@target_finder_options
@_key_in_reach()
def connect(
    *,
    device_id: str,
    directory: Path,
    topic: str | None,
    message: str,
    listen: float,
    broker: str | None,
    broker_ca: Path | None,
    find_target: Callable[[], Target],
    as_json: bool,
) -> None:
    """Connect over MQTT with mutual TLS, subscribe, publish, and print the received message.

    Exit code 5 if the broker or the policy refuses.
    """
    simulated = _existing(directory, device_id)
    identity = _provisioned(simulated, directory)
    if broker is not None:
        if topic is None:
            raise click.UsageError("with --broker, --topic is required")
        destination = _dialled(broker, broker_ca, identity)
    else:
        target = find_target()
        destination = broker_of(target, identity)
        topic = topic or own_topic(target, identity)
    try:
        with simulated.connection(destination) as session:
            note(f"connected to {destination.host}:{destination.port} as {identity.thing_name}")
            session.subscribe(topic)
            session.publish(topic, message)
            _print_messages(session, listen=listen, as_json=as_json)
    except MqttRefusedError as error:
        raise CliError(str(error), hint="check the device's IoT policy", exit_code=ExitCode.REFUSED) from error
    except MqttError as error:
        raise CliError(str(error)) from error


@device.command()
@click.argument("device_id")
@_directory_option
@click.option(
    "--wait",
    type=click.FloatRange(min=0, max=86_400),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a job.",
)
@json_option
@target_finder_options
@_key_in_reach()
def jobs(*, device_id: str, directory: Path, wait: float, find_target: Callable[[], Target], as_json: bool) -> None:
    """Carry out the next AWS IoT Job of `secretfree renew`: renew, connect with the new certificate, report.

    Exit code 4 if no job arrives, 5 if the broker or the API refuses.
    """
    simulated = _existing(directory, device_id)
    identity = _provisioned(simulated, directory)
    target = find_target()
    client = ProvisioningClient(target.require_url())

    def session() -> DeviceSession:
        return simulated.connection(broker_of(target, simulated.identity or identity))

    def renew() -> str:
        return simulated.provision(client, identity.issuer).certificate_id

    try:
        done = work_off_next(session, identity.thing_name, renew, timeout=wait)
    except MqttRefusedError as error:
        raise CliError(str(error), exit_code=ExitCode.REFUSED) from error
    except MqttError as error:
        raise CliError(str(error)) from error
    if done is None:
        raise CliError(f"no job arrived within {wait:g} s", exit_code=ExitCode.NOT_FOUND)
    job, status = done
    now = simulated.identity or identity
    if as_json:
        emit_json({"jobId": job.job_id, "status": status, "certificateId": now.certificate_id})
    else:
        emit_fields({"job": job.job_id, "status": status, "certificate": now.certificate_id})
    if status == "FAILED":
        sys.exit(ExitCode.REFUSED)


def _existing(directory: Path, device_id: str) -> SimulatedDevice:
    try:
        return SimulatedDevice.find_in(directory, device_id)
    except FileNotFoundError as error:
        raise CliError(
            f"there is no device {device_id} in {directory}",
            hint=f"secretfree device new {device_id} --dir {directory}",
            exit_code=ExitCode.NOT_FOUND,
        ) from error


def _provisioned(simulated: SimulatedDevice, directory: Path) -> Identity:
    identity = simulated.identity
    if identity is None:
        raise CliError(
            f"device {simulated.device_id} has no certificate yet",
            hint=f"secretfree device provision {simulated.device_id} --dir {directory}",
            exit_code=ExitCode.NOT_FOUND,
        )
    return identity


def _dialled(broker: str, broker_ca: Path | None, identity: Identity) -> Broker:
    host, _, port = broker.partition(":")
    if not host or (port and not port.isdecimal()):
        raise click.BadParameter(f"{broker!r}; accepted: HOST or HOST:PORT", param_hint="--broker")
    return Broker(
        host,
        int(port) if port else MQTT_TLS_PORT,
        server_name=identity.endpoint.partition(":")[0],
        ca_file=broker_ca,
    )


def _print_messages(session: DeviceSession, *, listen: float, as_json: bool) -> None:
    message = session.receive(timeout=10.0)
    if message is None:
        raise MqttError("the published message did not come back within 10 s")
    until = time.monotonic() + listen
    while message is not None:
        text = message.payload.decode("utf-8", errors="replace")
        if as_json:
            emit_json_line({"topic": message.topic, "payload": text})
        else:
            emit(printable(f"{message.topic}  {text}"))
        message = session.receive(timeout=max(until - time.monotonic(), 0.0)) if listen else None


def _identity_document(simulated: SimulatedDevice, identity: Identity) -> dict[str, object]:
    return {
        "deviceId": str(simulated.device_id),
        "thingName": identity.thing_name,
        "certificateId": identity.certificate_id,
        "certificate": identity.certificate_pem,
        "certificateChain": identity.chain_pem,
        "endpoint": identity.endpoint,
        "notAfter": identity.not_after,
        "renewAfter": identity.renew_after,
        "requestId": identity.request_id,
        "certificateFile": simulated.certificate_file,
    }
