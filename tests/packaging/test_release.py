"""A release: two builds of one commit are equal, and say what is in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

pytestmark = pytest.mark.packaging
REPOSITORY = Path(__file__).resolve().parents[2]
VALIDATE = """
import json, sys
from pathlib import Path
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
text = Path(sys.argv[1]).read_text(encoding="utf-8")
print(JsonStrictValidator(SchemaVersion.from_version(json.loads(text)["specVersion"])).validate_str(text))
"""


def clone(folder: Path, *, mask: int) -> Path:
    """A checkout of the commit at hand, with file modes and times of its own."""
    before = os.umask(mask)
    try:
        subprocess.run(["git", "clone", "-q", str(REPOSITORY), str(folder)], check=True, capture_output=True)
    finally:
        os.umask(before)
    for path in folder.rglob("*"):
        if path.is_file() and ".git" not in path.parts:
            os.utime(path, (mask + 1_000_000_000, mask + 1_000_000_000))
    return folder


def release(checkout: Path, output: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(checkout / "release" / "build.py"), "--output", str(output)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone(tmp_path_factory.mktemp("first") / "checkout", mask=0o022)


@pytest.fixture(scope="module")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("first-release")
    done = release(checkout, output)
    assert done.returncode == 0, done.stderr
    return output


def contents(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def test_two_builds_of_one_commit_are_equal(built: Path, tmp_path: Path) -> None:
    other = clone(tmp_path / "elsewhere", mask=0o077)
    assert release(other, tmp_path / "release").returncode == 0
    assert contents(tmp_path / "release") == contents(built)


def test_the_checksums_name_every_file(built: Path) -> None:
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=built, check=False, capture_output=True
    )
    assert done.returncode == 0
    named = {line.split()[1] for line in (built / "SHA256SUMS").read_text().splitlines()}
    assert named == {path.name for path in built.iterdir() if path.name not in {"SHA256SUMS", ".gitignore"}}


def test_the_provenance_names_the_commit_and_the_wheel(checkout: Path, built: Path) -> None:
    statement = json.loads((built / "provenance.intoto.json").read_text())
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, check=True, capture_output=True, text=True)
    source = statement["predicate"]["buildDefinition"]["resolvedDependencies"][0]
    assert source["digest"]["gitCommit"] == commit.stdout.strip()
    digests = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    (wheel,) = built.glob("*.whl")
    assert digests[wheel.name] == sha256(wheel.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("sbom", "components"),
    [
        ("sbom-wheel.cdx.json", {"aws-cdk-lib", "boto3", "click", "ministack", "zxing-wasm"}),
        ("sbom-lambda.cdx.json", {"boto3", "cryptography"}),
    ],
)
def test_the_sboms_list_what_is_installed_with_versions(built: Path, sbom: str, components: set[str]) -> None:
    document = json.loads((built / sbom).read_text())
    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["name"] == "cdk-iot-secretfree"
    listed = {one["name"]: one["version"] for one in document["components"]}
    assert components <= set(listed)
    assert all(listed.values())
    assert "pytest" not in listed


@pytest.mark.parametrize("sbom", ["sbom-wheel.cdx.json", "sbom-lambda.cdx.json"])
def test_the_sboms_are_valid_cyclonedx(built: Path, sbom: str) -> None:
    """Without the formats of addresses, which take most of the time."""
    document = json.loads((built / sbom).read_text(encoding="utf-8"))
    version = SchemaVersion.from_version(document["specVersion"])
    validator = JsonStrictValidator(version)._validator.evolve(format_checker=None)
    assert [error.message for error in validator.iter_errors(document)] == []


@pytest.mark.nightly
@pytest.mark.parametrize("sbom", ["sbom-wheel.cdx.json", "sbom-lambda.cdx.json"])
def test_the_addresses_in_the_sboms_have_their_form(built: Path, tmp_path: Path, sbom: str) -> None:
    """In a process of its own: other tests import the validator without the forms of addresses."""
    wrong = json.loads((built / sbom).read_text(encoding="utf-8"))
    wrong["externalReferences"] = [{"type": "website", "url": "no address"}]
    (tmp_path / "wrong.json").write_text(json.dumps(wrong), encoding="utf-8")

    def is_valid(path: Path) -> bool:
        done = subprocess.run([sys.executable, "-c", VALIDATE, path], check=True, capture_output=True, text=True)
        return done.stdout.strip() == "None"

    assert is_valid(built / sbom)
    assert not is_valid(tmp_path / "wrong.json")


def test_the_sdist_can_be_built_again_into_the_same_wheel(built: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    epoch = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path / "out"),
        str(source),
    ]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch.stdout.strip()}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    (again,) = (tmp_path / "out").glob("*.whl")
    (first,) = built.glob("*.whl")
    with zipfile.ZipFile(again) as one, zipfile.ZipFile(first) as other:
        assert {info.filename: info.CRC for info in one.infolist()} == {
            info.filename: info.CRC for info in other.infolist()
        }


def test_a_checkout_with_changes_is_refused(checkout: Path, built: Path, tmp_path: Path) -> None:
    (checkout / "README.md").write_text("changed")
    done = release(checkout, tmp_path / "release")
    assert done.returncode == 1
    assert "README.md" in done.stderr
