"""Makes the adversarial CSRs and keys beside this file: `python tests/lambda_src/vectors/generate.py`.

Each vector is a file of DER and a line of index.json with the verdict. The requests are put together byte by byte,
since no library makes most of them. Private keys are made, used and forgotten: another run, other bytes, same verdicts.
"""

import hashlib
import json
import math
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HERE = Path(__file__).parent
Signer = Callable[[bytes], bytes]


# --- DER, written ---


def tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    if len(content) < 128:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + content


def sequence(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def set_of(*parts: bytes) -> bytes:
    return tlv(0x31, *parts)


def integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, signed=True))


def bits(content: bytes) -> bytes:
    return tlv(0x03, b"\x00", content)


def octets(content: bytes) -> bytes:
    return tlv(0x04, content)


def oid(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in dotted.split("."))
    encoded = bytearray([first * 40 + second])
    for number in rest:
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(0x80 | number & 0x7F)
        encoded += bytes(reversed(groups))
    return tlv(0x06, bytes(encoded))


NULL = b"\x05\x00"
TRUE = b"\x01\x01\xff"
UTF8, PRINTABLE, T61, IA5, UNIVERSAL, BMP = 0x0C, 0x13, 0x14, 0x16, 0x1C, 0x1E

CN, SURNAME, SERIAL, C, L, ST, O, OU = (f"2.5.4.{last}" for last in (3, 4, 5, 6, 7, 8, 10, 11))  # noqa: E741
TITLE, EMAIL = "2.5.4.12", "1.2.840.113549.1.9.1"
EXTENSION_REQUEST, CHALLENGE = "1.2.840.113549.1.9.14", "1.2.840.113549.1.9.7"
NETSCAPE_CERT_TYPE = "2.16.840.1.113730.1.1"
MICROSOFT_EXTENSIONS = "1.3.6.1.4.1.311.2.1.14"
EC_PUBLIC_KEY, RSA_ENCRYPTION, RSA_PSS = "1.2.840.10045.2.1", "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10"
P256 = "1.2.840.10045.3.1.7"


def rsa_algorithm(last: int) -> bytes:
    return sequence(oid(f"1.2.840.113549.1.1.{last}"), NULL)


def ecdsa_algorithm(last: int) -> bytes:
    return sequence(oid(f"1.2.840.10045.4.3.{last}"))


RSA_MD5, RSA_SHA1, RSA_SHA224, RSA_SHA256, RSA_SHA384, RSA_SHA512 = (rsa_algorithm(n) for n in (4, 5, 14, 11, 12, 13))
ECDSA_SHA1 = sequence(oid("1.2.840.10045.4.1"))
ECDSA_SHA224, ECDSA_SHA256, ECDSA_SHA384, ECDSA_SHA512 = (ecdsa_algorithm(n) for n in (1, 2, 3, 4))
ECDSA_SHA3_256 = sequence(oid("2.16.840.1.101.3.4.3.10"))
ED25519 = sequence(oid("1.3.101.112"))


# --- requests ---


def attribute(kind: str, value: str | bytes, tag: int = UTF8) -> bytes:
    return sequence(oid(kind), tlv(tag, value.encode() if isinstance(value, str) else value))


def name(*relative_names: bytes) -> bytes:
    return sequence(*(set_of(relative) for relative in relative_names))


def common_name(value: str | bytes = "widget-1", tag: int = UTF8) -> bytes:
    return name(attribute(CN, value, tag))


def extensions(*each: bytes, kind: str = EXTENSION_REQUEST) -> bytes:
    return sequence(oid(kind), set_of(sequence(*each)))


def extension(kind: str, value: bytes, *, critical: bool = False) -> bytes:
    return sequence(oid(kind), *([TRUE] if critical else []), octets(value))


def request(subject: bytes, spki: bytes, attributes: bytes = b"", version: bytes = b"\x02\x01\x00") -> bytes:
    return sequence(version, subject, spki, tlv(0xA0, attributes))


def csr(request_info: bytes, algorithm: bytes, signer: Signer) -> bytes:
    return sequence(request_info, algorithm, bits(signer(request_info)))


HARMLESS_EXTENSIONS = (
    extension("2.5.29.19", sequence(), critical=True),
    extension("2.5.29.15", tlv(0x03, b"\x07\x80"), critical=True),
    extension("2.5.29.37", sequence(oid("1.3.6.1.5.5.7.3.2"))),
    extension("2.5.29.14", octets(b"\x01" * 20)),
)


# --- keys ---


