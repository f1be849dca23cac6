"""Sends a storm of requests to the local cloud, and counts the outcome.

python benchmarks/storm/run.py fleet [--devices 10000] [--quota-factor 1.2] [--through-api 0.1] [--processes 128]
python benchmarks/storm/run.py flood [--devices 100] [--forgers 4]

fleet: devices arriving within a minute (divided by the quota factor, as is all of the time that the quotas fill), AWS
throttling at its default quotas times that factor, and `issuance_rate` as these quotas allow. Most requests run the
functions' own code in processes of this benchmark. A share of them uses the local cloud's API and Lambdas.

flood: requests with a good id and key but a forged signature, as fast as the API answers, beside good devices.

Exit code 0 if every device has its certificate, none two, and the cloud holds nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median, quantiles
from typing import Any

import runtime
from cloud import Device, StormCloud, forged_csr, make_devices, storm_cloud
from fleet import Result, Storm, Way, over_http
from secretfree.contract import IssuerKind
from secretfree_cli.local.emulators.private_ca.settings import TokenBucket
from secretfree_cli.plan.calls import call_sequence
from secretfree_cli.plan.capacity import quota_bound
from secretfree_cli.plan.quotas import default_quotas

API_PLACES = 16
# The emulated API has its own throttle, as deployed.
_UNLIMITED = TokenBucket(0)


def main() -> None:
    """Run the storm that is named and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    storms = parser.add_subparsers(dest="storm", required=True)
    fleet = storms.add_parser("fleet")
    fleet.add_argument("--devices", type=int, default=10_000)
    fleet.add_argument("--quota-factor", type=float, default=1.2)
    fleet.add_argument("--arrival", type=float, default=60.0, help="seconds, before they are divided by the factor")
    fleet.add_argument("--through-api", type=float, default=0.1, help="share of the devices")
    fleet.add_argument("--processes", type=int, default=128, help="invocations at once")
    fleet.add_argument("--limit", type=float, default=1_000.0, help="seconds, at most")
    flood = storms.add_parser("flood")
    flood.add_argument("--devices", type=int, default=100)
    flood.add_argument("--forgers", type=int, default=4)
    given = parser.parse_args()
    figures, failures = _fleet(given) if given.storm == "fleet" else _flood(given)
    print(json.dumps(figures | {"failures": failures}, indent=2))
    sys.exit(1 if failures else 0)


