"""RSA moduli that anybody can factor."""

import math
import random
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from secretfree.request.weak_keys import has_close_primes, has_roca_fingerprint, weakness

KEYS = Path(__file__).parents[1] / "vectors/key"


def _modulus(path: Path) -> int:
    key = load_der_public_key(path.read_bytes())
    assert isinstance(key, rsa.RSAPublicKey)
    return key.public_numbers().n


@pytest.mark.parametrize("size", [2048, 3072, 4096])
def test_a_modulus_made_as_the_broken_library_made_them_has_the_fingerprint(size: int) -> None:
    assert has_roca_fingerprint(_modulus(KEYS / f"weak-roca-{size}.der"))


def test_the_fingerprint_is_lost_with_one_factor_of_another_make() -> None:
    assert not has_roca_fingerprint(_modulus(KEYS / "weak-roca-2048.der") * 3)
    assert not has_roca_fingerprint(_modulus(KEYS / "rsa-2048.der"))


def test_a_power_modulo_each_prime_but_of_no_common_exponent_is_no_fingerprint() -> None:
    """Where the prime-by-prime test of the first detectors would say yes: exponents that contradict each other."""
    # Modulo 11 the order is 10, modulo 31 it is 30: exponents 0 and 1 differ modulo 2, so no exponent gives both.
    primes = [prime for prime in range(2, 168) if all(prime % divisor for divisor in range(2, prime))]
    primorial = math.prod(primes)
    residue = {prime: 65537 % prime if prime == 31 else 1 for prime in primes}
    modulus = (
        sum(value * (primorial // prime) * pow(primorial // prime, -1, prime) for prime, value in residue.items())
        % primorial
    )
    assert all(modulus % prime == residue[prime] for prime in primes)
    assert not has_roca_fingerprint(modulus)
    assert has_roca_fingerprint(pow(65537, 123_456_789, primorial))


def test_random_odd_numbers_have_no_fingerprint() -> None:
    generator = random.Random(2017)
    assert not any(has_roca_fingerprint(generator.getrandbits(2048) | 1) for _ in range(2000))


@pytest.mark.parametrize(
    ("file", "word"),
    [
        ("weak-factor-3", "small prime"),
        ("weak-factor-751", "small prime"),
        ("weak-roca-4096", "ROCA"),
        ("weak-close-primes", "close"),
        ("weak-close-primes-200-bits", "close"),
        ("weak-square", "close"),
    ],
)
def test_a_weakness_is_named(file: str, word: str) -> None:
    assert word in (weakness(_modulus(KEYS / f"{file}.der")) or "")


@pytest.mark.parametrize("file", ["rsa-2048", "rsa-2560", "rsa-4096"])
def test_a_good_modulus_has_no_weakness(file: str) -> None:
    assert weakness(_modulus(KEYS / f"{file}.der")) is None


def test_fermat_takes_the_rounds_that_the_distance_needs() -> None:
    # The first of the 859 is the square root of the product, rounded up; the last is the middle of the two, 15009.
    assert 15009 - math.isqrt(10007 * 20011) == 859
    assert has_close_primes(10007 * 20011, rounds=859)
    assert not has_close_primes(10007 * 20011, rounds=858)
