"""Build a release: wheel, sdist, SBOMs, provenance and checksums, the same bytes for the same commit.

`make release` runs it. Nothing is uploaded or signed, because a build has no credentials.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
RUNTIME_LOCK = "cdk/cdk_iot_secretfree/bundling/requirements/runtime.txt"
SBOMS: Mapping[str, str] = {
    # The packages of `pip install` with every extra, and those that run in the account.
    "sbom-wheel.cdx.json": "requirements/wheel.txt",
    "sbom-lambda.cdx.json": RUNTIME_LOCK,
}
VENDORED = "cli/secretfree_cli/factory/phone/barcode_reader/component.json"
PROVENANCE = "provenance.intoto.json"
CHECKSUMS = "SHA256SUMS"


def main(arguments: Sequence[str] | None = None) -> int:
    """Build into a folder; return 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="a clean checkout")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "dist", help="an empty or new folder")
    options = parser.parse_args(arguments)
    repository, output = options.repository.resolve(), options.output.resolve()
    if changed := _git(repository, "status", "--porcelain"):
        print(f"The checkout has changes that are not committed:\n{changed}", file=sys.stderr)
        return 1
    if output.exists() and any(output.iterdir()):
        print(f"{output} is not empty", file=sys.stderr)
        return 1
    build(repository, output)
    print((output / CHECKSUMS).read_text(encoding="utf-8"), end="")
    return 0


def build(repository: Path, output: Path) -> None:
    """Write every file of the release. `repository` is a clean checkout, whose commit gives the time."""
    output.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": _git(repository, "log", "-1", "--format=%ct")}
    # One mask, because the sdist contains the files' modes.
    _run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(output), str(repository)],
        environment,
        umask=0o022,
    )
    tool = str(Path(sys.executable).with_name("cyclonedx-py"))
    for name, lock in SBOMS.items():
        # Its validation takes nine tenths of its time. The tests validate the finished documents.
        command = [tool, "requirements", "--no-validate", "--output-reproducible", "--of", "JSON"]
        command += ["--pyproject", "pyproject.toml", "-o", str(output / name), lock]
        _run(command, environment, folder=repository)
    _list_vendored(output / "sbom-wheel.cdx.json", repository / VENDORED)
    files = sorted(path for path in output.iterdir() if path.name != ".gitignore")
    statement = provenance(repository, {path.name: _digest(path) for path in files})
    (output / PROVENANCE).write_text(json.dumps(statement, indent=2) + "\n", encoding="utf-8")
    sums = [f"{_digest(path)}  {path.name}\n" for path in (*files, output / PROVENANCE)]
    (output / CHECKSUMS).write_text("".join(sums), encoding="utf-8")


def provenance(repository: Path, digests: Mapping[str, str]) -> dict[str, object]:
    """An in-toto statement with a SLSA 1.0 predicate: the commit, the locks and the resulting digests."""
    locks = [*sorted((repository / "requirements").glob("*.txt")), repository / RUNTIME_LOCK]
    materials = [
        {"name": path.relative_to(repository).as_posix(), "digest": {"sha256": _digest(path)}} for path in locks
    ]
    commit = _git(repository, "rev-parse", "HEAD")
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in digests.items()],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "make release",
                "externalParameters": {},
                "resolvedDependencies": [{"name": "source", "digest": {"gitCommit": commit}}, *materials],
            },
            "runDetails": {"builder": {"id": "release/build.py"}},
        },
    }


def _list_vendored(sbom: Path, component: Path) -> None:
    """Add the wheel's components from npm."""
    document, pinned = (json.loads(path.read_text(encoding="utf-8")) for path in (sbom, component))
    name, version = pinned["name"], pinned["version"]
    document["components"].append(
        {
            "type": "library",
            "bom-ref": f"pkg:npm/{name}@{version}",
            "name": name,
            "version": version,
            "purl": f"pkg:npm/{name}@{version}",
            "licenses": [{"expression": pinned["license"]}],
        }
    )
    sbom.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _run(
    command: Sequence[str], environment: Mapping[str, str], *, folder: Path | None = None, umask: int = -1
) -> None:
    subprocess.run(command, check=True, env=environment, cwd=folder, umask=umask, stdout=subprocess.DEVNULL)


def _git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=repository, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
