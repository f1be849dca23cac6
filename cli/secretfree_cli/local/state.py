"""The state folder `.local/` of a project, owner-only: the local cloud's record, logs, keys and data."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from secretfree_cli.local.processes import ServerProcess
from secretfree_cli.output import CliError, ExitCode

FOLDER_NAME = ".local"
PROJECT_VARIABLE = "SECRETFREE_PROJECT"
REGIONS_FOLDER = "regions"
_RECORD_FORMAT = 4


@dataclass(frozen=True)
class CloudRecord:
    """The record of one Region of a running local cloud: addresses, certificates, processes.

    Written by `up`, read by every command.
    """

    endpoint_url: str
    private_ca_endpoint_url: str
    region: str
    account: str
    access_key_id: str
    secret_access_key: str
    mqtt_host: str
    mqtt_port: int
    broker_ca: str
    """Path of the PEM of the CA that the MQTT broker's certificate chains to."""
    tls_url: str
    """The deployed APIs over TLS: `endpoint_url` for devices."""
    tls_ca: str
    """Path of the PEM of the CA that the certificate at `tls_url` chains to."""
    ca_certificate: str
    """Path of the PEM of the Private CA that signs devices."""
    authority_arn: str
    """Empty until the cloud is up. The record exists from the servers' start, so that `down` can always stop them."""
    processes: tuple[ServerProcess, ...]
    stack_name: str | None = None
    """The default stack of commands: the first one deployed."""
    regions: tuple[str, ...] = ()
    """All Regions of the cloud, the first one first; empty in a cloud of one Region."""

    @property
    def is_up(self) -> bool:
        """Whether the cloud has started and all its servers run."""
        return bool(self.authority_arn) and all(process.is_running for process in self.processes)

    def certificate_of(self, authority_arn: str) -> Path:
        """Return the path of the PEM of a Private CA in this cloud: its own, or one that a stack created."""
        own = Path(self.ca_certificate)
        if authority_arn == self.authority_arn:
            return own
        return own.with_name(f"{own.stem}-{authority_arn.rpartition('/')[2]}.pem")

    def environment(self) -> dict[str, str]:
        """Return the variables that point any AWS SDK, the CDK CLI or the AWS CLI at this cloud."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
            "AWS_ENDPOINT_URL_ACM_PCA": self.private_ca_endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }


@dataclass(frozen=True)
class StateFolder:
    """The paths below one project's `.local/`, and its record.

    A cloud's first Region has the folder itself. Each further Region has one below it.
    """

    project: Path
    further_region: str | None = None

    @property
    def root(self) -> Path:
        """The folder itself."""
        whole = self.project / FOLDER_NAME
        return whole if self.further_region is None else whole / REGIONS_FOLDER / self.further_region

    @property
    def first(self) -> StateFolder:
        """The folder of the cloud's first Region."""
        return StateFolder(self.project)

    def of_region(self, region: str) -> StateFolder:
        """Return the folder of a Region of this cloud; CliError with exit code 4 if the cloud lacks the Region."""
        regions = self.regions()
        if region not in regions:
            raise CliError(
                f"the local cloud of {self.project} has no Region {region!r}; it has {', '.join(regions) or 'none'}",
                hint="`secretfree local up --region ... --region ...`",
                exit_code=ExitCode.NOT_FOUND,
            )
        return self.first if region == regions[0] else StateFolder(self.project, region)

    def regions(self) -> tuple[str, ...]:
        """Return the Regions of the last `up`, the first one first."""
        remembered = self.first.recall().get("regions")
        return tuple(remembered) if isinstance(remembered, list) else ()

    @property
    def replication_lag(self) -> Path:
        """The file with the replication lag of global tables in seconds."""
        return self.first.root / "replication-lag"

    @property
    def logs(self) -> Path:
        """One file per server, and the CDK CLI's."""
        return self.root / "logs"

    @property
    def data(self) -> Path:
        """The emulators' data, kept between `down` and `up`."""
        return self.root / "data"

    @property
    def certificates(self) -> Path:
        """The PEM files that clients need to trust the local cloud."""
        return self.root / "certificates"

    @property
    def tls_server(self) -> Path:
        """The key and certificate of the deployed APIs over TLS, in one PEM file."""
        return self.certificates / "tls-server.pem"

    @property
    def scratch(self) -> Path:
        """The servers' temporary folder, emptied by `down`."""
        return self.root / "tmp"

    @property
    def _record(self) -> Path:
        return self.root / "cloud.json"

    @property
    def _memory(self) -> Path:
        return self.root / "memory.json"

    def create(self) -> None:
        """Create the folders, readable only by their owner, because they contain CA keys."""
        for folder in (self.root, self.logs, self.data, self.certificates, self.scratch):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root.chmod(0o700)

    def read(self) -> CloudRecord | None:
        """Return the record of the last `up`, or None. The record's `is_up` says whether it still runs."""
        try:
            document = json.loads(self._record.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CliError(f"{self._record} cannot be read: {error}", hint="`secretfree local down`") from error
        if document.pop("format", None) != _RECORD_FORMAT:
            raise CliError(f"{self._record} was written by another version", hint="remove the folder .local and retry")
        processes = tuple(ServerProcess(**process) for process in document.pop("processes"))
        return CloudRecord(processes=processes, regions=tuple(document.pop("regions")), **document)

    def write(self, record: CloudRecord) -> None:
        """Replace the record atomically."""
        document = {"format": _RECORD_FORMAT, **asdict(record)}
        write_private_file(self._record, json.dumps(document, indent=2) + "\n")

    def set_stack_name(self, name: str) -> CloudRecord:
        """Make `name` the default stack of commands, now and after the next `up`."""
        record = replace(self.require_up(), stack_name=name)
        self.write(record)
        self.remember(stackName=name)
        return record

    def recall(self) -> dict[str, Any]:
        """Return the values that are kept after `down`: ports and the default stack's name, if any."""
        try:
            document = json.loads(self._memory.read_text())
        except (OSError, ValueError):
            return {}
        return document if isinstance(document, dict) else {}

    def remember(self, **values: Any) -> None:
        """Add values for `recall`."""
        write_private_file(self._memory, json.dumps({**self.recall(), **values}, indent=2) + "\n")

    def forget(self) -> None:
        """Remove the record. Data and logs are kept."""
        self._record.unlink(missing_ok=True)

    def require_up(self) -> CloudRecord:
        """Return the running cloud's record, or fail with exit code 4."""
        record = self.read()
        if record is None or not record.is_up:
            raise CliError(
                f"no local cloud is up in {self.project}"
                if self.further_region is None
                else f"the local cloud's Region {self.further_region} is not up",
                hint="`secretfree local up`",
                exit_code=ExitCode.NOT_FOUND,
            )
        return record

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the project's lock, so that two `up`, or `up` and `down`, never interleave.

        Fail at once if it is taken.
        """
        self.create()
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CliError(
                    f"another `secretfree local` command is running in {self.project}", hint="wait for it, then retry"
                ) from error
            yield
        finally:
            os.close(descriptor)


def find_project(start: Path | None = None, *, environment: Mapping[str, str] | None = None) -> Path:
    """Return the project of a command that runs in `start`.

    `SECRETFREE_PROJECT` names it. Otherwise it is the nearest folder upwards with a state folder's record or a CDK app
    (`cdk.json`), or `start` itself.
    """
    named = (os.environ if environment is None else environment).get(PROJECT_VARIABLE)
    if named:
        return Path(named).resolve()
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / FOLDER_NAME / "cloud.json").is_file() or (folder / "cdk.json").is_file():
            return folder
    return here


def write_private_file(path: Path, text: str) -> None:
    """Write a file of mode 0600 atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
