"""How the demo ends: its exit code when a step fails, and what it stops."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console
from secretfree_cli.demo import commands as demo
from secretfree_cli.demo.narrator import Narrator, StepFailedError
from secretfree_cli.local.state import CloudRecord
from secretfree_cli.output import ExitCode
from secretfree_device.session import MqttError

RECORD = CloudRecord(
    endpoint_url="http://127.0.0.1:1",
    private_ca_endpoint_url="http://127.0.0.1:2",
    region="us-east-1",
    account="000000000000",
    access_key_id="test",
    secret_access_key="test",
    mqtt_host="127.0.0.1",
    mqtt_port=3,
    broker_ca="",
    tls_url="https://localhost:5",
    tls_ca="/tls.pem",
    ca_certificate="",
    authority_arn="",
    processes=(),
    stack_name=None,
)


@dataclass
class Stage:
    """A record of the calls to a fake local cloud, and what the fake story does."""

    was_up: bool = False
    remembers_a_stack: bool = False
    happens: Callable[[], None] = lambda: None
    log: list[str] = field(default_factory=list)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    made = Stage()
    monkeypatch.setenv("SECRETFREE_PROJECT", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def bring_up(*_arguments: Any, **_options: Any) -> tuple[CloudRecord, bool]:
        made.log.append("up")
        stack_name = "SecretFree" if made.was_up or made.remembers_a_stack else None
        return replace(RECORD, stack_name=stack_name), made.was_up

    def deploy_into(*_arguments: Any, **_options: Any) -> CloudRecord:
        made.log.append("deploy")
        return replace(RECORD, stack_name="SecretFree")

    class PretendedStory:
        def __init__(self, *_arguments: Any) -> None:
            pass

        def run(self) -> None:
            made.log.append("story")
            made.happens()

    monkeypatch.setattr(demo, "bring_up", bring_up)
    monkeypatch.setattr(demo, "deploy_into", deploy_into)
    monkeypatch.setattr(demo, "bring_down", lambda *_arguments: made.log.append("down"))
    monkeypatch.setattr(demo, "local_target", lambda _record: None)
    monkeypatch.setattr(demo, "Story", PretendedStory)
    return made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(demo.demo, arguments)


def _raise(error: BaseException) -> Callable[[], None]:
    def happens() -> None:
        raise error

    return happens


def test_it_stops_what_it_started(stage: Stage) -> None:
    result = run()

    assert result.exit_code == ExitCode.OK
    assert stage.log == ["up", "deploy", "story", "down"]
    assert "Every step succeeded" in result.stdout


def test_it_leaves_what_it_started_with_keep(stage: Stage) -> None:
    result = run("--keep")

    assert result.exit_code == ExitCode.OK
    assert stage.log == ["up", "deploy", "story"]
    assert "secretfree local down" in result.stdout


def test_it_uses_and_leaves_a_cloud_that_was_up(stage: Stage) -> None:
    stage.was_up = True

    assert run().exit_code == ExitCode.OK

    assert stage.log == ["up", "story"]


def test_it_deploys_todays_code_into_a_cloud_that_remembers_an_older_stack(stage: Stage) -> None:
    stage.remembers_a_stack = True

    assert run().exit_code == ExitCode.OK

    assert stage.log == ["up", "deploy", "story", "down"]


@pytest.mark.parametrize(
    "error",
    [StepFailedError("expected: a clone: 403 (found: 200)"), MqttError("the broker is gone"), RuntimeError("bug")],
)
def test_a_failed_step_fails_the_demo_and_stops_it(stage: Stage, error: Exception) -> None:
    stage.happens = _raise(error)

    result = run()

    assert result.exit_code == ExitCode.FAILURE
    assert stage.log[-1] == "down"
    assert "Every step succeeded" not in result.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_too(stage: Stage, number: signal.Signals) -> None:
    def happens() -> None:
        os.kill(os.getpid(), number)
        threading.Event().wait(5)

    stage.happens = happens

    result = run()

    assert result.exit_code != ExitCode.OK
    assert stage.log[-1] == "down"


def test_the_signal_handlers_are_restored(stage: Stage) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    run()

    assert {number: signal.getsignal(number) for number in before} == before


def test_the_narrator_writes_plain_text_without_a_terminal() -> None:
    page = io.StringIO()
    narrator = Narrator(Console(file=page, soft_wrap=True))

    narrator.chapter("A title", "why [it] matters")
    narrator.check(True, 'a body: {"code": ["x"]}')

    assert "\x1b" not in page.getvalue()
    assert "1/8  A title\n     why [it] matters\n" in page.getvalue()
    assert 'a body: {"code": ["x"]}' in page.getvalue()


def test_a_check_that_does_not_hold_says_what_was_seen_instead() -> None:
    narrator = Narrator(Console(file=io.StringIO()))

    with pytest.raises(StepFailedError, match=r"expected: a clone: 403 \(found: 200\)"):
        narrator.check(False, "a clone: 403", otherwise="200")


@pytest.mark.parametrize("keep", [True, False])
def test_the_end_names_the_command_as_it_can_be_called(
    keep: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(tmp_path / ".venv" / "bin" / "secretfree"), "demo"])
    shown = {}
    for on_path in (True, False):
        monkeypatch.setattr("shutil.which", lambda _, found=on_path: "/usr/bin/secretfree" if found else None)
        page = io.StringIO()
        Narrator(Console(file=page, soft_wrap=True)).end(seconds=1, keep=keep)
        shown[on_path] = page.getvalue()
    assert ".venv/bin/secretfree " not in shown[True]
    assert ".venv/bin/secretfree " in shown[False]
    assert shown[False].replace(".venv/bin/secretfree ", "secretfree ") == shown[True]
