"""Measures the authorizer and the issuers, warm and cold, against floors measured in the same run.

python benchmarks/issuance/run.py [--devices 40] [--latency-ms 20] [--cold-runs 7] [--code FOLDER] [--json]

Warm floor: one signature check and one bare SDK call. Cold floor: importing this environment's boto3 alone, with
bytecode. With --code, no bytecode is written there, as in Lambda's read-only folder. Connections are plain HTTP on
loopback: TLS handshakes, which a cold start on AWS pays once for each service, are not in the figures.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import boto3
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from secretfree.request.csr import UnverifiedCsr, verify
from secretfree.request.device_profile import DeviceProfile

HERE = Path(__file__).parent
REGION = "us-east-1"
REGISTRY, LEDGER, KEY_INDEX = "registry", "ledger", "key-fingerprint-index"
WARM_UP = 3
AUTHORIZER, ISSUER = "secretfree.handlers.authorizer", "secretfree.handlers.issuer"
COLD_START_LIMIT = 1.5
MOST_CALLS_NEW, MOST_CALLS_AGAIN = 6, 3


@dataclass(frozen=True)
class Warm:
    """One handler's figures. Milliseconds of a median request."""

    name: str
    cpu: float
    wall: float
    wall_with_latency: float
    calls: float
    """Calls a request."""
    on_critical_path: int
    connections: int
    """Opened for all requests together."""
    path: str
    statuses: Mapping[str, int]


@dataclass(frozen=True)
class Cold:
    """A fresh interpreter's figures: medians, milliseconds. CPU time is what ratios are made of: it is work alone."""

    name: str
    import_cpu: float
    total_cpu: float
    """With the first call."""
    import_wall: float
    modules: int


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=40)
    parser.add_argument("--latency-ms", type=float, default=20.0, help="of each AWS call, where it is injected")
    parser.add_argument("--cold-runs", type=int, default=7)
    parser.add_argument(
        "--code",
        type=Path,
        help="where the handlers are imported from: a bundled asset, or another version's lambda_src",
    )
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with aws_endpoint() as endpoint:
        bench = Benchmark(endpoint, devices=given.devices + WARM_UP, latency=given.latency_ms / 1e3, code=given.code)
        warm = bench.warm()
        cold = bench.cold(given.cold_runs)
    if given.json:
        print(json.dumps({"warm": [vars(row) for row in warm], "cold": [vars(row) for row in cold]}, indent=2))
    else:
        print_report(warm, cold, given.latency_ms)


