"""The bundle as Lambda has it: each handler imported by an interpreter that sees the asset and nothing else."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from aws_cdk import aws_lambda as lambda_
from cdk_iot_secretfree import Bundle, BundleTarget
from cdk_iot_secretfree.bundling import bundle
from cdk_iot_secretfree.bundling.bundle import runtime_source
from cdk_iot_secretfree.bundling.service_models import AWS_SERVICES
from support.environments import every_environment

pytestmark = pytest.mark.packaging

HANDLERS = sorted(
    f"secretfree.handlers.{file.stem}"
    for file in (runtime_source() / "handlers").glob("*.py")
    if re.search(r"^(def handler\(|handler: Final = )", file.read_text(), re.MULTILINE)
)
ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_LAMBDA_FUNCTION_NAME": "handler",
    **every_environment(),
}
# -I: no user site, no PYTHON* variables, no current folder; -S: no site-packages; the asset is all that is left.
IMPORT = """
import gc, importlib, json, sys
asset, name = sys.argv[1:]
sys.path.insert(0, asset)
importlib.import_module("secretfree.handlers")
collected_before = gc.isenabled()
module = importlib.import_module(name)
where = [f for m in list(sys.modules.values()) if (f := getattr(m, "__file__", None))]
print(json.dumps({"callable": callable(module.handler), "files": where, "standard": sys.base_prefix,
    "collects": [collected_before, gc.isenabled()], "skipped": gc.get_freeze_count()}))
"""


@pytest.fixture(scope="module")
def asset(tmp_path_factory):
    directory = tmp_path_factory.mktemp("asset")
    Bundle(target=BundleTarget.HOST).write(directory)
    return directory


def test_there_are_handlers_to_import():
    assert {"authorizer", "issuer", "account_resources"} <= {name.rpartition(".")[2] for name in HANDLERS}


@pytest.mark.parametrize("name", HANDLERS)
def test_a_handler_imports_from_the_asset_alone(asset, name):
    finished = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", IMPORT, str(asset), name],
        env={**ENVIRONMENT, "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    told = json.loads(finished.stdout.splitlines()[-1])
    assert told["callable"]
    assert told["collects"] == [False, True]
    assert told["skipped"] > 10_000
    elsewhere = [
        file
        for file in told["files"]
        if not Path(file).is_relative_to(asset)
        and (not Path(file).is_relative_to(told["standard"]) or "site-packages" in file)
    ]
    assert elsewhere == []


def test_every_client_can_be_made_from_the_asset_alone(asset):
    source = "import sys; sys.path.insert(0, sys.argv[1]); from secretfree.adapters import clients\n"
    source += "for service in sys.argv[2:]: clients.client(service)"
    finished = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", source, str(asset), *sorted(AWS_SERVICES)],
        env={**ENVIRONMENT, "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr


def test_for_lambda_the_native_code_is_of_its_architecture(tmp_path):
    Bundle().write(tmp_path)
    native = list(tmp_path.rglob("*.so"))
    assert native
    for library in native:
        header = library.read_bytes()[:20]
        assert header[:4] == b"\x7fELF"
        assert int.from_bytes(header[18:20], "little") == 0xB7, library  # EM_AARCH64
    unzipped = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert unzipped < 250 * 1024 * 1024  # Lambda's limit


@pytest.mark.parametrize(
    "architecture", [lambda_.Architecture.ARM_64, lambda_.Architecture.X86_64], ids=lambda a: a.name
)
@pytest.mark.parametrize("runtime", bundle._SUPPORTED_RUNTIMES)
def test_the_lock_has_a_wheel_of_every_package_for_each_platform(monkeypatch, tmp_path, runtime, architecture):
    """The index's own listing answers: nothing is downloaded or built."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)  # as in an environment without pip
    chosen = Bundle(runtime=lambda_.Runtime(runtime, lambda_.RuntimeFamily.PYTHON), architecture=architecture)
    command = [*bundle._installer(chosen), "--dry-run", "--target", str(tmp_path), "-r", str(bundle.RUNTIME_LOCK)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
