"""Counts the listings of IoT Core's certificates in one sweep, and prints them as JSON.

python benchmarks/sweeper/run.py [--lost 20] [--newer 1000]

`lost` requests to IoT Core had an effect but no answer, then `newer` certificates of others were made. The cloud is the
tests' own, in memory. The floor is one listing of all certificates, a page at a time.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from secretfree.contract import IssuerKind
from secretfree.issuance.sweeping import SweepOutcome
from support.fake_cloud import Fault
from support.world import World, verified_csr

PAGE = 250


def main() -> None:
    """Sweep once and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lost", type=int, default=20)
    parser.add_argument("--newer", type=int, default=1_000)
    given = parser.parse_args()
    world = World(IssuerKind.IOT_CORE)
    world.cloud.always["CreateCertificateFromCsr"] = Fault.TIMED_OUT_AFTER
    for number in range(given.lost):
        world.ask(f"widget-{number}")
    world.cloud.always.clear()
    world.clock.sleep(1)
    pem = verified_csr("foreign").pem()
    for _ in range(given.newer):
        world.cloud.client("iot").create_certificate_from_csr(certificateSigningRequest=pem, setAsActive=False)
    world.cloud.calls.clear()
    rolled_back = world.sweep(after=timedelta(minutes=5)).outcomes[SweepOutcome.ROLLED_BACK]
    print(
        json.dumps(
            {
                "lost": given.lost,
                "newer": given.newer,
                "rolledBack": rolled_back,
                "listings": world.cloud.calls.count("ListCertificates"),
                "pages": -(-(given.lost + given.newer) // PAGE),
            }
        )
    )


if __name__ == "__main__":
    main()