@contextmanager
def aws_endpoint() -> Iterator[str]:
    """Run the emulator in a process of its own, so that its CPU time is not the handlers'; yield its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, HERE / "aws_endpoint.py", str(port)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


class Benchmark:
    """A product line on the emulator: its tables, its authority, its devices."""

    def __init__(self, endpoint: str, *, devices: int, latency: float, code: Path | None) -> None:
        self.endpoint = endpoint
        self.latency = latency
        # Lambda's code folder is read-only: what has no bytecode there is compiled in each interpreter.
        self._code = {"PYTHONPATH": str(code.resolve()), "PYTHONDONTWRITEBYTECODE": "1"} if code else {}
        self._environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        os.environ.update(self._environment)
        self._authority = self._product_line()
        self._rounds = {
            name: [self._enrolled(f"{name}-{number}") for number in range(devices)]
            for name in ("private-ca", "private-ca-latency", "iot-core", "iot-core-latency")
        }

    def warm(self) -> list[Warm]:
        """Measure each handler without and with injected latency; the floor first."""
        fast, slow = self._rounds["private-ca"], self._rounds["private-ca-latency"]
        rows = [
            self._row("floor", "floor", fast, slow, {}),
            self._row("authorizer", "warm", fast, slow, self._authorizer()),
            self._row("issuer private-ca, new", "warm", fast, slow, self._issuer("private-ca")),
            self._row("issuer private-ca, again", "warm", fast, slow, self._issuer("private-ca")),
        ]
        fast, slow = self._rounds["iot-core"], self._rounds["iot-core-latency"]
        rows.append(self._row("issuer iot-core, new", "warm", fast, slow, self._issuer("iot-core")))
        rows.append(self._row("issuer iot-core, again", "warm", fast, slow, self._issuer("iot-core")))
        return rows

    def cold(self, runs: int) -> list[Cold]:
        """Measure fresh interpreters; floors first. The runs are interleaved, so that a busy moment hits all alike."""
        event = self._enrolled("cold")
        jobs = {
            "floor: import boto3": ({"module": "boto3", "events": []}, {}),
            "boto3 and one client": ({"module": "boto3", "events": [], "client": True}, {}),
            "authorizer": ({"module": AUTHORIZER, "events": [event]}, self._authorizer()),
            "issuer private-ca": ({"module": ISSUER, "events": [event]}, self._issuer("private-ca")),
            "issuer iot-core": ({"module": ISSUER, "events": [event]}, self._issuer("iot-core")),
        }
        self._set_latency(0)
        figures: dict[str, list[dict[str, float]]] = {name: [] for name in jobs}
        for _ in range(runs + 1):
            for name, (job, environment) in jobs.items():
                figures[name].append(self._measure({"mode": "cold", **job}, environment))
        # The first run of each compiles and fills the file cache.
        return [
            Cold(
                name,
                *(median(run[key] for run in found[1:]) for key in ("import_cpu", "total_cpu", "import_wall")),
                int(found[-1]["modules"]),
            )
            for name, found in figures.items()
        ]

    def _row(
        self, name: str, mode: str, fast: Sequence[Any], slow: Sequence[Any], environment: Mapping[str, str]
    ) -> Warm:
        module = ISSUER if name.startswith("issuer") else AUTHORIZER
        job = {"mode": mode, "module": module, "table": REGISTRY, "warm_up": WARM_UP}
        self._set_latency(0)
        quick = self._measure({**job, "events": fast, "pause": 0.03}, environment)
        self._set_latency(self.latency)
        held = self._measure({**job, "events": slow, "pause": 0.02 + 2 * self.latency}, environment)
        calls = self._calls()
        spans = held["spans"]
        mine = [call for call in calls if call["began"] >= spans[0][0]]
        last = spans[-1]
        shown = [call for call in mine if call["began"] >= last[0]]
        paths = [critical_path(mine, span) for span in spans]
        return Warm(
            name=name,
            cpu=median(quick["cpu"]),
            wall=median(quick["wall"]),
            wall_with_latency=median(held["wall"]),
            calls=len(mine) / len(spans),
            on_critical_path=round(median(paths)),
            connections=len({call["connection"] for call in calls}),
            path=draw(shown, last),
            statuses=held["statuses"],
        )

    def _measure(self, job: Mapping[str, Any], environment: Mapping[str, str]) -> Any:
        ran = subprocess.run(
            [sys.executable, HERE / "measure.py"],
            input=json.dumps(job),
            env={**self._environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if ran.returncode:
            raise SystemExit(f"the measurement failed: {ran.stderr[-2000:]}")
        return json.loads(ran.stdout)

    def _set_latency(self, seconds: float) -> None:
        urllib.request.urlopen(f"{self.endpoint}/_bench/latency", data=str(seconds).encode()).read()  # noqa: S310

    def _calls(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.endpoint}/_bench/calls") as answer:  # noqa: S310 - loopback
            calls: list[dict[str, Any]] = json.load(answer)
        return sorted(calls, key=lambda call: call["began"])

    # What the construct deploys, as far as the handlers need it.

    def _product_line(self) -> str:
        dynamodb, authority, iot = (boto3.client(name) for name in ("dynamodb", "acm-pca", "iot"))
        dynamodb.create_table(
            TableName=REGISTRY,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "device-id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "device-id", "AttributeType": "S"}],
        )
        dynamodb.create_table(
            TableName=LEDGER,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[
                {"AttributeName": "device-id", "KeyType": "HASH"},
                {"AttributeName": "record", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "device-id", "AttributeType": "S"},
                {"AttributeName": "record", "AttributeType": "S"},
            ],
        )
        arn: str = authority.create_certificate_authority(
            CertificateAuthorityConfiguration={
                "KeyAlgorithm": "EC_prime256v1",
                "SigningAlgorithm": "SHA256WITHECDSA",
                "Subject": {"CommonName": "Benchmark"},
            },
            CertificateAuthorityType="ROOT",
        )["CertificateAuthorityArn"]
        request = authority.get_certificate_authority_csr(CertificateAuthorityArn=arn)["Csr"]
        root = authority.issue_certificate(
            CertificateAuthorityArn=arn,
            Csr=request.encode(),
            SigningAlgorithm="SHA256WITHECDSA",
            TemplateArn="arn:aws:acm-pca:::template/RootCACertificate/V1",
            Validity={"Type": "DAYS", "Value": 3650},
        )["CertificateArn"]
        pem = authority.get_certificate(CertificateAuthorityArn=arn, CertificateArn=root)["Certificate"]
        authority.import_certificate_authority_certificate(CertificateAuthorityArn=arn, Certificate=pem.encode())
        iot.create_thing_type(thingTypeName="widget")
        iot.create_policy(policyName="widget", policyDocument='{"Version":"2012-10-17","Statement":[]}')
        return arn

    def _enrolled(self, device: str) -> dict[str, Any]:
        """Enrol a device and return the event of its request, as both handlers get it."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
        der = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(subject)
            .sign(key, hashes.SHA256())
            .public_bytes(Encoding.DER)
        )
        csr = verify(UnverifiedCsr.from_der(der), DeviceProfile.STANDARD)
        boto3.client("dynamodb").put_item(
            TableName=REGISTRY,
            Item={
                "device-id": {"S": device},
                "pubkey": {"S": csr.public_key.registry_text()},
                "key-fingerprint": {"S": csr.public_key.fingerprint},
            },
        )
        return {
            "device": device,
            "type": "REQUEST",
            "methodArn": "arn:aws:execute-api:us-east-1:123456789012:api/prod/POST/new",
            "multiValueHeaders": {"device-csr": [base64.b64encode(csr.pem().encode()).decode()]},
            "requestContext": {
                "requestId": "benchmark",
                "authorizer": {
                    "deviceId": device,
                    "keyFingerprint": csr.public_key.fingerprint,
                    "csrDigest": csr.digest,
                },
            },
        }

    def _authorizer(self) -> dict[str, str]:
        return {
            **self._code,
            "SECRETFREE_PRODUCT": "widget",
            "SECRETFREE_DEVICE_PROFILE": "STANDARD",
            "SECRETFREE_REGISTRY_TABLE": REGISTRY,
            "SECRETFREE_REGISTRY_KEY_INDEX": KEY_INDEX,
            "SECRETFREE_LEDGER_TABLE": LEDGER,
            "SECRETFREE_MATCH_POLICY": "UDID_AND_PUBLIC_KEY",
        }

    def _issuer(self, issuer: str) -> dict[str, str]:
        return {
            **self._code,
            "SECRETFREE_PRODUCT": "widget",
            "SECRETFREE_DEVICE_PROFILE": "STANDARD",
            "SECRETFREE_ISSUER": issuer,
            "SECRETFREE_DEPLOYMENT": f"arn:aws:dynamodb:{REGION}:111122223333:table/{LEDGER}",
            "SECRETFREE_REGISTRY_TABLE": REGISTRY,
            "SECRETFREE_REGISTRY_KEY_INDEX": KEY_INDEX,
            "SECRETFREE_MATCH_POLICY": "UDID_AND_PUBLIC_KEY",
            "SECRETFREE_LEDGER_TABLE": LEDGER,
            "SECRETFREE_POLICY_NAME": "widget",
            "SECRETFREE_THING_TYPE": "widget",
            "SECRETFREE_THING_GROUPS": "[]",
            "SECRETFREE_THING_ATTRIBUTES": "{}",
            "SECRETFREE_IOT_ENDPOINT": "endpoint.example",
            "SECRETFREE_SUBJECT": "{}",
            "SECRETFREE_RENEWAL_WINDOW_DAYS": "30",
            "SECRETFREE_ISSUERS": json.dumps({issuer: self._settings(issuer)}),
        }

    def _settings(self, issuer: str) -> dict[str, str]:
        if issuer == "iot-core":
            return {"kind": issuer}
        return {
            "kind": issuer,
            "authorityArn": self._authority,
            "signingAlgorithm": "SHA256WITHECDSA",
            "templateArn": "arn:aws:acm-pca:::template/EndEntityClientAuthCertificate_APIPassthrough/V1",
            "validityDays": "365",
            "registered": "false",
        }


