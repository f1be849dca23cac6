"""Deploys a CDK app into the local cloud with the real CDK CLI."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from secretfree.contract import LOCAL_CONTEXT, Output

from secretfree_cli.local.bootstrap import DEFAULT_QUALIFIER
from secretfree_cli.local.processes import end_marked, new_marking
from secretfree_cli.local.servers import log_end
from secretfree_cli.local.state import CloudRecord, StateFolder, write_private_file
from secretfree_cli.output import CliError, ExitCode

CDK_LOG = "cdk"
_GRACE_SECONDS = 5.0
_QUALIFIER_KEY = "@aws-cdk/core:bootstrapQualifier"
UNKNOWN_REGION = "unknown-region"
"""The Region of a stack without a Region, in a cloud assembly."""
_COMMON_OPTIONS = ("--no-notices", "--no-version-reporting", "--no-color")
_CDK_ENVIRONMENT = {
    "CDK_DISABLE_VERSION_CHECK": "1",
    "CDK_DISABLE_CLI_TELEMETRY": "true",
    # The validation of templates would double the time. A deployment to AWS does it.
    "CDK_VALIDATION": "false",
    "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "1",
    "JSII_SILENCE_WARNING_DEPRECATED_NODE_VERSION": "1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class Deployment:
    """The app to deploy: a CDK app's folder, and context that overrides the local cloud's own."""

    app: Path
    stack_name: str | None = None
    context: Mapping[str, str] = field(default_factory=dict)

    def context_for(self, record: CloudRecord) -> dict[str, str]:
        """Return the context: the mark of a local deployment, the sample app's settings, then the command's options."""
        named = {"secretfree:stack-name": self.stack_name} if self.stack_name else {}
        return {
            LOCAL_CONTEXT: "true",
            "secretfree:ca-arn": record.authority_arn,
            "secretfree:synthesizer": "cli-credentials",
            "secretfree:removal": "destroy",
            **named,
            **self.context,
        }

    @property
    def bootstrap_qualifier(self) -> str:
        """The qualifier of the app's bootstrap resources, from its cdk.json or the context.

        Raises: CliError if cdk.json is missing or not a JSON object.
        """
        path = self.app / "cdk.json"
        try:
            document = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise CliError(
                f"{self.app} is not a CDK app: it has no cdk.json",
                hint="run this in the folder of a CDK app, or pass --app DIR",
                exit_code=ExitCode.NOT_FOUND,
            ) from error
        except (OSError, ValueError) as error:
            raise CliError(f"{path} cannot be read: {error}") from error
        settings = document.get("context") if isinstance(document, dict) else None
        in_file = settings.get(_QUALIFIER_KEY) if isinstance(settings, dict) else None
        return str(self.context.get(_QUALIFIER_KEY) or in_file or DEFAULT_QUALIFIER)


def deploy(
    deployment: Deployment, records: Sequence[CloudRecord], folder: StateFolder, *, verbose: bool = False
) -> list[list[str]]:
    """Deploy every stack of the app; return the stacks' names by Region, the product's stack first.

    `records` are the cloud's Regions. With several, the app is synthesised once, and each Region's stacks are then
    deployed into its emulator. A stack without a Region belongs to the first.

    Raises: CliError if there is no CDK CLI, or with the end of the CDK CLI's output if it fails.
    """
    if len(records) == 1:
        return [_deploy(deployment, records[0], folder, ["--all"], verbose=verbose)]
    assembly = folder.root / "cdk.out" / (deployment.stack_name or "default")
    shutil.rmtree(assembly, ignore_errors=True)
    run_cdk = [*_find_cdk(deployment.app), "synth", "--quiet", "--output", str(assembly)]
    run_cdk += [*_COMMON_OPTIONS, *_context_options(deployment.context_for(records[0]))]
    _run(run_cdk, deployment, records[0], folder, verbose=verbose)
    stacks = stacks_by_region(assembly)
    here = {record.region for record in records}
    elsewhere = sorted(set(stacks) - here - {UNKNOWN_REGION})
    if elsewhere:
        raise CliError(
            f"the app has stacks in {', '.join(elsewhere)}, and the local cloud has {', '.join(sorted(here))}",
            hint="`secretfree local down`, then `secretfree local up` with a --region for each",
        )
    deployed = []
    for number, record in enumerate(records):
        own = [*stacks.get(record.region, []), *(stacks.get(UNKNOWN_REGION, []) if number == 0 else [])]
        options = ["--app", str(assembly), "--exclusively", *own]
        deployed.append(_deploy(deployment, record, folder, options, verbose=verbose) if own else [])
    return deployed


def stacks_by_region(assembly: Path) -> dict[str, list[str]]:
    """Return the hierarchical ids of a cloud assembly's stacks by Region, those of its Stages included.

    The CDK's cloud assembly schema: artifacts of type `aws:cloudformation:stack` have an environment of the form
    `aws://ACCOUNT/REGION`.
    """
    manifest = json.loads((assembly / "manifest.json").read_text())
    stacks: dict[str, list[str]] = {}
    for name, artifact in manifest.get("artifacts", {}).items():
        if artifact["type"] == "aws:cloudformation:stack":
            region = artifact["environment"].rpartition("/")[2]
            stacks.setdefault(region, []).append(artifact.get("displayName", name))
        elif artifact["type"] == "cdk:cloud-assembly":
            for region, names in stacks_by_region(assembly / artifact["properties"]["directoryName"]).items():
                stacks.setdefault(region, []).extend(names)
    return stacks


def _deploy(
    deployment: Deployment, record: CloudRecord, folder: StateFolder, stacks: Sequence[str], *, verbose: bool
) -> list[str]:
    outputs_file = folder.scratch / "cdk-outputs.json"
    outputs_file.unlink(missing_ok=True)
    command = [
        *_find_cdk(deployment.app),
        "deploy",
        *stacks,
        *("--require-approval", "never"),
        *("--method", "direct"),  # A change set is for review by a person.
        *("--progress", "events"),
        *("--outputs-file", str(outputs_file)),
        *_COMMON_OPTIONS,
    ]
    if "--app" not in stacks:
        command += ["--output", str(folder.root / "cdk.out" / (deployment.stack_name or "default"))]
        command += _context_options(deployment.context_for(record))
    _run(command, deployment, record, folder, verbose=verbose)
    try:
        outputs: dict[str, dict[str, str]] = json.loads(outputs_file.read_text())
    except FileNotFoundError:
        outputs = {}
    return sorted(outputs, key=lambda name: Output.PROVISIONING_URL not in outputs[name])


def _context_options(context: Mapping[str, str]) -> list[str]:
    return [part for key, value in context.items() for part in ("--context", f"{key}={value}")]


def end_deployment(folder: StateFolder) -> None:
    """End the processes of a killed deployment: the CDK CLI and its app."""
    with suppress(FileNotFoundError):
        end_marked(json.loads(_marking_file(folder).read_text()), grace_seconds=_GRACE_SECONDS)


def _marking_file(folder: StateFolder) -> Path:
    return folder.scratch / "cdk-marking.json"


def _find_cdk(app: Path) -> list[str]:
    """Return the command of the CDK CLI: the app's own, which its package.json pins, otherwise the one on PATH."""
    for folder in (app, *app.parents):
        pinned = folder / "node_modules" / ".bin" / "cdk"
        if pinned.is_file():
            return [str(pinned)]
    found = shutil.which("cdk")
    if found is None:
        raise CliError(
            "the CDK CLI was not found in node_modules or on PATH",
            hint="`npm ci` in the project, or `npm install --global aws-cdk@2.1148.1`",
            exit_code=ExitCode.NOT_FOUND,
        )
    return [found]