def _fleet(given: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    factor = given.quota_factor
    with storm_cloud(quota_factor=factor) as cloud:
        devices = make_devices("storm", given.devices)
        cloud.enrol(devices)
        bound = _bound(given.devices, given.arrival, factor)
        cloud.set_issuance_rate(max(1, round(given.devices / bound)))
        rate, burst = cloud.stage_throttle()
        _tell(f"{len(devices)} devices enrolled; the API lets {rate * factor:g} requests a second through")
        with (
            runtime.start(cloud.function_environment(), given.processes) as processes,
            ThreadPoolExecutor(API_PLACES) as threads,
        ):
            throttle = _StageBucket(rate * factor, burst * factor)
            functions = Way("functions", processes, given.processes, runtime.serve, throttle)
            api = Way("API", threads, API_PLACES, over_http(cloud.url, "new"), _UNLIMITED)
            every = round(1 / given.through_api) if given.through_api else len(devices) + 1
            ways = [(device, api if number % every == 0 else functions) for number, device in enumerate(devices)]
            result = Storm(ways, given.arrival / factor, given.limit, _tell).run()
        figures = _figures(ways, result) | {"quota factor": factor, "API requests a second": rate * factor}
        figures |= {"quota-bound seconds": round(bound, 1), "times the quota-bound": round(result.seconds / bound, 3)}
        figures |= {"numbers given": cloud.stock().numbers}
        return figures, result.mistakes + _differences(cloud, devices, result.certificates)


def _bound(devices: int, arrival: float, factor: float) -> float:
    """Seconds that the quotas, times `factor`, allow at best."""
    quotas = default_quotas()
    scaled = quotas.with_limits({name: quota.limit * factor for name, quota in quotas.quotas.items() if quota.rate})
    return quota_bound(devices, arrival / factor, call_sequence(IssuerKind.PRIVATE_CA), scaled).seconds


class _StageBucket(TokenBucket):
    """The stage's throttle: unlike a quota's, its burst is a setting."""

    def __init__(self, rate: float, burst: float) -> None:
        super().__init__(rate)
        self._capacity = self._tokens = burst


def _flood(given: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    with storm_cloud(quota_factor=None) as cloud:
        good, (victim,) = make_devices("good", given.devices), make_devices("victim", 1)
        cloud.enrol([*good, victim])
        forged, send = forged_csr(victim), over_http(cloud.url, "new")
        refusals: Counter[int] = Counter()
        over = threading.Event()

        def forge() -> None:
            while not over.is_set():
                refusals[send(forged).status] += 1

        with ThreadPoolExecutor(given.forgers) as forgers, ThreadPoolExecutor(given.devices) as threads:
            send(forged)  # both functions' cold start, so that the flood is at its full rate from the start
            flood = [forgers.submit(forge) for _ in range(given.forgers)]
            try:
                way = Way("API", threads, given.devices, send, _UNLIMITED)
                result = Storm([(device, way) for device in good], 1.0, 300.0, _tell).run()
            finally:
                over.set()
            for forger in flood:
                forger.result()
        figures = _figures([(device, way) for device in good], result) | {
            "forged": dict(refusals),
            "forged a second": round(sum(refusals.values()) / result.seconds, 1),
        }
        failures = result.mistakes + _differences(cloud, good, result.certificates)
        if set(refusals) != {403}:
            failures.append(f"forged requests were answered {dict(refusals)}")
        return figures, failures


def _differences(cloud: StormCloud, devices: Sequence[Device], given: dict[str, str]) -> list[str]:
    """Count what is lost, doubled or superfluous: compare the devices' answers with the CA, IoT Core and the ledger."""
    names = {device.device_id for device in devices}
    deadline = time.monotonic() + 30  # the last confirmations are written after their answers
    while True:
        stock = cloud.stock()
        active = {name for name, item in stock.ledger.items() if item["state"] == "active"}
        failures = [
            f"{what}: {found}"
            for what, found in {
                "devices without a certificate": len(names - set(given)),
                "certificates that two devices share": len(given) - len(set(given.values())),
                "certificates at IoT Core beyond the devices'": len(stock.active_certificates - set(given.values())),
                "certificates lost at IoT Core": len(set(given.values()) - stock.active_certificates),
                "certificates at IoT Core that are not active": stock.other_certificates,
                "certificates of the Private CA beyond one a device": stock.signed - len(given),
                "things beyond the devices'": len(stock.things - names),
                "things lost": len(names - stock.things),
                "ledger records that are not active": len(stock.ledger) - len(active),
                "devices of whom the ledger knows another certificate": sum(
                    stock.ledger.get(name, {}).get("certificate-id") != certificate
                    for name, certificate in given.items()
                ),
            }.items()
            if found
        ]
        if not failures or time.monotonic() > deadline:
            return failures
        time.sleep(2)


def _figures(ways: Sequence[tuple[Device, Way]], result: Result) -> dict[str, Any]:
    counted = [device.device_id for device, way in ways if way.name == "functions"]
    waited = sorted(result.waited.values()) or [0.0]
    return {
        "devices": len(ways),
        "provisioned": len(result.certificates),
        "seconds": round(result.seconds, 1),
        "devices a second": round(len(result.certificates) / max(result.seconds, 1e-9), 1),
        "seconds to the certificate": {
            "median": round(median(waited), 1),
            "95 %": round(quantiles(waited, n=20)[-1], 1) if len(waited) > 1 else round(waited[0], 1),
            "longest": round(waited[-1], 1),
        },
        "requests a device": round(sum(map(Counter.total, result.answers.values())) / len(ways), 2),
        "requests that reached the functions": sum(result.requests.values()),
        "most of one device": max(result.requests.values(), default=0),
        "answers": {name: dict(sorted(counter.items())) for name, counter in result.answers.items()},
        "AWS calls a device": _calls_a_device(result, len(counted)),
    }


def _calls_a_device(result: Result, devices: int) -> dict[str, dict[str, float]]:
    """Calls by operation, with throttled attempts apart. Devices that used the API are not counted."""
    operations = sorted({operation for operation, _ in result.calls})
    if not devices:
        return {}
    table = {
        operation: {kind: round(result.calls[operation, kind] / devices, 2) for kind in ("done", "throttled")}
        for operation in operations
    }
    total = {kind: round(sum(row[kind] for row in table.values()), 2) for kind in ("done", "throttled")}
    writes = sum(table[name]["done"] for name in ("PutItem", "UpdateItem", "TransactWriteItems") if name in table)
    return table | {"all": total, "ledger writes": {"done": round(writes, 2)}}


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
