"""The wheel, used from another folder, without the checkout."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import zipfile
from email import message_from_bytes
from email.message import Message
from email.policy import compat32
from pathlib import Path

import pytest
from support.documents import ROOT

pytestmark = pytest.mark.packaging


def test_wheel_carries_the_four_packages_and_what_bundling_needs(wheel: Path) -> None:
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
        "secretfree_cli/factory/phone/page/index.html",
        "secretfree_cli/factory/phone/barcode_reader/zxing_reader.wasm",
        "secretfree_cli/factory/phone/barcode_reader/zxing-wasm.LICENSE",
        "secretfree_device/__init__.py",
        "secretfree_device/py.typed",
    } <= names
    assert not [name for name in names if name.startswith(("tests/", "cdk/", "lambda_src/", "cli/", "device/"))]


def test_wheel_declares_no_emulator_and_no_aws_sdk_as_a_requirement_of_the_construct(wheel: Path) -> None:
    required = [line for line in metadata_of(wheel).get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(line.split("<")[0].split(">")[0] for line in required) == ["aws-cdk-lib", "constructs"]


def test_app_in_another_folder_synthesises_the_construct_with_its_bundle(team_assembly: Path) -> None:
    template = json.loads((team_assembly / "Team.template.json").read_text(encoding="utf-8"))
    types = [resource["Type"] for resource in template["Resources"].values()]
    assert "AWS::ApiGateway::RestApi" in types
    assert "AWS::ACMPCA::CertificateAuthority" in types
    assert list(team_assembly.glob("asset.*/secretfree/handlers/issuer.py")), "the Lambda bundle carries the runtime"
    assert list(team_assembly.glob("asset.*/cryptography/__init__.py")), "the Lambda bundle carries its locked wheels"


def test_the_command_without_an_extra_says_which_to_install(team_environment: Path) -> None:
    ended = subprocess.run([team_environment.with_name("secretfree")], capture_output=True, text=True, check=False)

    assert ended.returncode == 1
    assert "cdk-iot-secretfree[cli]" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_readme_of_the_index_has_no_relative_links(wheel: Path) -> None:
    metadata = metadata_of(wheel)

    assert metadata["Author"] or metadata["Author-Email"]
    readme = metadata.get_payload()
    assert isinstance(readme, str)
    assert "## Embed it" in readme
    assert re.findall(r"\]\((?!https?:|#)[^)]*\)", readme) == []


def test_the_readmes_links_lead_to_the_versions_tag_of_the_source() -> None:
    hook = runpy.run_path(str(ROOT / "hatch_build.py"))
    readme = "![A\npicture](docs/a.svg) [Costs](docs/b.md#costs), [here](#x), [there](https://host.example/)"

    assert hook["with_links"](readme, source="https://host.example/us", version="1.2.3") == (
        "![A\npicture](https://host.example/us/raw/v1.2.3/docs/a.svg) "
        "[Costs](https://host.example/us/blob/v1.2.3/docs/b.md#costs), [here](#x), [there](https://host.example/)"
    )
    assert hook["with_links"](readme, source=None, version="1") == " Costs, [here](#x), [there](https://host.example/)"


def metadata_of(wheel: Path) -> Message:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(archive.read(name), policy=compat32)
