"""For all tests: ids that are the same in every process and short enough to read; Private CA emulators."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from socketserver import BaseServer
from typing import Any

import boto3
import pytest
from botocore.config import Config
from hypothesis import settings
from secretfree_cli.local import servers
from secretfree_cli.local.processes import ServerProcess, start_server
from secretfree_cli.local.servers import Ports
from support import recorded_coverage
from support.construct_process import quicken
from support.quick_aws import quicken_botocore

# A busy machine is no failure: no example has a deadline.
settings.register_profile("suite", deadline=None, max_examples=30)
settings.register_profile("nightly", deadline=None, max_examples=2_000, print_blob=True)
settings.load_profile("suite")

# Before any conftest imports the construct, which starts its process.
quicken()
# The CDK validates each template that it synthesises. One test does so for all options.
os.environ["CDK_VALIDATION"] = "false"


def pytest_configure(config: pytest.Config) -> None:
    """Prepare each process of a run."""
    if recording := recorded_coverage.plugin():
        config.pluginmanager.register(recording)
    _heed_interrupts()
    quicken_botocore()
    # How long a server takes to notice its shutdown: many tests end one, and half a second each.
    BaseServer.serve_forever.__defaults__ = (0.01,)


def _heed_interrupts() -> None:
    """Let Ctrl-C reach the tests that send it, and what they start.

    A shell without job control has what it starts in the background ignore Ctrl-C, and child processes inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no module without a long test where only those run. Importing all of them takes longer than many tests.

    Runs of other marks import all modules.
    """
    mark = {"slow": "slow", "slow and not nightly": "slow", "nightly": "nightly"}.get(config.option.markexpr)
    if mark is None or not collection_path.match("test_*.py"):
        return None
    return f"mark.{mark}" not in collection_path.read_text(encoding="utf-8") or None


def pytest_collection_finish() -> None:
    """Have the garbage collector leave alone what collecting made: it would look at thousands of tests each time.

    It also runs less often. It finds little, and takes a twentieth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a value by its argument where it differs from process to process, for workers must agree on ids.

    These are keys, which are long, and the CDK's tokens, which are numbered as they are made.
    """
    differs = isinstance(val, str | bytes) and (len(val) > 60 or "Token[" in str(val))
    return argname if differs else None


@dataclass(frozen=True)
class RunningPrivateCa:
    """A Private CA emulator in a process of its own."""

    process: ServerProcess
    endpoint_url: str
    store: Path

    @property
    def client(self) -> Any:
        """A boto3 client of it that does not retry, so that each answer is seen."""
        return boto3.client(
            "acm-pca",
            endpoint_url=self.endpoint_url,
            region_name="eu-west-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}),
        )


StartPrivateCa = Callable[..., RunningPrivateCa]


@pytest.fixture(scope="session")
def start_private_ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartPrivateCa]:
    """Start Private CA emulators, on a store given or a new one, with settings from the environment given."""
    with ExitStack() as stopped:

        def start(*, store: Path | None = None, environment: Mapping[str, str] | None = None) -> RunningPrivateCa:
            folder = tmp_path_factory.mktemp("private-ca")
            path = store or folder / "store.sqlite3"
            with ExitStack() as held:
                port = servers._free_port(0, held)
            process = start_server(
                "private-ca",
                [
                    *(sys.executable, "-m", "secretfree_cli.local.emulators.private_ca.server"),
                    *("--port", str(port), "--store", str(path)),
                ],
                environment={
                    **_inherited(),
                    "AWS_ACCESS_KEY_ID": "test",
                    "AWS_SECRET_ACCESS_KEY": "test",
                    "SECRETFREE_PRIVATE_CA_ISSUANCE_SECONDS": "0",
                    **(environment or {}),
                },
                log=folder / "log",
            )
            stopped.callback(process.stop)
            ports = Ports(gateway=0, mqtt=0, private_ca=port, tls=0)
            servers.await_ready(process, lambda: servers.private_ca_ready(ports))
            return RunningPrivateCa(process, servers.endpoint_url(port), path)

        yield start


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SECRETFREE_"))}
