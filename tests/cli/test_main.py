"""The command `secretfree`: lazy rooms that do not break each other, and AWS's errors in one line."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import click
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from secretfree_cli.command_line import Command, LazyGroup, Subcommand, load
from secretfree_cli.extras import advice_for
from secretfree_cli.importing.commands import enroll
from secretfree_cli.main import SUBCOMMANDS, main

REPOSITORY = Path(__file__).resolve().parents[2]


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


def completed(command, *words):
    """What the shell offers after these words; the last one is begun."""
    complete = ShellComplete(command, {}, "secretfree", "_SECRETFREE_COMPLETE")
    return [item.value for item in complete.get_completions(list(words[1:-1]), words[-1])]


def test_the_shell_completes_commands_and_options():
    assert completed(main, "secretfree", "lo") == ["local", "logs"]
    assert completed(main, "secretfree", "local", "st") == ["start-region", "status", "stop-region"]
    assert completed(main, "secretfree", "device", "provision", "--is") == ["--issuer"]
    assert completed(main, "secretfree", "--ver") == ["--version"]


def test_completing_a_command_imports_no_command():
    code = (
        "import sys, secretfree_cli.main\n"
        "from click.shell_completion import ShellComplete\n"
        "found = ShellComplete(secretfree_cli.main.main, {}, 'secretfree', '_X').get_completions([], 'lo')\n"
        "print(*[item.value for item in found], *[item.help for item in found if not item.help])\n"
        "print(*sorted({'boto3', 'cryptography', 'paho'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr.strip()) == ("local logs", "")


def test_completion_offers_nothing_inside_a_command_whose_extra_is_missing(tmp_path, monkeypatch):
    (tmp_path / "needy_room.py").write_text("import a_package_that_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    made = group(needy=Subcommand("needy_room:command", "Needs something.", "local"))
    assert completed(made, "secretfree", "ne") == ["needy"]
    assert completed(made, "secretfree", "needy", "--x") == []


def test_the_version_is_the_distributions():
    assert CliRunner().invoke(main, ["--version"]).output.startswith("secretfree, version ")


def test_every_package_that_the_command_imports_is_in_the_extra_that_the_advice_names():
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    brings = {name: {re.split(r"[<>=\[; ]", line)[0].lower() for line in lines} for name, lines in extras.items()}
    distributions = metadata.packages_distributions()
    for package in imported_packages(REPOSITORY / "cli" / "secretfree_cli"):
        extra = advice_for(package).partition("[")[2].partition("]")[0]
        whole = brings[extra] | (brings["runtime"] if extra == "cli" else set())
        names = {name.lower() for name in distributions[package]}
        if names & set().union(*brings.values()):  # else a declared package brings it, as boto3 does botocore
            assert names & whole, f"{package} is not in the extra {extra}"


def test_without_click_the_console_script_names_the_extra(tmp_path):
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError('no click', name='click')\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from secretfree_cli.extras import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cdk-iot-secretfree[cli]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_package_that_is_missed_while_a_command_runs_names_its_extra(monkeypatch):
    @click.command()
    def fail() -> None:
        raise ModuleNotFoundError("no", name="PIL.Image")

    made = group()
    made.add_command(fail, "fail")
    assert "cdk-iot-secretfree[factory]" in CliRunner().invoke(made, ["fail"]).output


def commands_of(group: click.Group, *path: str):
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if isinstance(found, click.Group):
            yield from commands_of(found, *path, name)
        elif found is not None:
            yield (*path, name), found


def test_every_command_with_json_has_a_document_for_its_failures():
    with_json = [
        (path, found) for path, found in commands_of(main) if any("--json" in option.opts for option in found.params)
    ]
    assert len(with_json) > 20
    for path, found in with_json:
        assert isinstance(found, Command), path
        result = CliRunner().invoke(main, [*path, "--json", "--no-such-option"])
        assert json.loads(result.stdout)["error"]["exitCode"] == 2, path


@pytest.mark.parametrize("command", ["enroll", "plan", "list"])
def test_a_failure_under_json_is_a_document_on_stdout_and_a_line_on_stderr(command, monkeypatch, tmp_path):
    result = CliRunner().invoke(main, [command, "--no-such-option", "--json"])
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["exitCode"] == 2
    assert "no-such-option" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "source"),
    [
        (["reel.csv"], "files"),
        (["--dry-run", "reel.csv"], "files"),
        (["dev-1", "--public-key", "key.pem"], "device"),
        (["dev-1", "--public-key=key.pem"], "device"),
        (["--serial", "/dev/ttyACM0"], "uart"),
        (["--scan"], "scan"),
        (["--keys", "reel.csv", "--image", "label.png"], "scan"),
        (["uart", "--port", "x"], "uart"),
    ],
)
def test_enroll_without_a_sources_name_means_files_or_the_source_whose_option_is_given(arguments, source, monkeypatch):
    seen = []
    probe = click.Command(
        "probe", callback=lambda: seen.append(click.get_current_context().info_name), add_help_option=False
    )
    probe.allow_extra_args = probe.ignore_unknown_options = True
    monkeypatch.setattr(type(enroll), "get_command", lambda *_: probe)
    CliRunner().invoke(enroll, arguments, catch_exceptions=False)
    assert seen == [source]


def imported_packages(folder):
    """Top-level packages of third parties that any module below the folder imports, at its top or later."""
    own = {"secretfree", "secretfree_cli", "secretfree_device"} | set(sys.stdlib_module_names)
    own.add("pytest")  # which loads the plugin
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found - own
