"""The local cloud's servers: their commands, their environment, and when they are ready."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from secretfree_cli.local.emulators.replication_settings import LAG_VARIABLE, OUTBOX_VARIABLE, PEERS_VARIABLE
from secretfree_cli.local.emulators.tls_front import CERTIFICATE_VARIABLE as TLS_CERTIFICATE_VARIABLE
from secretfree_cli.local.emulators.tls_front import PORT_VARIABLE as TLS_PORT_VARIABLE
from secretfree_cli.local.processes import ServerProcess, start_server
from secretfree_cli.local.state import StateFolder
from secretfree_cli.output import CliError

LOOPBACK = "127.0.0.1"
DEFAULT_REGION = "us-east-1"
ACCOUNT = "000000000000"

AWS_EMULATOR = "aws"
PRIVATE_CA = "private-ca"
# The variables of the operator's environment that servers get.
_PASSED_ON = (
    "SECRETFREE_PRIVATE_CA_",
    "SECRETFREE_IOT_RATES",
    "SECRETFREE_LAMBDA_CONCURRENCY",
    "SECRETFREE_ALARM_PERIOD",
    "LOG_LEVEL",
    "LANG",
    "LC_",
)
_PASSED_ON_EXACTLY = frozenset({"PATH", "PYTHONPATH", "HOME", "TZ"})
_READY_SECONDS = 60.0
_POLL_SECONDS = 0.05
_LOG_LINES_SHOWN = 25


@dataclass(frozen=True)
class Ports:
    """The listeners of one Region of a local cloud."""

    gateway: int
    mqtt: int
    private_ca: int
    tls: int


@dataclass(frozen=True)
class Place:
    """A Region of a local cloud: its folder and ports, and the ports of the cloud's other Regions."""

    region: str
    folder: StateFolder
    ports: Ports
    others: Mapping[str, Ports] = field(default_factory=dict)


@dataclass(frozen=True)
class AccessKey:
    """The operator's key: the servers verify calls by it, and treat it as the account's root."""

    id: str
    secret: str

    @classmethod
    def random(cls) -> AccessKey:
        """Return a new key in AWS's form."""
        letters = "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(16))
        return cls(f"AKIA{letters}", secrets.token_urlsafe(30))

    def environment(self) -> dict[str, str]:
        """Return the variables that pass the key to a server. Only the same user can read a process's environment."""
        return {"AWS_ACCESS_KEY_ID": self.id, "AWS_SECRET_ACCESS_KEY": self.secret}


def choose_ports(folders: Sequence[StateFolder]) -> list[Ports]:
    """Return free ports for each folder: the former ones if they are free, so that addresses do not change."""
    chosen = []
    with ExitStack() as held:  # All are held open together, otherwise the system might return a port twice.
        for folder in folders:
            try:
                wanted = Ports(**folder.recall()["ports"])
            except (KeyError, TypeError):
                wanted = Ports(0, 0, 0, 0)
            chosen.append(Ports(*(_free_port(port, held) for port in asdict(wanted).values())))
    for folder, ports in zip(folders, chosen, strict=True):
        folder.remember(ports=asdict(ports))
    return chosen


def start_private_ca(place: Place, key: AccessKey) -> ServerProcess:
    """Start the Private CA emulator; it is not ready yet."""
    folder, ports = place.folder, place.ports
    store = folder.data / "private-ca.sqlite3"
    gateways = [ports.gateway, *(other.gateway for other in place.others.values())]
    peers = [f"{region}={endpoint_url(other.private_ca)}" for region, other in place.others.items()]
    return start_server(
        PRIVATE_CA,
        [
            *(sys.executable, "-m", "secretfree_cli.local.emulators.private_ca.server"),
            *("--port", str(ports.private_ca), "--store", str(store)),
            *(part for gateway in gateways for part in ("--aws-url", endpoint_url(gateway))),
            *(part for peer in peers for part in ("--peer", peer)),
        ],
        environment={**_base_environment(folder), **key.environment(), "MOTO_ACCOUNT_ID": ACCOUNT},
        log=folder.logs / f"{PRIVATE_CA}.log",
    )


