"""The distribution's pytest plugin: fixtures that deploy an app into a local cloud and simulate its devices.

Where the distribution is installed, every pytest run loads this module, with or without the extra `local`. It therefore
imports the local cloud in the fixture, and starts nothing before a test uses it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from secretfree_cli.extras import advice_for

if TYPE_CHECKING:
    from secretfree_cli.testing.cloud import LocalCloud

_OWNER = "secretfree_owner"
_HOME = "secretfree_home"
_HOMES = pytest.StashKey[set[str]]()


@pytest.fixture(scope="session")
def secretfree_app(pytestconfig: pytest.Config) -> Path:
    """Return the folder of the CDK app: the nearest one with a cdk.json, from pytest's root folder upwards.

    Override the fixture if the app is elsewhere.
    """
    root = pytestconfig.rootpath
    return next((folder for folder in (root, *root.parents) if (folder / "cdk.json").is_file()), root)


@pytest.fixture(scope="session")
def secretfree_context() -> Mapping[str, str]:
    """Return the CDK context of the deployment: empty. Override the fixture to set some."""
    return {}


@pytest.fixture(scope="session")
def secretfree_cloud(
    secretfree_app: Path,
    secretfree_context: Mapping[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> Iterator[LocalCloud]:
    """Deploy the app into a local cloud that ends with the test run.

    The workers of pytest-xdist share one cloud, because a deployment takes longer than most tests. The first worker
    that needs the cloud starts it, and the controller stops it.
    """
    worker: Any = pytestconfig if hasattr(pytestconfig, "workerinput") else None
    with _failures_named():
        from secretfree_cli.local.deployment import Deployment
        from secretfree_cli.local.state import StateFolder
        from secretfree_cli.testing.cloud import LocalCloud
        from secretfree_cli.testing.running import start, stop

        deployment = Deployment(secretfree_app, context=secretfree_context)
        if worker is None:
            home = tmp_path_factory.mktemp("secretfree")
            owner = os.getpid()
        else:
            home = tmp_path_factory.getbasetemp().parent / "secretfree"  # the controller's folder
            owner = worker.workerinput[_OWNER]
            worker.workeroutput[_HOME] = str(home)
        record = start(home, deployment, owner=owner)
        cloud = LocalCloud.of(StateFolder(home), record, devices=tmp_path_factory.mktemp("secretfree-devices"))
    yield cloud
    if worker is None:
        stop(home)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass the process that ends with the test run to a worker of pytest-xdist."""
    node.workerinput[_OWNER] = os.getpid()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Record the cloud that a worker of pytest-xdist used."""
    home = getattr(node, "workeroutput", {}).get(_HOME)
    if home is not None:
        node.config.stash.setdefault(_HOMES, set()).add(home)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the cloud that the workers shared."""
    for home in config.stash.get(_HOMES, set()):
        from secretfree_cli.testing.running import stop

        stop(Path(home))


@contextmanager
def _failures_named() -> Iterator[None]:
    """Fail the test with the message of the cloud's error, or the missing extra, without a traceback."""
    try:
        yield
    except ModuleNotFoundError as error:
        pytest.fail(
            f"the fixture `secretfree_cloud` needs the Python package {error.name!r}, which is not installed\n"
            f"hint: {advice_for(error.name or '', extra='local')}",
            pytrace=False,
        )
    except Exception as error:
        message = getattr(error, "message", None)  # A CliError, whose class cannot be imported without the extra.
        if message is None:
            raise
        hint = getattr(error, "hint", None)
        pytest.fail(f"{message}\nhint: {hint}" if hint else message, pytrace=False)