def _environment(record: CloudRecord) -> dict[str, str]:
    """Return the operator's environment with the AWS settings of the local cloud instead of the operator's.

    This interpreter is first on PATH, so that the app's `python3` has this command's version of the construct.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {
        **kept,
        **_CDK_ENVIRONMENT,
        **record.environment(),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "CDK_DEFAULT_ACCOUNT": record.account,
        "CDK_DEFAULT_REGION": record.region,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)]),
        "NO_COLOR": "1",
    }


def _run(
    command: Sequence[str], deployment: Deployment, record: CloudRecord, folder: StateFolder, *, verbose: bool
) -> None:
    """Run the CDK CLI. Its output is written to its log and, when verbose, to stderr.

    If the caller is interrupted, the CLI and its app are ended. If the caller is killed, `end_deployment` finds them by
    their marking.
    """
    log = folder.logs / f"{CDK_LOG}.log"
    marking = new_marking()
    write_private_file(_marking_file(folder), json.dumps(marking))
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with (
        os.fdopen(descriptor, "w") as file,
        subprocess.Popen(  # noqa: S603 -- the command is built by this package
            list(command),
            cwd=deployment.app,
            env={**_environment(record), **marking},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101 -- it is piped
        try:
            for line in process.stdout:
                file.write(line)
                file.flush()
                if verbose:
                    sys.stderr.write(line)
            code = process.wait()
        except BaseException:
            end_marked(marking, grace_seconds=_GRACE_SECONDS)
            raise
        finally:
            _marking_file(folder).unlink(missing_ok=True)
    if code != 0:
        raise CliError(
            f"`cdk deploy` failed with exit code {code}. The end of {log}:\n\n{log_end(log)}\n",
            hint="see the emulator's log: `secretfree local logs aws`; "
            "to start without data: `secretfree local down --forget`",
        )