def spki_of(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def ec_signer(key: ec.EllipticCurvePrivateKey, digest: hashes.HashAlgorithm | None = None) -> Signer:
    return lambda data: key.sign(data, ec.ECDSA(digest or hashes.SHA256()))


def rsa_signer(key: rsa.RSAPrivateKey, digest: hashes.HashAlgorithm | None = None) -> Signer:
    return lambda data: key.sign(data, padding.PKCS1v15(), digest or hashes.SHA256())


def rsa_spki(modulus: int, exponent: int = 65537) -> bytes:
    return sequence(sequence(oid(RSA_ENCRYPTION), NULL), bits(sequence(integer(modulus), integer(exponent))))


def textbook_signer(modulus: int, order: int, exponent: int = 65537) -> Signer:
    """RSASSA-PKCS1-v1_5 with SHA-256 by hand: the library holds no such key. `order` is a multiple of lambda(n)."""
    private = pow(exponent, -1, order)
    size = (modulus.bit_length() + 7) // 8

    def sign(data: bytes) -> bytes:
        digest_info = sequence(sequence(oid("2.16.840.1.101.3.4.2.1"), NULL), octets(hashlib.sha256(data).digest()))
        padded = b"\x00\x01" + b"\xff" * (size - 3 - len(digest_info)) + b"\x00" + digest_info
        return pow(int.from_bytes(padded), private, modulus).to_bytes(size)

    return sign


def is_prime(number: int, rounds: int = 24) -> bool:
    """Miller and Rabin's test, with random bases."""
    if number % 2 == 0 or any(number % small == 0 and number != small for small in (3, 5, 7, 11, 13, 17, 19, 23)):
        return False
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(rounds):
        power = pow(secrets.randbelow(number - 3) + 2, odd, number)
        if power in (1, number - 1):
            continue
        if not any((power := power * power % number) == number - 1 for _ in range(twos - 1)):
            return False
    return True


def random_prime(size: int) -> int:
    while not is_prime(candidate := secrets.randbits(size) | 1 | 3 << size - 2) or candidate % 65537 == 1:
        pass
    return candidate


def next_prime(number: int) -> int:
    while not is_prime(number) or number % 65537 == 1:
        number += 2
    return number


def first_primes(count: int) -> list[int]:
    primes: list[int] = []
    candidate = 2
    while len(primes) < count:
        if all(candidate % prime for prime in primes):
            primes.append(candidate)
        candidate += 1
    return primes


def roca_prime(size: int, prime_count: int) -> int:
    """A prime k*M + (65537^a mod M), M the product of the first primes, as RSALib made them (CCS 2017, section 2.1)."""
    primorial = math.prod(first_primes(prime_count))
    while True:
        power = pow(65537, secrets.randbits(256), primorial)
        lowest, highest = (3 << size - 2) // primorial + 1, (1 << size) // primorial - 1
        candidate = (lowest + secrets.randbelow(highest - lowest)) * primorial + power
        if is_prime(candidate):
            return candidate


BOTH, STANDARD, CC32XX = ["STANDARD", "TI_CC32XX"], ["STANDARD"], ["TI_CC32XX"]


class Vectors:
    """The vectors written so far, and the good keys that they share."""

    def __init__(self) -> None:
        self.index: list[dict[str, Any]] = []
        self.p256 = ec.generate_private_key(ec.SECP256R1())
        self.p384 = ec.generate_private_key(ec.SECP384R1())
        self.p521 = ec.generate_private_key(ec.SECP521R1())
        self.rsa2048 = rsa.generate_private_key(65537, 2048)
        self.rsa4096 = rsa.generate_private_key(65537, 4096)
        self.spki, self.sign = spki_of(self.p256), ec_signer(self.p256)
        self.ordinary = request(common_name(), self.spki)
        self.rsa_request = request(common_name(), spki_of(self.rsa2048))

    def accepted(
        self, vector: str, data: bytes, device_id: str | None = "widget-1", profiles: list[str] = BOTH
    ) -> None:
        """A request that `profiles` take; `device_id` is what they make of its common name."""
        self._write(f"csr/{vector}", data, reason=None, deviceId=device_id, profiles=profiles)

    def refused(self, vector: str, reason: str, data: bytes, profiles: list[str] = BOTH) -> None:
        """A request that `profiles` refuse for `reason`."""
        self._write(f"csr/{vector}", data, reason=reason, profiles=profiles)

    def key(self, vector: str, spki: bytes, reason: str | None) -> None:
        """A key alone, refused for `reason`, or accepted."""
        self._write(f"key/{vector}", spki, reason=reason)

    def plain(self, subject: bytes, attributes: bytes = b"") -> bytes:
        """A request by the shared P-256 key."""
        return csr(request(subject, self.spki, attributes), ECDSA_SHA256, self.sign)

    def _write(self, vector: str, data: bytes, **verdict: Any) -> None:
        (HERE / f"{vector}.der").write_bytes(data)
        self.index.append({"file": f"{vector}.der", **verdict})


def add_kinds_of_key(vectors: Vectors) -> None:
    """Accepted: each kind of key and hash."""
    vectors.accepted("ec-p256-sha256", csr(vectors.ordinary, ECDSA_SHA256, vectors.sign))
    vectors.accepted("ec-p256-sha384", csr(vectors.ordinary, ECDSA_SHA384, ec_signer(vectors.p256, hashes.SHA384())))
    for label, key, algorithm, digest in (
        ("ec-p384-sha384", vectors.p384, ECDSA_SHA384, hashes.SHA384()),
        ("ec-p521-sha512", vectors.p521, ECDSA_SHA512, hashes.SHA512()),
    ):
        vectors.accepted(label, csr(request(common_name(), spki_of(key)), algorithm, ec_signer(key, digest)))
    vectors.accepted(
        "rsa-2048-sha256",
        csr(request(common_name(), spki_of(vectors.rsa2048)), RSA_SHA256, rsa_signer(vectors.rsa2048)),
    )
    vectors.accepted(
        "rsa-2048-sha384",
        csr(request(common_name(), spki_of(vectors.rsa2048)), RSA_SHA384, rsa_signer(vectors.rsa2048, hashes.SHA384())),
    )
    rsa3072 = rsa.generate_private_key(65537, 3072)
    vectors.accepted("rsa-3072-sha256", csr(request(common_name(), spki_of(rsa3072)), RSA_SHA256, rsa_signer(rsa3072)))
    vectors.accepted(
        "rsa-4096-sha512",
        csr(request(common_name(), spki_of(vectors.rsa4096)), RSA_SHA512, rsa_signer(vectors.rsa4096, hashes.SHA512())),
    )


def add_subjects(vectors: Vectors) -> None:
    """Accepted: subjects and harmless wishes."""
    vectors.accepted("subject-printable-string", vectors.plain(common_name(tag=PRINTABLE)))
    vectors.accepted("subject-ia5-string", vectors.plain(common_name(tag=IA5)))
    vectors.accepted("subject-64-characters", vectors.plain(common_name("a" * 64)), "a" * 64)
    vectors.accepted("subject-every-character", vectors.plain(common_name("Az09:_-")), "Az09:_-")
    full = name(
        attribute(C, "DE", PRINTABLE), attribute(ST, "Bayern"), attribute(L, "M\u00fcnchen"), attribute(O, "Widgets"),
        attribute(OU, "Line 1"), attribute(SERIAL, "1", PRINTABLE), attribute(CN, "widget-1"),
    )  # fmt: skip
    vectors.accepted("subject-full", vectors.plain(full))
    vectors.accepted("subject-multi-valued", vectors.plain(name(attribute(OU, "Line 1") + attribute(CN, "widget-1"))))
    vectors.accepted("extensions-harmless", vectors.plain(common_name(), extensions(*HARMLESS_EXTENSIONS)))
    vectors.accepted(
        "attribute-challenge-password",
        vectors.plain(common_name(), sequence(oid(CHALLENGE), set_of(tlv(UTF8, b"pass")))),
    )


def add_common_names_without_device_id(vectors: Vectors) -> None:
    """Well-formed common names that are not device ids, which only MatchPolicy.PUBLIC_KEY accepts."""
    for label, text in (
        ("asterisk", "wid*"),
        ("hash", "wid#"),
        ("plus", "wid+1"),
        ("slash", "wid/1"),
        ("umlaut", "w\u00fc"),
    ):
        vectors.accepted(f"common-name-{label}", vectors.plain(common_name(text)), None)
    vectors.accepted("common-name-space", vectors.plain(common_name("widget 1")), None)


def add_common_names(vectors: Vectors) -> None:
    """Refused: common names."""
    for label, reason, subject in (
        ("nul", "device-id", common_name("wid\x00get")),
        ("nul-at-end", "device-id", common_name("widget-1\x00")),
        ("line-feed", "device-id", common_name("widget-1\n")),
        ("right-to-left", "device-id", common_name("widget\u202e1")),
        ("65-characters", "device-id", common_name("a" * 65)),
        ("129-characters", "device-id", common_name("a" * 129)),
        ("utf8-invalid", "device-id", common_name(b"widget\xff")),
        ("utf8-overlong", "device-id", common_name(b"widget\xc0\xaf")),
        ("utf8-surrogate", "device-id", common_name(b"widget\xed\xa0\x80")),
        ("printable-with-asterisk", "string-type", common_name("wid*", PRINTABLE)),
        ("printable-with-underscore", "string-type", common_name("wid_1", PRINTABLE)),
        ("printable-beside", "string-type", name(attribute(O, "a&b", PRINTABLE), attribute(CN, "widget-1"))),
        ("ia5-with-high-bit", "device-id", common_name(b"widget\xe4", IA5)),
        ("bmp-string", "string-type", common_name("widget-1".encode("utf-16-be"), BMP)),
        ("bmp-string-odd", "string-type", common_name(b"\x00w\x00", BMP)),
        ("universal-string", "string-type", common_name("widget-1".encode("utf-32-be"), UNIVERSAL)),
        ("teletex-string", "string-type", common_name("widget-1", T61)),
        ("integer", "string-type", name(sequence(oid(CN), integer(1)))),
        ("two", "subject", name(attribute(CN, "widget-1"), attribute(CN, "widget-2"))),
        ("two-same", "subject", name(attribute(CN, "widget-1"), attribute(CN, "widget-1"))),
        ("two-in-one-set", "subject", name(attribute(CN, "widget-1") + attribute(CN, "widget-2"))),
        ("none", "subject", name(attribute(O, "Widgets"))),
        ("no-subject", "subject", name()),
        ("empty-set", "subject", name(b"")),
        ("beside-title", "subject", name(attribute(CN, "widget-1"), attribute(TITLE, "Dr"))),
    ):
        vectors.refused(f"common-name-{label}", reason, vectors.plain(subject))
    vectors.refused("common-name-empty", "device-id", vectors.plain(common_name("")), STANDARD)


def add_wishes(vectors: Vectors) -> None:
    """Refused: what a request may not ask for."""
    san = extension("2.5.29.17", sequence(tlv(0x82, b"widget-2")))
    for label, attributes in (
        ("san-dns", extensions(san)),
        ("san-uri", extensions(extension("2.5.29.17", sequence(tlv(0x86, b"urn:widget-2"))))),
        ("san-empty", extensions(extension("2.5.29.17", sequence()))),
        ("san-after-harmless", extensions(*HARMLESS_EXTENSIONS, san)),
        ("san-in-second-request", extensions(san) + extensions(*HARMLESS_EXTENSIONS)),
        ("san-in-first-request", extensions(san, HARMLESS_EXTENSIONS[0]) + extensions(*HARMLESS_EXTENSIONS)),
        ("ca-true", extensions(extension("2.5.29.19", sequence(TRUE), critical=True))),
        ("ca-true-path-length", extensions(extension("2.5.29.19", sequence(TRUE, integer(0))))),
        ("ca-not-boolean", extensions(extension("2.5.29.19", sequence(b"\x01\x01\x01")))),
        ("key-cert-sign", extensions(extension("2.5.29.15", tlv(0x03, b"\x02\x04")))),
        ("crl-sign", extensions(extension("2.5.29.15", tlv(0x03, b"\x01\x02")))),
        ("any-usage", extensions(extension("2.5.29.37", sequence(oid("2.5.29.37.0"))))),
        ("name-constraints", extensions(extension("2.5.29.30", sequence(tlv(0xA0, sequence(tlv(0x82, b"x"))))))),
        ("repeated", extensions(HARMLESS_EXTENSIONS[0], HARMLESS_EXTENSIONS[0])),
        ("unreadable", extensions(extension("2.5.29.37", b"\x30\x05\x06"))),
        ("no-value", sequence(oid(EXTENSION_REQUEST), set_of())),
        ("two-values", sequence(oid(EXTENSION_REQUEST), set_of(sequence(), sequence(san)))),
        ("not-extensions", sequence(oid(EXTENSION_REQUEST), set_of(integer(1)))),
    ):
        vectors.refused(f"extension-{label}", "requested-extension", vectors.plain(common_name(), attributes))
    for label, attributes in (
        ("twice-in-two-names", extensions(kind=MICROSOFT_EXTENSIONS) + extensions(*HARMLESS_EXTENSIONS)),
        ("microsoft-san", extensions(san, kind=MICROSOFT_EXTENSIONS)),
        ("netscape-ca", extensions(extension(NETSCAPE_CERT_TYPE, tlv(0x03, b"\x00\x87")))),
        ("netscape-server-name", extensions(extension("2.16.840.1.113730.1.12", tlv(IA5, b"widget-2")))),
        ("ocsp-signing", extensions(extension("2.5.29.37", sequence(oid("1.3.6.1.5.5.7.3.9"))))),
        ("enrolment-agent", extensions(extension("2.5.29.37", sequence(oid("1.3.6.1.4.1.311.20.2.1"))))),
        ("issuer-alternative-name", extensions(extension("2.5.29.18", sequence(tlv(0x82, b"widget-2"))))),
        ("policy-mappings", extensions(extension("2.5.29.33", sequence()))),
        ("policy-constraints", extensions(extension("2.5.29.36", sequence(tlv(0x80, b"\x00"))))),
        ("inhibit-any-policy", extensions(extension("2.5.29.54", integer(0)))),
        ("without-value", extensions(sequence(oid("2.5.29.14")))),
    ):
        vectors.refused(f"extension-{label}", "requested-extension", vectors.plain(common_name(), attributes))


def add_ignored_wishes(vectors: Vectors) -> None:
    """Accepted: wishes that give nothing and harm nothing."""
    usages = [oid(f"1.3.6.1.5.5.7.3.{last}") for last in (2, 1, 3, 4, 8)]
    microsoft = (
        sequence(oid("1.3.6.1.4.1.311.13.2.3"), set_of(tlv(IA5, b"10.0.19045.2"))),
        sequence(
            oid("1.3.6.1.4.1.311.21.20"), set_of(sequence(integer(5), tlv(UTF8, b"bench"), tlv(UTF8, b"tool.exe")))
        ),
        extensions(extension("2.5.29.15", tlv(0x03, b"\x05\xa0"), critical=True)),
    )
    for label, attributes in (
        ("server-auth", extensions(extension("2.5.29.37", sequence(oid("1.3.6.1.5.5.7.3.1"))))),
        ("many-usages", extensions(extension("2.5.29.37", sequence(*usages), critical=True))),
        ("policies", extensions(extension("2.5.29.32", sequence(sequence(oid("2.5.29.32.0")))))),
        ("unknown", extensions(extension("1.3.6.1.4.1.55555.1", NULL))),
        ("unknown-critical", extensions(extension("1.3.6.1.4.1.55555.1", b"\xff" * 3, critical=True))),
        ("netscape-client", extensions(extension(NETSCAPE_CERT_TYPE, tlv(0x03, b"\x07\x80")))),
        ("netscape-comment", extensions(extension("2.16.840.1.113730.1.13", tlv(IA5, b"made by a tool")))),
        ("ca-false-written-out", extensions(extension("2.5.29.19", sequence(b"\x01\x01\x00"), critical=True))),
        (
            "critical-false-written-out",
            extensions(sequence(oid("2.5.29.14"), b"\x01\x01\x00", octets(octets(b"\x01")))),
        ),
        ("key-usage-empty", extensions(extension("2.5.29.15", tlv(0x03, b"\x00")))),
        ("key-usage-decipher-only", extensions(extension("2.5.29.15", tlv(0x03, b"\x07\x08\x80")))),
        ("none", extensions()),
        ("microsoft-name", extensions(*HARMLESS_EXTENSIONS, kind=MICROSOFT_EXTENSIONS)),
        ("microsoft-template", extensions(extension("1.3.6.1.4.1.311.20.2", tlv(BMP, b"\x00M")))),
    ):
        vectors.accepted(f"ignored-extension-{label}", vectors.plain(common_name(), attributes))
    vectors.accepted(
        "ignored-attributes-of-windows", vectors.plain(common_name(tag=PRINTABLE), b"".join(sorted(microsoft)))
    )
    vectors.accepted(
        "ignored-attribute-unknown",
        vectors.plain(common_name(), sequence(oid("1.3.6.1.4.1.55555.2"), set_of(NULL))),
    )


def add_algorithm_parameters(vectors: Vectors) -> None:
    """Accepted: parameters absent or NULL, for either family. Refused: others."""
    for size, digest in ((256, hashes.SHA256()), (384, hashes.SHA384()), (512, hashes.SHA512())):
        number = {256: 2, 384: 3, 512: 4}[size]
        with_null = sequence(oid(f"1.2.840.10045.4.3.{number}"), NULL)
        vectors.accepted(
            f"parameters-ecdsa-sha{size}-null", csr(vectors.ordinary, with_null, ec_signer(vectors.p256, digest))
        )
        without = sequence(oid(f"1.2.840.113549.1.1.{number + 9}"))
        vectors.accepted(
            f"parameters-rsa-sha{size}-absent", csr(vectors.rsa_request, without, rsa_signer(vectors.rsa2048, digest))
        )
    sha1_null = csr(vectors.ordinary, sequence(oid("1.2.840.10045.4.1"), NULL), ec_signer(vectors.p256, hashes.SHA1()))  # noqa: S303
    vectors.accepted("cc32xx-ecdsa-sha1-null", sha1_null, profiles=CC32XX)
    vectors.refused("parameters-ecdsa-sha1-null", "signature-algorithm", sha1_null, STANDARD)
    for label, parameter in (
        ("curve", oid(P256)),
        ("empty-sequence", sequence()),
        ("null-with-content", b"\x05\x01\x00"),
    ):
        algorithm = sequence(oid("1.2.840.10045.4.3.2"), parameter)
        vectors.refused(f"parameters-{label}", "signature-algorithm", csr(vectors.ordinary, algorithm, vectors.sign))
    null_and_more = sequence(oid("1.2.840.10045.4.3.2"), NULL, NULL)
    vectors.refused("parameters-null-twice", "signature-algorithm", csr(vectors.ordinary, null_and_more, vectors.sign))
    forged = csr(
        vectors.ordinary, sequence(oid("1.2.840.10045.4.3.2"), NULL), ec_signer(ec.generate_private_key(ec.SECP256R1()))
    )
    vectors.refused("parameters-null-forged", "bad-signature", forged)


def add_other_keys(vectors: Vectors) -> None:
    """Refused: keys of another kind. Such a key can often not sign, so the signature is by P-256 throughout."""
    point = vectors.spki[-64:]
    compressed = bytes([2 + point[-1] % 2]) + point[:32]
    field = 2**256 - 2**224 + 2**192 + 2**96 - 1
    explicit_curve = sequence(
        integer(1),
        sequence(oid("1.2.840.10045.1.1"), integer(field)),
        sequence(
            octets((field - 3).to_bytes(32)),
            octets(bytes.fromhex("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b")),
        ),
        octets(
            bytes.fromhex(
                "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
                "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
            )
        ),
        integer(0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551),
        integer(1),
    )

    def ec_spki(public: bytes, curve: bytes | None = None) -> bytes:
        return sequence(sequence(oid(EC_PUBLIC_KEY), curve or oid(P256)), bits(public))

    rsa_public = sequence(integer(vectors.rsa2048.public_key().public_numbers().n), integer(65537))
    for label, other in (
        ("p192", spki_of(ec.generate_private_key(ec.SECP192R1()))),
        ("p224", spki_of(ec.generate_private_key(ec.SECP224R1()))),
        ("secp256k1", spki_of(ec.generate_private_key(ec.SECP256K1()))),
        ("brainpool-p256", spki_of(ec.generate_private_key(ec.BrainpoolP256R1()))),
        ("ed25519", spki_of(ed25519.Ed25519PrivateKey.generate())),
        ("ed448", spki_of(ed448.Ed448PrivateKey.generate())),
        ("x25519", spki_of(x25519.X25519PrivateKey.generate())),
        ("ec-explicit-curve", ec_spki(b"\x04" + point, explicit_curve)),
        ("ec-compressed-point", ec_spki(compressed)),
        ("ec-off-curve", ec_spki(b"\x04" + point[:-1] + bytes([point[-1] ^ 1]))),
        ("ec-infinity", ec_spki(b"\x00")),
        ("ec-coordinate-too-large", ec_spki(b"\x04" + b"\xff" * 64)),
        ("ec-short-point", ec_spki(b"\x04" + point[:-1])),
        ("rsa-1024", rsa_spki(rsa.generate_private_key(65537, 1024).public_key().public_numbers().n)),  # noqa: S505
        ("rsa-2047", rsa_spki((1 << 2046) | 1)),
        ("rsa-4097", rsa_spki((1 << 4096) | 1)),
        ("rsa-exponent-1", rsa_spki(vectors.rsa2048.public_key().public_numbers().n, 1)),
        ("rsa-exponent-3", rsa_spki(vectors.rsa2048.public_key().public_numbers().n, 3)),
        ("rsa-exponent-65539", rsa_spki(vectors.rsa2048.public_key().public_numbers().n, 65539)),
        ("rsa-negative-modulus", rsa_spki(-vectors.rsa2048.public_key().public_numbers().n)),
        ("rsa-zero-modulus", rsa_spki(0)),
        ("rsa-no-parameters", sequence(sequence(oid(RSA_ENCRYPTION)), bits(rsa_public))),
        ("rsa-bytes-after-key", sequence(sequence(oid(RSA_ENCRYPTION), NULL), bits(rsa_public + b"\x00"))),
        ("rsa-pss-only", sequence(sequence(oid(RSA_PSS)), bits(rsa_public))),
        ("rsa-empty", sequence(sequence(oid(RSA_ENCRYPTION), NULL), bits(b""))),
    ):
        vectors.refused(f"key-{label}", "key-kind", csr(request(common_name(), other), ECDSA_SHA256, vectors.sign))
        vectors.key(f"{label}", other, "key-kind")
    no_curve = sequence(sequence(oid(EC_PUBLIC_KEY)), bits(b"\x04" + point))
    vectors.refused("key-ec-no-curve", "key-kind", csr(request(common_name(), no_curve), ECDSA_SHA256, vectors.sign))
    dsa_spki = spki_of(dsa.generate_private_key(1024))  # noqa: S505
    vectors.refused("key-dsa", "key-kind", csr(request(common_name(), dsa_spki), ECDSA_SHA256, vectors.sign))
    for label, key in (
        ("ec-p256", vectors.p256),
        ("ec-p384", vectors.p384),
        ("ec-p521", vectors.p521),
        ("rsa-2048", vectors.rsa2048),
        ("rsa-4096", vectors.rsa4096),
    ):
        vectors.key(f"{label}", spki_of(key), None)
    odd_size = rsa.generate_private_key(65537, 2560)
    vectors.key("rsa-2560", spki_of(odd_size), None)


def add_weak_keys(vectors: Vectors) -> None:
    """Refused: weak keys, each with a signature that is good."""
    near = random_prime(1024)
    # Fermat's method takes about d^2 / (8 sqrt(n)) rounds for primes d apart, here less than one.
    neighbour = next_prime(near + 2**200)
    moduli: dict[str, tuple[int, int]] = {}
    for small in (3, 127, 751):
        factor = random_prime(2048 - small.bit_length() + 1)
        moduli[f"factor-{small}"] = (small * factor, math.lcm(small - 1, factor - 1))
    close = next_prime(near + 2)
    moduli["close-primes"] = (near * close, math.lcm(near - 1, close - 1))
    moduli["close-primes-200-bits"] = (near * neighbour, math.lcm(near - 1, neighbour - 1))
    for size, prime_count in ((2048, 126), (3072, 126), (4096, 225)):
        one, two = roca_prime(size // 2, prime_count), roca_prime(size // 2, prime_count)
        moduli[f"roca-{size}"] = (one * two, math.lcm(one - 1, two - 1))
    moduli["square"] = (near * near, near * (near - 1))
    for label, (modulus, order) in moduli.items():
        weak = rsa_spki(modulus)
        vectors.key(f"weak-{label}", weak, "weak-key")
        if math.gcd(65537, order) == 1:
            signed = csr(request(common_name(), weak), RSA_SHA256, textbook_signer(modulus, order))
            vectors.refused(f"key-weak-{label}", "weak-key", signed)


def add_signature_algorithms(vectors: Vectors) -> None:
    """Refused: signature algorithms; SHA-1 is accepted for the CC32xx alone."""
    vectors.rsa_request = request(common_name(), spki_of(vectors.rsa2048))
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    sha256 = sequence(oid("2.16.840.1.101.3.4.2.1"), NULL)
    pss_parameters = sequence(
        tlv(0xA0, sha256), tlv(0xA1, sequence(oid("1.2.840.113549.1.1.8"), sha256)), tlv(0xA2, integer(32))
    )
    for label, request_info, algorithm, signer in (
        ("ecdsa-sha224", vectors.ordinary, ECDSA_SHA224, ec_signer(vectors.p256, hashes.SHA224())),
        ("ecdsa-sha3", vectors.ordinary, ECDSA_SHA3_256, ec_signer(vectors.p256, hashes.SHA3_256())),
        ("ecdsa-on-rsa-key", vectors.rsa_request, ECDSA_SHA256, rsa_signer(vectors.rsa2048)),
        ("rsa-on-ecdsa-key", vectors.ordinary, RSA_SHA256, vectors.sign),
        ("rsa-md5", vectors.rsa_request, RSA_MD5, rsa_signer(vectors.rsa2048, hashes.MD5())),  # noqa: S303
        ("rsa-sha224", vectors.rsa_request, RSA_SHA224, rsa_signer(vectors.rsa2048, hashes.SHA224())),
        (
            "rsa-pss",
            vectors.rsa_request,
            sequence(oid(RSA_PSS), pss_parameters),
            lambda data: vectors.rsa2048.sign(data, pss, hashes.SHA256()),
        ),
        ("ed25519-on-ecdsa-key", vectors.ordinary, ED25519, vectors.sign),
        ("unknown", vectors.ordinary, sequence(oid("1.3.6.1.4.1.55555.3")), vectors.sign),
    ):
        vectors.refused(f"algorithm-{label}", "signature-algorithm", csr(request_info, algorithm, signer))
    sha1_ec = csr(vectors.ordinary, ECDSA_SHA1, ec_signer(vectors.p256, hashes.SHA1()))  # noqa: S303
    sha1_rsa = csr(vectors.rsa_request, RSA_SHA1, rsa_signer(vectors.rsa2048, hashes.SHA1()))  # noqa: S303
    for label, data in (("ecdsa-sha1", sha1_ec), ("rsa-sha1", sha1_rsa)):
        vectors.refused(f"algorithm-{label}", "signature-algorithm", data, STANDARD)
        vectors.accepted(f"cc32xx-{label}", data, profiles=CC32XX)


def add_signatures(vectors: Vectors) -> None:
    """Refused: signatures that are not by the request's key."""
    stranger = ec.generate_private_key(ec.SECP256R1())
    rsa_stranger = rsa.generate_private_key(65537, 2048)
    another = request(common_name("widget-2"), vectors.spki)
    for label, request_info, algorithm, signer in (
        ("forged", vectors.ordinary, ECDSA_SHA256, ec_signer(stranger)),
        ("forged-rsa", vectors.rsa_request, RSA_SHA256, rsa_signer(rsa_stranger)),
        ("over-other-request", vectors.ordinary, ECDSA_SHA256, lambda _data: vectors.sign(another)),
        ("over-other-hash", vectors.ordinary, ECDSA_SHA256, ec_signer(vectors.p256, hashes.SHA384())),
        ("rsa-over-other-hash", vectors.rsa_request, RSA_SHA256, rsa_signer(vectors.rsa2048, hashes.SHA384())),
        ("zero", vectors.ordinary, ECDSA_SHA256, lambda _data: encode_dss_signature(0, 0)),
        ("rsa-zero", vectors.rsa_request, RSA_SHA256, lambda _data: b"\x00" * 256),
    ):
        vectors.refused(f"signature-{label}", "bad-signature", csr(request_info, algorithm, signer))
    numbers = (b"\x7f" * 32, b"\x00\x90" + b"\x11" * 31)

    def malformed(*contents: bytes) -> Signer:
        return lambda _data: sequence(*(tlv(0x02, content) for content in contents))

    for label, request_info, algorithm, signer in (
        ("empty", vectors.ordinary, ECDSA_SHA256, lambda _data: b""),
        ("raw", vectors.ordinary, ECDSA_SHA256, lambda _data: b"\x30" + b"\x55" * 63),
        ("bytes-after", vectors.ordinary, ECDSA_SHA256, lambda data: vectors.sign(data) + b"\x00"),
        ("noise", vectors.ordinary, ECDSA_SHA256, lambda _data: b"\x55" * 70),
        ("without-leading-zero", vectors.ordinary, ECDSA_SHA256, malformed(numbers[0], numbers[1][1:])),
        ("padded", vectors.ordinary, ECDSA_SHA256, malformed(b"\x00" + numbers[0], numbers[1])),
        ("empty-integer", vectors.ordinary, ECDSA_SHA256, malformed(b"", numbers[1])),
        ("three-integers", vectors.ordinary, ECDSA_SHA256, malformed(*numbers, b"\x01")),
        ("rsa-short", vectors.rsa_request, RSA_SHA256, lambda data: rsa_signer(vectors.rsa2048)(data)[:-1]),
        ("rsa-long", vectors.rsa_request, RSA_SHA256, lambda data: b"\x00" + rsa_signer(vectors.rsa2048)(data)),
    ):
        vectors.refused(f"signature-form-{label}", "signature-encoding", csr(request_info, algorithm, signer))


def add_structures(vectors: Vectors) -> None:
    """Refused: anything other than a PKCS #10 request in DER."""
    good = csr(vectors.ordinary, ECDSA_SHA256, vectors.sign)
    signature = vectors.sign(vectors.ordinary)
    body = vectors.ordinary + ECDSA_SHA256 + bits(signature)
    info = [b"\x02\x01\x00", common_name(), vectors.spki, tlv(0xA0)]
    two_attributes = [sequence(oid(CHALLENGE), set_of(tlv(UTF8, b"pass"))), extensions(*HARMLESS_EXTENSIONS)]
    for label, reason, data in (
        ("empty-sequence", "not-a-csr", sequence()),
        ("truncated-1", "not-a-csr", good[:1]),
        ("truncated-half", "not-a-csr", good[: len(good) // 2]),
        ("truncated-last-byte", "not-a-csr", good[:-1]),
        ("spki-alone", "not-a-csr", vectors.spki),
        ("octet-string", "not-a-csr", octets(b"widget")),
        ("indefinite-length", "not-der", b"\x30\x80" + body + b"\x00\x00"),
        ("length-not-minimal", "not-der", b"\x30\x83\x00" + len(body).to_bytes(2) + body),
        (
            "inner-length-not-minimal",
            "not-der",
            sequence(b"\x30\x82\x00" + bytes([len(vectors.ordinary) - 3]) + vectors.ordinary[3:]),
        ),
        ("length-huge", "not-a-csr", b"\x30\x84\xff\xff\xff\xff" + body),
        ("length-reserved", "not-a-csr", b"\x30\xff" + body),
        ("tag-of-two-bytes", "not-der", b"\x3f\x30" + body),
        (
            "version-2",
            "csr-version",
            csr(request(common_name(), vectors.spki, version=integer(1)), ECDSA_SHA256, vectors.sign),
        ),
        (
            "version-negative",
            "csr-version",
            csr(request(common_name(), vectors.spki, version=integer(-1)), ECDSA_SHA256, vectors.sign),
        ),
        (
            "version-not-minimal",
            "csr-version",
            csr(request(common_name(), vectors.spki, version=b"\x02\x02\x00\x00"), ECDSA_SHA256, vectors.sign),
        ),
        ("no-version", "csr-structure", csr(sequence(*info[1:]), ECDSA_SHA256, vectors.sign)),
        ("no-attributes", "csr-structure", csr(sequence(*info[:3]), ECDSA_SHA256, vectors.sign)),
        ("fifth-element", "csr-structure", csr(sequence(*info, NULL), ECDSA_SHA256, vectors.sign)),
        ("no-signature", "not-a-csr", sequence(vectors.ordinary, ECDSA_SHA256)),
        ("fourth-element", "not-a-csr", sequence(body, NULL)),
        ("signature-octet-string", "not-a-csr", sequence(vectors.ordinary, ECDSA_SHA256, octets(signature))),
        (
            "signature-unused-bits",
            "signature-encoding",
            sequence(vectors.ordinary, ECDSA_SHA256, tlv(0x03, b"\x01", signature[:-1] + b"\x00")),
        ),
        ("signature-bit-string-empty", "signature-encoding", sequence(vectors.ordinary, ECDSA_SHA256, tlv(0x03))),
        ("algorithm-empty", "signature-algorithm", sequence(vectors.ordinary, sequence(), bits(signature))),
        ("subject-set", "csr-structure", vectors.plain(set_of(set_of(attribute(CN, "widget-1"))))),
        ("subject-attribute-alone", "csr-structure", vectors.plain(sequence(set_of(sequence(oid(CN)))))),
        (
            "subject-attribute-triple",
            "csr-structure",
            vectors.plain(sequence(set_of(sequence(oid(CN), tlv(UTF8, b"w"), NULL)))),
        ),
        ("subject-type-not-oid", "csr-structure", vectors.plain(sequence(set_of(sequence(NULL, tlv(UTF8, b"w")))))),
        ("attribute-not-sequence", "csr-structure", vectors.plain(common_name(), NULL)),
        ("attribute-without-values", "csr-structure", vectors.plain(common_name(), sequence(oid(CHALLENGE)))),
        (
            "attributes-unsorted",
            "not-der",
            vectors.plain(common_name(), b"".join(sorted(two_attributes, reverse=True))),
        ),
        ("nested-10000", "not-der", b"\x30\x80" * 1000),
    ):
        vectors.refused(f"structure-{label}", reason, data)
    vectors.refused("structure-bytes-after", "trailing-bytes", good + b"\x00")
    vectors.refused("structure-twice", "trailing-bytes", good + good)
    vectors.refused(
        "structure-oversized", "oversized", vectors.plain(name(attribute(CN, "widget-1"), attribute(O, "w" * 3000)))
    )


def add_cc32xx(vectors: Vectors) -> None:
    """Accepted for the TI CC32xx: requests as its SDK writes them."""
    udid = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
    spaced = " ".join(udid[start : start + 2] for start in range(0, 32, 2))

    def cc32xx_request(text: str) -> bytes:
        subject = name(
            attribute(C, "US", PRINTABLE), attribute(ST, "TX", PRINTABLE), attribute(L, "Dallas", PRINTABLE),
            attribute(SURNAME, "SUR", PRINTABLE), attribute(O, "TI", PRINTABLE), attribute(OU, "IoT", PRINTABLE),
            attribute(CN, text, PRINTABLE), attribute(EMAIL, "a@example.com", IA5),
        )  # fmt: skip
        return csr(request(subject, vectors.spki), ECDSA_SHA1, ec_signer(vectors.p256, hashes.SHA1()))  # noqa: S303

    vectors.accepted("cc32xx-sdk", cc32xx_request(udid), udid, CC32XX)
    vectors.accepted("cc32xx-upper-case", cc32xx_request(udid.upper()), udid, CC32XX)
    vectors.accepted("cc32xx-spaces", cc32xx_request(spaced), udid, CC32XX)
    vectors.accepted("cc32xx-colons", cc32xx_request(spaced.replace(" ", ":")), udid, CC32XX)
    vectors.accepted("cc32xx-truncated", cc32xx_request("1b2c3d"), "1b2c3d", CC32XX)
    vectors.accepted("cc32xx-empty", cc32xx_request(""), None, CC32XX)
    vectors.refused("cc32xx-sdk-under-standard", "subject", cc32xx_request(udid), STANDARD)
    email = name(attribute(CN, "widget-1"), attribute(EMAIL, "a@example.com", IA5))
    vectors.refused("common-name-beside-email", "subject", vectors.plain(email), STANDARD)


def main() -> None:
    """Write the vectors and their index."""
    for old in HERE.glob("*/*.der"):
        old.unlink()
    for folder in ("csr", "key"):
        (HERE / folder).mkdir(exist_ok=True)
    vectors = Vectors()
    for add in (
        add_kinds_of_key,
        add_subjects,
        add_common_names_without_device_id,
        add_common_names,
        add_wishes,
        add_ignored_wishes,
        add_algorithm_parameters,
        add_other_keys,
        add_weak_keys,
        add_signature_algorithms,
        add_signatures,
        add_structures,
        add_cc32xx,
    ):
        add(vectors)
    (HERE / "index.json").write_text(json.dumps(vectors.index, indent=1) + "\n")


if __name__ == "__main__":
    main()
