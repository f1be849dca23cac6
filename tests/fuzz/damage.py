"""Reads hundreds of thousands of damaged requests and manifests, and reports the outcomes.

python tests/fuzz/damage.py [--requests N] [--manifests N] [--seed S]
"""

from __future__ import annotations

import argparse
import base64
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import csr_property
import manifest_property
from cryptography import x509
from manifest_property import Tally, damaged, wrong_bits
from secretfree.request.csr import check
from secretfree.request.device_profile import DeviceProfile

VECTORS = Path(__file__).parents[1] / "lambda_src/vectors/csr"


def damage_requests(count: int, seed: int) -> Counter[str]:
    """Hold the CSR reader to its promises on `count` damaged requests; return how many had which outcome."""
    chance = random.Random(seed)
    seeds = [path.read_bytes() for path in sorted(VECTORS.glob("*.der"))]
    found: Counter[str] = Counter()
    for number in range(count):
        if number % 4 == 0:  # whole and signed, of parts that no honest device puts together
            verified = csr_property.check(b"\2" + chance.randbytes(chance.randrange(120)))
            found["planned, verified" if verified else "planned, refused"] += 1
            continue
        data = chance.choice(seeds)
        data = damaged(data, chance) if number % 4 == 1 else wrong_bits(data, chance)
        verified = csr_property.check_header_value(base64.b64encode(data).decode())
        # What is verified nevertheless differs outside the signed bytes alone: no damage can sign.
        for csr in verified.values():
            signed = x509.load_der_x509_csr(csr.der).tbs_certrequest_bytes
            assert any(signed in intact for intact in seeds), "a request that its key did not sign"
        fault = check(data, DeviceProfile.STANDARD)
        found[fault.reason if fault is not None else "verified"] += 1
    return found


def damage_manifests(count: int, seed: int) -> Tally:
    """Hold the manifests' readers to their promises on `count` damaged manifests, and as many certificates."""
    chance, tally = random.Random(seed), Tally()
    with tempfile.TemporaryDirectory(prefix="secretfree-fuzz-") as folder:
        samples = manifest_property.samples(Path(folder))
        for number in range(count):
            sample = samples[number % len(samples)]
            manifest_property.check(sample, chance, Path(folder, "damaged"), tally)
            manifest_property.check_certificate(sample, chance)
    return tally


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--manifests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    given = parser.parse_args()
    print(f"seed {given.seed}")
    began = time.monotonic()
    for reason, count in damage_requests(given.requests, given.seed).most_common():
        print(f"requests  {count:>7}  {reason}")
    print(f"requests  {time.monotonic() - began:.0f} s")
    began = time.monotonic()
    tally = damage_manifests(given.manifests, given.seed)
    for form, count in sorted(tally.manifests.items()):
        print(f"manifests {count:>7}  {form}")
    print(f"manifests {tally.unreadable} refused whole; {tally.admitted} rows admitted, {tally.refused} rows refused")
    print(f"manifests {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