def start_aws_emulator(place: Place, key: AccessKey) -> ServerProcess:
    """Start ministack with enforcement on; it is not ready yet."""
    folder, ports = place.folder, place.ports
    environment = {
        **_base_environment(folder),
        "AUTH": "true",
        "BIND_HOST": LOOPBACK,
        "GATEWAY_PORT": str(ports.gateway),
        "IOT_MTLS_PORT": str(ports.mqtt),
        TLS_PORT_VARIABLE: str(ports.tls),
        TLS_CERTIFICATE_VARIABLE: str(folder.tls_server),
        "SFTP_ENABLED": "0",
        "MINISTACK_REGION": place.region,
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "PERSIST_STATE": "1",
        "STATE_DIR": str(folder.data / AWS_EMULATOR),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(folder.data / "s3"),
        **key.environment(),
        # Lambda workers inherit it, so that the issuer's Private CA client calls the emulator.
        "AWS_ENDPOINT_URL_ACM_PCA": endpoint_url(ports.private_ca),
        # ministack removes containers that it considers its own at start and stop: it must not reach this machine's
        # Docker.
        "DOCKER_HOST": f"unix://{folder.scratch}/no-docker.sock",
        **_replication(place),
    }
    return start_server(
        AWS_EMULATOR,
        [sys.executable, "-m", "secretfree_cli.local.emulators.aws_emulator"],
        environment=environment,
        log=folder.logs / f"{AWS_EMULATOR}.log",
    )


def _replication(place: Place) -> dict[str, str]:
    if not place.others:
        return {}
    urls = {region: endpoint_url(ports.gateway) for region, ports in place.others.items()}
    return {
        PEERS_VARIABLE: json.dumps(urls),
        OUTBOX_VARIABLE: str(place.folder.data / "outbox.sqlite3"),
        LAG_VARIABLE: str(place.folder.replication_lag),
    }


def await_ready(process: ServerProcess, probe: Callable[[], bool], *, seconds: float = _READY_SECONDS) -> None:
    """Return when `probe` is true; CliError with the log's end if the server ends first, or after `seconds`."""
    deadline = time.monotonic() + seconds
    while not probe():
        if not process.is_running:
            raise _start_failure(process, "ended while starting")
        if time.monotonic() > deadline:
            raise _start_failure(process, f"was not ready after {seconds:.0f} s")
        time.sleep(_POLL_SECONDS)


def aws_emulator_ready(ports: Ports) -> bool:
    """Whether the HTTP port answers and the MQTT port listens."""
    try:
        with urllib.request.urlopen(f"{endpoint_url(ports.gateway)}/_ministack/ready", timeout=5) as answer:  # noqa: S310
            state = json.load(answer)
    except (OSError, ValueError, urllib.error.URLError):
        return False
    return bool(state.get("iot_mtls") == "listening")


def private_ca_ready(ports: Ports) -> bool:
    """Whether the Private CA emulator's port accepts connections."""
    try:
        socket.create_connection((LOOPBACK, ports.private_ca), timeout=1).close()
    except OSError:
        return False
    return True


def fetch_broker_ca(ports: Ports) -> str:
    """Return the PEM of the CA that the MQTT broker's certificate chains to."""
    with urllib.request.urlopen(f"{endpoint_url(ports.gateway)}/_ministack/iot/ca.pem", timeout=30) as answer:  # noqa: S310
        return str(answer.read().decode())


def endpoint_url(port: int) -> str:
    """Return the base URL of a listener."""
    return f"http://{LOOPBACK}:{port}"


def log_end(path: Path, lines: int = _LOG_LINES_SHOWN) -> str:
    """Return the last lines of a log."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 64 * 1024))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"({error})"
    return "\n".join(text.splitlines()[-lines:])


def _start_failure(process: ServerProcess, what: str) -> CliError:
    return CliError(
        f"the server {process.name!r} {what}. The end of {process.log}:\n\n{log_end(Path(process.log))}\n",
        hint="for a missing package, pip install 'cdk-iot-secretfree[local]'; for a port that was taken, try again",
    )


def _base_environment(folder: StateFolder) -> dict[str, str]:
    """Return a server's part of the operator's environment: without AWS credentials and settings."""
    kept = {
        name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON) or name in _PASSED_ON_EXACTLY
    }
    nothing = os.devnull
    return {
        **kept,
        "TMPDIR": str(folder.scratch),
        "AWS_CONFIG_FILE": nothing,
        "AWS_SHARED_CREDENTIALS_FILE": nothing,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONUNBUFFERED": "1",
    }


def _free_port(wanted: int, held: ExitStack) -> int:
    for port in (wanted, 0):
        listener = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            continue
        return int(listener.getsockname()[1])
    raise CliError("no free port was found on loopback")
