"""Measures the authorizer and the issuers, warm and cold, against floors measured in the same run.

python benchmarks/issuance/run.py [--devices 40] [--latency-ms 20] [--cold-runs 7] [--code FOLDER] [--json]

The handlers are those of the bundle as deployed, made for this host, or of --code. No bytecode is written to that
folder, as in Lambda's read-only one. Warm floor: one signature check and one bare SDK call. Cold floor: importing this
environment's boto3 alone, with bytecode. A new device is also compared with its own six calls in a row, bare.
Connections are plain HTTP on loopback: TLS handshakes, which a cold start on AWS pays once for each service, are not in
the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from product_line import DEVICE_TEMPLATE, LEDGER, REGION, REGISTRY, ProductLine
from report import Cold, Signing, Warm, critical_path, draw, print_report
from secretfree.contract import IssuerKind

HERE = Path(__file__).parent
WARM_UP = 3
SIGNING_SECONDS = 1.2
SIGNING_DEVICES = 10
AUTHORIZER, ISSUER = "secretfree.handlers.authorizer", "secretfree.handlers.issuer"


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
    with aws_endpoint() as endpoint, tempfile.TemporaryDirectory() as folder:
        code = given.code or bundled(Path(folder))
        bench = Benchmark(endpoint, devices=given.devices + WARM_UP, latency=given.latency_ms / 1e3, code=code)
        warm = bench.warm()
        own_calls = bench.own_calls()
        signing = bench.signing()
        cold = bench.cold(given.cold_runs)
    if given.json:
        figures = {
            "warm": [vars(row) for row in warm],
            "ownCalls": own_calls,
            "signing": vars(signing),
            "cold": [vars(row) for row in cold],
        }
        print(json.dumps(figures, indent=2))
    else:
        print_report(warm, cold, given.latency_ms)
        new = next(row for row in warm if row.name == "issuer private-ca, new")
        together = next(row for row in warm if row.name == "authorizer").wall_with_latency + new.wall_with_latency
        print(f"\nA new device takes {together:.1f} ms; its own six calls in a row, bare, {own_calls:.1f} ms")
        print(
            f"A certificate that is ready after {SIGNING_SECONDS} s is there after {signing.seen_after:.2f} s, "
            f"with {signing.looks:.1f} looks"
        )


def bundled(folder: Path) -> Path:
    """Make the bundle for this host, in a process of its own, because the CDK library starts another one."""
    make = (
        "import pathlib, sys; from cdk_iot_secretfree.bundling.bundle import Bundle, BundleTarget;"
        "Bundle(target=BundleTarget.HOST).write(pathlib.Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", make, folder], check=True, stderr=subprocess.DEVNULL)
    return folder


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

    def __init__(self, endpoint: str, *, devices: int, latency: float, code: Path) -> None:
        self.endpoint = endpoint
        self.latency = latency
        # Lambda's code folder is read-only: each interpreter compiles the modules that have no bytecode there.
        # The function's name marks an import in Lambda.
        self._code = {
            "PYTHONPATH": str(code.resolve()),
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_LAMBDA_FUNCTION_NAME": "benchmark",
        }
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
        self._line = ProductLine()
        self._rounds = {
            name: [self._line.enrol(f"{name}-{number}") for number in range(devices)]
            for name in ("private-ca", "private-ca-latency", "iot-core", "iot-core-latency", "own-calls")
        }

    def warm(self) -> list[Warm]:
        """Measure each handler without and with injected latency; the floor first."""
        fast, slow = self._rounds["private-ca"], self._rounds["private-ca-latency"]
        rows = [
            self._row("floor", "floor", fast, slow, {}),
            self._row("authorizer", "warm", fast, slow, self._authorizer()),
            self._row("issuer private-ca, new", "warm", fast, slow, self._issuer(IssuerKind.PRIVATE_CA)),
            self._row("issuer private-ca, again", "warm", fast, slow, self._issuer(IssuerKind.PRIVATE_CA)),
        ]
        fast, slow = self._rounds["iot-core"], self._rounds["iot-core-latency"]
        rows.append(self._row("issuer iot-core, new", "warm", fast, slow, self._issuer(IssuerKind.IOT_CORE)))
        rows.append(self._row("issuer iot-core, again", "warm", fast, slow, self._issuer(IssuerKind.IOT_CORE)))
        return rows

    def own_calls(self) -> float:
        """Measure a new device's six calls in a row, bare: milliseconds, with the latency."""
        self._set("latency", self.latency)
        names = {"table": REGISTRY, "ledger": LEDGER, "authority": self._line.authority, "template": DEVICE_TEMPLATE}
        job = {"mode": "own calls", **names}
        events = self._rounds["own-calls"]
        return median(self._measure({**job, "warm_up": WARM_UP, "events": events, "pause": 0.0}, {})["wall"])

    def signing(self) -> Signing:
        """Measure when a worker has a certificate that is ready after `SIGNING_SECONDS`, and how often it looks."""
        events = [self._line.enrol(f"signing-{number}") for number in range(WARM_UP + SIGNING_DEVICES)]
        job = {"mode": "warm", "module": ISSUER, "warm_up": WARM_UP, "events": events, "pause": 0.05}
        self._set("latency", 0)
        self._set("signing", SIGNING_SECONDS)
        self._calls()
        spans = self._measure(job, self._issuer(IssuerKind.PRIVATE_CA))["spans"]
        self._set("signing", 0)
        calls = [call for call in self._calls() if call["began"] >= spans[0][0]]
        issued = [call["began"] for call in calls if call["operation"] == "IssueCertificate"]
        looks = [call for call in calls if call["operation"] == "GetCertificate"]
        seen = [call["ended"] for call in looks if call["status"] == 200]
        waits = [end - began for began, end in zip(issued, seen, strict=True)]
        return Signing(seen_after=median(waits), looks=len(looks) / len(issued))

    def cold(self, runs: int) -> list[Cold]:
        """Measure fresh interpreters, floors first. The runs are interleaved: a busy moment affects all of them."""
        event = self._line.enrol("cold")
        jobs = {
            "floor: import boto3": ({"module": "boto3", "events": []}, {}),
            "boto3 and one client": ({"module": "boto3", "events": [], "client": True}, {}),
            "authorizer": ({"module": AUTHORIZER, "events": [event]}, self._authorizer()),
            "issuer private-ca": ({"module": ISSUER, "events": [event]}, self._issuer(IssuerKind.PRIVATE_CA)),
            "issuer iot-core": ({"module": ISSUER, "events": [event]}, self._issuer(IssuerKind.IOT_CORE)),
        }
        self._set("latency", 0)
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
        self._set("latency", 0)
        quick = self._measure({**job, "events": fast, "pause": 0.03}, environment)
        self._set("latency", self.latency)
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

    def _set(self, what: str, seconds: float) -> None:
        urllib.request.urlopen(f"{self.endpoint}/_bench/{what}", data=str(seconds).encode()).read()  # noqa: S310

    def _calls(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.endpoint}/_bench/calls") as answer:  # noqa: S310 - loopback
            calls: list[dict[str, Any]] = json.load(answer)
        return sorted(calls, key=lambda call: call["began"])

    def _authorizer(self) -> dict[str, str]:
        return {**self._code, **self._line.authorizer_environment()}

    def _issuer(self, kind: IssuerKind) -> dict[str, str]:
        return {**self._code, **self._line.issuer_environment(kind)}


if __name__ == "__main__":
    main()
