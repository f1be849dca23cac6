"""The command `secretfree`: lazy rooms that do not break each other, and AWS's errors in one line."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from click.testing import CliRunner
from secretfree_cli.command_line import LazyGroup, Subcommand, load
from secretfree_cli.main import SUBCOMMANDS, main


def group(**subcommands: Subcommand) -> LazyGroup:
    return LazyGroup("secretfree", subcommands=subcommands)


def test_the_overview_imports_no_sdk_and_no_emulator():
    code = (
        "import sys; from secretfree_cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*sorted({'boto3', 'moto', 'ministack', 'cryptography', 'paho'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
    assert "local" in done.stdout


def test_a_room_that_is_not_installed_is_left_out_and_breaks_no_other():
    made = group(
        ghost=Subcommand("secretfree_cli.no_such_room.commands:ghost", "Not there."),
        local=Subcommand("secretfree_cli.local.commands:local", "There."),
    )
    result = CliRunner().invoke(made, ["--help"])
    assert "There." in result.output
    assert "Not there." not in result.output
    assert CliRunner().invoke(made, ["ghost"]).exit_code == 2
    assert CliRunner().invoke(made, ["local", "--help"]).exit_code == 0


def test_a_missing_package_names_the_extra_that_brings_it(tmp_path, monkeypatch):
    (tmp_path / "needy_room.py").write_text("import a_package_that_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    made = group(needy=Subcommand("needy_room:command", "Needs something.", "local"))
    result = CliRunner().invoke(made, ["needy"])
    assert result.exit_code == 1
    assert "a_package_that_nobody_has" in result.output
    assert "cdk-iot-secretfree[local]" in result.output


@pytest.mark.parametrize("name", [*SUBCOMMANDS])
def test_every_subcommand_of_the_table_loads(name):
    assert isinstance(load(name, SUBCOMMANDS[name]), click.Command)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoCredentialsError(), "--profile"),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), "local up"),
        (
            ClientError(
                {"Error": {"Code": "AccessDenied", "Message": "no"}, "ResponseMetadata": {"RequestId": "r-1"}},
                "PutItem",
            ),
            "PutItem: AccessDenied: no (request r-1)",
        ),
    ],
)
def test_an_error_of_awss_is_one_line_and_a_hint(error, said, monkeypatch):
    @click.command()
    def fail() -> None:
        raise error

    made = group()
    made.add_command(fail, "fail")
    result = CliRunner().invoke(made, ["fail"])
    assert result.exit_code == 1
    assert said in result.output
    assert "Traceback" not in result.output


def test_any_other_error_is_not_hidden():
    @click.command()
    def fail() -> None:
        raise RuntimeError("a defect")

    made = group()
    made.add_command(fail, "fail")
    assert isinstance(CliRunner().invoke(made, ["fail"]).exception, RuntimeError)


def test_the_version_is_the_distributions():
    assert CliRunner().invoke(main, ["--version"]).output.startswith("secretfree, version ")