def critical_path(calls: Sequence[Mapping[str, Any]], span: Sequence[float]) -> int:
    """Return how many calls the answer waited for one after another: the longest chain of end before beginning."""
    inside = [call for call in calls if call["began"] >= span[0] and call["ended"] <= span[1]]
    depth: list[int] = []
    for call in inside:  # in the order of their beginnings
        earlier = (depth[at] for at, other in enumerate(inside[: len(depth)]) if other["ended"] <= call["began"])
        depth.append(1 + max(earlier, default=0))
    return max(depth, default=0)


def draw(calls: Sequence[Mapping[str, Any]], span: Sequence[float], width: int = 64) -> str:
    """Draw one request's calls as bars over time; what ends after the answer is drawn lighter."""
    end = max([span[1], *(call["ended"] for call in calls)])
    scale = width / (end - span[0])
    lines = []
    for call in calls:
        left, right = (round((call[edge] - span[0]) * scale) for edge in ("began", "ended"))
        bar = ("#" if call["ended"] <= span[1] else "-") * max(1, right - left)
        lines.append(f"    {call['operation']:<28}|{' ' * left}{bar:<{width - left}}|")
    lines.append(f"    {'answer':<28}|{' ' * round((span[1] - span[0]) * scale - 1)}^")
    return "\n".join(lines)


