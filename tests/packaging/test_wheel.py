"""The wheel, used from another folder, without the checkout."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from support.own_app import synthesise

pytestmark = pytest.mark.packaging


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
    out = synthesise(team_environment, tmp_path)

    template = json.loads((out / "Team.template.json").read_text(encoding="utf-8"))
    types = [resource["Type"] for resource in template["Resources"].values()]
    assert "AWS::ApiGateway::RestApi" in types
    assert "AWS::ACMPCA::CertificateAuthority" in types
    assert list(out.glob("asset.*/secretfree/handlers/issuer.py")), "the Lambda bundle carries the runtime"
    assert list(out.glob("asset.*/cryptography/__init__.py")), "the Lambda bundle carries its locked wheels"
