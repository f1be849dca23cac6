"""RSA moduli that are easy to factor: small factors, ROCA's fingerprint, primes too close to each other."""

import math
from functools import cache
from itertools import combinations
from typing import Final

# Boulder's goodkey stops at 751 as well: the test costs one gcd, and no cheap test finds larger factors.
_SMALL_FACTOR_LIMIT: Final = 752
# The primorial of the smallest keys of the broken library. That of every larger key is a multiple of it.
_ROCA_LIMIT: Final = 168
_ROCA_GENERATOR: Final = 65537
_FERMAT_ROUNDS: Final = 100


def weakness(modulus: int) -> str | None:
    """The weakness of an RSA modulus, for the log, or None."""
    if math.gcd(modulus, _small_primes_product()) != 1:
        return "the modulus has a small prime factor"
    if has_roca_fingerprint(modulus):
        return "the modulus has the fingerprint of ROCA (CVE-2017-15361)"
    if has_close_primes(modulus):
        return "the modulus is the product of two primes too close to each other"
    return None


def has_roca_fingerprint(modulus: int) -> bool:
    """Whether the modulus is a power of 65537 modulo M, the product of the first 39 primes.

    Infineon's RSALib made its primes as k*M + (65537^a mod M), so its moduli are such powers; a random modulus is one
    with a probability of about 2^-154 (Nemec, Sys, Svenda, Klinec, Matyas: "The Return of Coppersmith's Attack", CCS
    2017, section 3; CVE-2017-15361). M is smooth, so the discrete logarithm is looked up for each prime. It exists
    modulo M if each exists and any two agree modulo the common divisor of their orders (Chinese remainder theorem).
    """
    residues: list[tuple[int, int]] = []
    for prime, logarithms in _roca_logarithms():
        exponent = logarithms.get(modulus % prime)
        if exponent is None:
            return False
        residues.append((exponent, len(logarithms)))
    return all((one - two) % math.gcd(order, other) == 0 for (one, order), (two, other) in combinations(residues, 2))


def has_close_primes(modulus: int, *, rounds: int = _FERMAT_ROUNDS) -> bool:
    """Whether Fermat's factorisation succeeds within `rounds` (CVE-2022-26320 is such a generator).

    The distance of two random primes exceeds any feasible number of rounds, so a good key is never refused.
    """
    middle = math.isqrt(modulus - 1) + 1
    for _ in range(rounds):
        square = middle * middle - modulus
        root = math.isqrt(square)
        if root * root == square:
            return True
        middle += 1
    return False


@cache
def _small_primes_product() -> int:
    return math.prod(_primes_below(_SMALL_FACTOR_LIMIT))


@cache
def _roca_logarithms() -> tuple[tuple[int, dict[int, int]], ...]:
    """For each prime, the exponent of every power of the generator; the size of a table is the generator's order."""
    return tuple((prime, _logarithms(prime)) for prime in _primes_below(_ROCA_LIMIT))


def _logarithms(prime: int) -> dict[int, int]:
    logarithms: dict[int, int] = {}
    power = 1 % prime
    while power not in logarithms:
        logarithms[power] = len(logarithms)
        power = power * _ROCA_GENERATOR % prime
    return logarithms


def _primes_below(limit: int) -> list[int]:
    return [
        number for number in range(2, limit) if all(number % divisor for divisor in range(2, math.isqrt(number) + 1))
    ]
