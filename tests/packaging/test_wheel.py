"""The wheel, used from another folder, without the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

TEAM_APP = """
from aws_cdk import App, Duration, Stack
from cdk_iot_secretfree import (
    AuthoritySubject, DeviceAuthority, DevicePolicy, Issuer, MatchPolicy, SecretFreeProvisioning
)

app = App()
stack = Stack(app, "Team")
authority = DeviceAuthority.root(stack, "Authority", subject=AuthoritySubject(common_name="Team Device CA"))
SecretFreeProvisioning(
    stack,
    "Provisioning",
    product="widget",
    issuers=[Issuer.private_ca(authority, validity=Duration.days(365)), Issuer.iot_core()],
    device_policy=DevicePolicy.least_privilege("widget"),
    match=MatchPolicy.UDID_AND_PUBLIC_KEY,
)
app.synth()
"""


def test_wheel_carries_the_three_packages_and_what_bundling_needs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "cdk_iot_secretfree/__init__.py",
        "cdk_iot_secretfree/py.typed",
        "cdk_iot_secretfree/bundling/requirements/runtime.txt",
        "secretfree/__init__.py",
        "secretfree/py.typed",
        "secretfree/handlers/authorizer.py",
        "secretfree/handlers/issuer.py",
        "secretfree_cli/main.py",
        "secretfree_cli/py.typed",
    } <= names
    assert not [name for name in names if name.startswith(("tests/", "cdk/", "lambda_src/", "cli/"))]


def test_wheel_declares_no_emulator_and_no_aws_sdk_as_a_requirement_of_the_construct(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    lines = archive.read(metadata).decode().splitlines()
    required = [line for line in lines if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert sorted(line.split()[1].split("<")[0].split(">")[0] for line in required) == ["aws-cdk-lib", "constructs"]


def test_app_in_another_folder_synthesises_the_construct_with_its_bundle(
    team_environment: Path, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(TEAM_APP, encoding="utf-8")
    out = tmp_path / "cdk.out"
    result = subprocess.run(
        [team_environment, "app.py"],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", str(tmp_path)),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "CDK_OUTDIR": str(out),
            "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "1",
            **{name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_"))},
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    template = json.loads((out / "Team.template.json").read_text(encoding="utf-8"))
    types = [resource["Type"] for resource in template["Resources"].values()]
    assert "AWS::ApiGateway::RestApi" in types
    assert "AWS::ACMPCA::CertificateAuthority" in types
    assert list(out.glob("asset.*/secretfree/handlers/issuer.py")), "the Lambda bundle carries the runtime"
    assert list(out.glob("asset.*/cryptography/__init__.py")), "the Lambda bundle carries its locked wheels"