def print_report(warm: Sequence[Warm], cold: Sequence[Cold], latency: float) -> None:
    """Print the tables, the critical paths, and what the issue demands beside what was found."""
    floor = warm[0]
    print(f"Warm, median of each request (ms; ratio to the floor); latency {latency:g} ms in the third column\n")
    print(f"{'':26}{'CPU':>15}{'wall':>15}{'wall, latency':>17}{'calls':>7}{'in a row':>10}{'connections':>13}")
    for row in warm:
        cells = (
            f"{row.cpu:7.2f} {row.cpu / floor.cpu:5.2f}x",
            f"{row.wall:7.2f} {row.wall / floor.wall:5.2f}x",
            f"{row.wall_with_latency:8.2f} {row.wall_with_latency / floor.wall_with_latency:5.2f}x",
        )
        print(
            f"{row.name:26}{cells[0]:>15}{cells[1]:>15}{cells[2]:>17}{row.calls:7.1f}{row.on_critical_path:10d}"
            f"{row.connections:13d}   {dict(row.statuses)}"
        )
    print("\nCritical paths (one request, with latency; - ends after the answer)")
    for row in warm[1:]:
        print(f"\n  {row.name}\n{row.path}")
    base = cold[0]
    print("\nCold, median of fresh interpreters (ms; CPU ratio to importing boto3 alone)\n")
    print(f"{'':26}{'import, CPU':>16}{'with first call':>18}{'import, wall':>14}{'modules':>9}")
    for line in cold:
        imported = f"{line.import_cpu:7.0f} {line.import_cpu / base.import_cpu:5.2f}x"
        total = f"{line.total_cpu:7.0f} {line.total_cpu / base.import_cpu:5.2f}x"
        print(f"{line.name:26}{imported:>16}{total:>18}{line.import_wall:14.0f}{line.modules:9d}")
    found = {row.name: row for row in warm}
    issuers = ("private-ca", "iot-core")
    new, again = (
        max(found[f"issuer {issuer}, {which}"].on_critical_path for issuer in issuers) for which in ("new", "again")
    )
    authorizer = next(line for line in cold if line.name == "authorizer")
    print("\nDemanded")
    _demand("calls in a row, new device", 1 + new, MOST_CALLS_NEW)
    _demand("calls in a row, asking again", 1 + again, MOST_CALLS_AGAIN)
    _demand(
        "authorizer's cold import over the floor", round(authorizer.import_cpu / base.import_cpu, 2), COLD_START_LIMIT
    )


def _demand(what: str, found: float, limit: float) -> None:
    print(f"  {what:42}{found:6g}  at most {limit:g}  {'ok' if found <= limit else 'NOT MET'}")


if __name__ == "__main__":
    main()
