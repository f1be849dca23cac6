"""Bundles of PEM blocks: bad blocks are refused by line, and no device gets the key of another."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from secretfree.errors import Reason
from secretfree.registry.admission import Refusal
from secretfree.registry.gate import Gate
from secretfree.request.device_profile import DeviceProfile
from secretfree_cli.manifests.generate import SampleAuthority
from secretfree_cli.manifests.pem import PemBundle, PemFolder
from secretfree_cli.manifests.single import SingleDevice
from support.manifest_rows import KEY, PRIVATE, outcomes, request, written


def tampered(pem: bytes) -> bytes:
    """The same request for another name of the same length: its signature no longer fits."""
    der = x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER).replace(b"dev-2", b"dev-9")
    return x509.load_der_x509_csr(der).public_bytes(Encoding.PEM)


def test_a_bundle_takes_keys_requests_and_certificates_and_refuses_the_rest_by_line(tmp_path: Path) -> None:
    authority = SampleAuthority.create()
    certificate = authority.issue("dev-3", PRIVATE.public_key()).public_bytes(Encoding.PEM)
    private = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    blocks = [
        (b"# dev-1\n" + KEY.pem().encode(), "dev-1", 1),
        (request("dev-2"), "dev-2", 0),
        (certificate, "dev-3", 0),
        (KEY.pem().encode(), Refusal.MISSING_DEVICE_ID, 0),
        (tampered(request("dev-2")), Reason.BAD_SIGNATURE, 0),
        (private, Refusal.MALFORMED_ROW, 0),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", Refusal.MALFORMED_ROW, 0),
        (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", Refusal.MALFORMED_ROW, 0),
        (b"device-id: dev-4\n" + KEY.pem().encode(), "dev-4", 1),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n", Refusal.MALFORMED_ROW, 0),
        (b"# dev-5\n" + KEY.pem().encode(), "dev-5", 1),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n", Refusal.MALFORMED_ROW, 0),
    ]
    expected, line = [], 1
    for block, said, offset in blocks:
        expected.append((line + offset, said))
        line += block.count(b"\n")
    path = written(tmp_path / "m.pem", b"".join(block for block, _, _ in blocks))
    assert list(outcomes(PemBundle(path))) == expected


def key_block() -> list[str]:
    return KEY.pem().strip().splitlines()


BEGIN, BODY, END = key_block()[0], key_block()[1:-1], key_block()[-1]

TORN_BUNDLES: dict[str, tuple[list[str], list[tuple[int, str | None]]]] = {
    "a block without its end": (["# dev-1", BEGIN, BODY[0], "# dev-2", BEGIN, *BODY, END], [(2, None), (5, "dev-2")]),
    "and the next without a name": (["# dev-1", BEGIN, BODY[0], BEGIN, *BODY, END], [(2, None), (4, "")]),
    "two in a row without their ends": (
        ["# dev-1", BEGIN, "# dev-2", BEGIN, "# dev-3", BEGIN, *BODY, END],
        [(2, None), (4, None), (6, "dev-3")],
    ),
    "two blocks run together": (["# dev-1", BEGIN, "# dev-2", *BODY, END], [(2, None)]),
    "a block without its beginning": (["# dev-1", *BODY, END, BEGIN, *BODY, END], [(4, None), (5, "")]),
    "a name over another": (["# dev-1", "# dev-2", BEGIN, *BODY, END], [(3, "dev-2")]),
}


@pytest.mark.parametrize("kind", list(TORN_BUNDLES))
def test_a_torn_bundle_gives_no_device_the_key_of_another(kind: str, tmp_path: Path) -> None:
    lines, expected = TORN_BUNDLES[kind]
    reasons: dict[str | None, str] = {None: Refusal.MALFORMED_ROW, "": Refusal.MISSING_DEVICE_ID}
    found = list(outcomes(PemBundle(written(tmp_path / "m.pem", "\n".join(lines) + "\n"))))
    assert found == [(line, reasons.get(said, said)) for line, said in expected]


@pytest.mark.parametrize(
    ("name_line", "expected"),
    [
        ("# dev-2", "dev-2"),
        ("subject=C = DE, CN = dev-2", "dev-2"),
        ("# dev-1", Refusal.IDENTITY_MISMATCH),
        ("device-id: dev-1", Refusal.IDENTITY_MISMATCH),
        ("subject=CN = dev-1", Refusal.IDENTITY_MISMATCH),
        ("# the first of the lot", "dev-2"),
        ("# lot/1", "dev-2"),
    ],
)
def test_a_bundles_request_is_not_taken_under_the_name_of_another_device(
    name_line: str, expected: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "m.pem", f"{name_line}\n".encode() + request("dev-2"))
    assert list(outcomes(PemBundle(path))) == [(2, expected)]


def certificate_of(device_id: str) -> bytes:
    return SampleAuthority.create().issue(device_id, PRIVATE.public_key()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize("material", [request, certificate_of], ids=["request", "certificate"])
@pytest.mark.parametrize(
    ("common_name", "profile", "expected"),
    [
        ("dev-1", DeviceProfile.STANDARD, "dev-1"),
        ("dev-2", DeviceProfile.STANDARD, Refusal.IDENTITY_MISMATCH),
        ("DEV-1", DeviceProfile.STANDARD, Refusal.IDENTITY_MISMATCH),
        ("no device id", DeviceProfile.STANDARD, "dev-1"),
        ("dev", DeviceProfile.TI_CC32XX, "dev-1"),  # its firmware may cut the name short
    ],
)
def test_a_device_is_not_enrolled_with_what_says_that_it_is_another_devices(
    material: Callable[[str], bytes], common_name: str, profile: DeviceProfile, expected: str
) -> None:
    manifest = SingleDevice("dev-1", material(common_name), "file.pem", profile)
    assert [said for _, said in outcomes(manifest, Gate(profile))] == [expected]


def test_a_device_that_has_a_bare_public_key_is_whatever_it_is_called() -> None:
    assert list(outcomes(SingleDevice("dev-1", KEY.pem().encode(), "file.pem"))) == [(1, "dev-1")]


def test_certificates_of_several_devices_in_one_file_are_not_taken_for_one(tmp_path: Path) -> None:
    authority = SampleAuthority.create()
    leaf, other = (
        authority.issue(name, PRIVATE.public_key()).public_bytes(Encoding.PEM) for name in ("dev-1", "dev-2")
    )
    written(tmp_path / "a-chain.pem", leaf + authority.pem())
    written(tmp_path / "b-upside-down.pem", authority.pem() + leaf)
    written(tmp_path / "c-two-devices.pem", leaf + other)
    found = [said for _, said in outcomes(PemFolder(tmp_path))]
    assert found == ["dev-1", "dev-1", Refusal.MALFORMED_ROW]


def test_a_block_too_long_is_refused_and_what_follows_is_read(tmp_path: Path) -> None:
    long = b"-----BEGIN PUBLIC KEY-----\n" + b"A" * 70_000 + b"\n-----END PUBLIC KEY-----\n"
    path = written(tmp_path / "m.pem", long + request("dev-2"))
    assert [said for _, said in outcomes(PemBundle(path))] == [Refusal.MALFORMED_ROW, "dev-2"]
