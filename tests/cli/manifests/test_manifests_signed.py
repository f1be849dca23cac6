"""Manifests that are worth their signatures, Microchip's and Infineon's: whatever is forged is refused."""

import base64
import contextlib
import json
import lzma
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import py7zr
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from secretfree.errors import Reason
from secretfree.registry.admission import Refusal, RowRefused
from secretfree.registry.gate import Gate
from secretfree.registry.key_material.jwk import base64url
from secretfree.request.keys import DevicePublicKey
from secretfree_cli.manifests import infineon
from secretfree_cli.manifests.generate import (
    SampleAuthority,
    jwk,
    microchip_payload,
    sample_devices,
    sign_microchip,
    write_infineon,
)
from secretfree_cli.manifests.infineon import InfineonManifest
from secretfree_cli.manifests.manifest import Manifest, ManifestError
from secretfree_cli.manifests.microchip import MicrochipManifest

SIGNER, STRANGER = SampleAuthority.create(), SampleAuthority.create("Somebody else")
PRIVATE, SECOND = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
FINGERPRINTS = [DevicePublicKey.from_key(key.public_key()).fingerprint for key in (PRIVATE, SECOND)]
Jws = dict[str, Any]


def outcomes(manifest: Manifest) -> list[str]:
    found = []
    for entry in manifest.entries():
        try:
            if entry.broken is not None:
                raise entry.broken
            found.append(str(Gate().admit(manifest.interpret(entry)).device_id))
        except RowRefused as refused:
            found.append(refused.reason)
    return found


def payload(unique_id: str = "bad", **changes: Any) -> dict[str, Any]:
    keys = [jwk(PRIVATE.public_key(), "0"), jwk(SECOND.public_key(), "1")]
    return {**microchip_payload(unique_id, keys), **changes}


def signed(unique_id: str = "bad", **changes: Any) -> Jws:
    return sign_microchip(payload(unique_id, **changes), SIGNER)


def microchip(tmp_path: Path, *objects: object, slot: str = "0") -> MicrochipManifest:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(objects))
    return MicrochipManifest(path, signers=[SIGNER.certificate], slot=slot)


def keys(*made: Mapping[str, Any]) -> dict[str, Any]:
    return {"publicKeySet": {"keys": list(made)}}


def point(**changes: str) -> dict[str, str]:
    return {**jwk(PRIVATE.public_key(), "0"), **changes}


def with_header(**changes: object) -> Jws:
    """A properly signed object whose protected header says something else."""
    jws = signed()
    header = json.loads(base64.urlsafe_b64decode(jws["protected"] + "=="))
    header = {name: value for name, value in {**header, **changes}.items() if value is not None}
    return resigned(jws, base64url(json.dumps(header).encode()))


def resigned(jws: Jws, protected: str) -> Jws:
    message = f"{protected}.{jws['payload']}".encode()
    r, s = decode_dss_signature(SIGNER.private_key.sign(message, ec.ECDSA(hashes.SHA256())))
    return {**jws, "protected": protected, "signature": base64url(r.to_bytes(32) + s.to_bytes(32))}


def changed_signature() -> Jws:
    jws = signed()
    first = jws["signature"][0]
    return {**jws, "signature": ("B" if first == "A" else "A") + jws["signature"][1:]}


def other_payload() -> Jws:
    return {**signed(), "payload": sign_microchip(payload("evil"), STRANGER)["payload"]}


FORGED: dict[str, tuple[Callable[[], object], str]] = {
    "signature of another object": (lambda: {**signed(), "signature": signed("x")["signature"]}, Refusal.SIGNATURE),
    "signature changed": (changed_signature, Refusal.SIGNATURE),
    "signature of zeros": (lambda: {**signed(), "signature": base64url(bytes(64))}, Refusal.SIGNATURE),
    "signature short": (lambda: {**signed(), "signature": base64url(bytes(63))}, Refusal.SIGNATURE),
    "signature in DER": (lambda: {**signed(), "signature": base64url(bytes(71))}, Refusal.SIGNATURE),
    "signature missing": (lambda: {**signed(), "signature": None}, Refusal.MALFORMED_ROW),
    "payload of another": (other_payload, Refusal.SIGNATURE),
    "by a stranger": (lambda: sign_microchip(payload(), STRANGER), Refusal.UNTRUSTED_SIGNER),
    "stranger in our name": (
        lambda: {**sign_microchip(payload(), STRANGER), "protected": signed()["protected"]},
        Refusal.SIGNATURE,
    ),
    "thumbprint missing": (lambda: with_header(**{"x5t#S256": None}), Refusal.UNTRUSTED_SIGNER),
    "kid of another": (lambda: with_header(kid="AAAA"), Refusal.UNTRUSTED_SIGNER),
    "alg none": (lambda: with_header(alg="none"), Reason.SIGNATURE_ALGORITHM),
    "alg HS256": (lambda: with_header(alg="HS256"), Reason.SIGNATURE_ALGORITHM),
    "critical extension": (lambda: with_header(crit=["b64"], b64=False), Refusal.SIGNATURE),
    "uniqueId of the header": (lambda: {**signed(), "header": {"uniqueId": "evil"}}, Refusal.IDENTITY_MISMATCH),
    "no header": (lambda: {k: v for k, v in signed().items() if k != "header"}, Refusal.IDENTITY_MISMATCH),
    "header no object": (lambda: {**signed(), "header": "bad"}, Refusal.IDENTITY_MISMATCH),
    "uniqueId missing": (lambda: signed(uniqueId=None), Refusal.MISSING_DEVICE_ID),
    "uniqueId no id": (lambda: signed("a/b"), Refusal.DEVICE_ID),
    "uniqueId a number": (lambda: signed(uniqueId=7), Refusal.MALFORMED_ROW),
    "version without keys": (lambda: signed(version=2), Refusal.MISSING_PUBLIC_KEY),
    "another version": (lambda: signed(version=4), Refusal.MALFORMED_ROW),
    "a version that is no number": (lambda: signed(version=True), Refusal.MALFORMED_ROW),
    "no keys": (lambda: signed(publicKeySet={}), Refusal.MISSING_PUBLIC_KEY),
    "no slot 0": (lambda: signed(**keys(jwk(PRIVATE.public_key(), "2"))), Refusal.MISSING_PUBLIC_KEY),
    "slot 0 twice": (lambda: signed(**keys(point(), point())), Refusal.MISSING_PUBLIC_KEY),
    "RSA key": (lambda: signed(**keys(point(kty="RSA"))), Reason.KEY_KIND),
    "another curve": (lambda: signed(**keys(point(crv="secp256k1"))), Reason.KEY_KIND),
    "point off the curve": (lambda: signed(**keys(point(x=base64url(bytes(31) + b"\x07")))), Reason.KEY_KIND),
    "point at zero": (lambda: signed(**keys(point(x=base64url(bytes(32)), y=base64url(bytes(32))))), Reason.KEY_KIND),
    "coordinate short": (lambda: signed(**keys(point(x=base64url(bytes(31))))), Reason.KEY_KIND),
    "coordinate missing": (lambda: signed(**keys({"kid": "0", "kty": "EC", "crv": "P-256"})), Refusal.MALFORMED_ROW),
    "padded base64url": (lambda: {**signed(), "signature": signed()["signature"] + "=="}, Refusal.MALFORMED_ROW),
    "base64 of one letter": (lambda: {**signed(), "protected": "A"}, Refusal.MALFORMED_ROW),
    "protected no JSON": (lambda: {**signed(), "protected": base64url(b"oops")}, Refusal.MALFORMED_ROW),
    "a text": (lambda: {"payload": 1}, Refusal.MALFORMED_ROW),
}


@pytest.mark.parametrize("kind", list(FORGED))
def test_a_forged_or_malformed_object_is_refused_and_its_neighbours_are_taken(kind: str, tmp_path: Path) -> None:
    forge, reason = FORGED[kind]
    assert outcomes(microchip(tmp_path, signed("one"), forge(), signed("two"))) == ["one", reason, "two"]


@pytest.mark.parametrize("slot", [0, 1])
def test_the_chosen_slots_key_is_taken(slot: int, tmp_path: Path) -> None:
    manifest = microchip(tmp_path, signed("one"), slot=str(slot))
    (entry,) = manifest.entries()
    record = Gate().admit(manifest.interpret(entry))
    assert record.public_key is not None
    assert record.public_key.fingerprint == FINGERPRINTS[slot]
    assert record.attributes["part-number"] == "ATECC608B-TNGTLSU"


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
@pytest.mark.parametrize("version", [1, 3])
def test_both_payload_versions_give_keys_on_each_curve(version: int, curve: ec.EllipticCurve, tmp_path: Path) -> None:
    key = ec.generate_private_key(curve)
    manifest = microchip(tmp_path, signed("one", version=version, **keys(jwk(key.public_key(), "0"))))
    (entry,) = manifest.entries()
    record = Gate().admit(manifest.interpret(entry))
    assert record.public_key == DevicePublicKey.from_key(key.public_key())


def test_a_manifest_without_keys_says_what_to_order(tmp_path: Path) -> None:
    without = {name: value for name, value in payload("one", version=2).items() if name != "publicKeySet"}
    manifest = microchip(tmp_path, sign_microchip(without, SIGNER))
    with pytest.raises(RowRefused, match="no public keys; order a manifest of version 1 or 3"):
        manifest.interpret(next(iter(manifest.entries())))


def test_one_of_several_signers_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps([signed("one"), sign_microchip(payload("two"), STRANGER)]))
    manifest = MicrochipManifest(path, signers=[SIGNER.certificate, STRANGER.certificate])
    assert outcomes(manifest) == ["one", "two"]


def certificate(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, *extensions: tuple[x509.ExtensionType, bool]
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Made by hand")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key, hashes.SHA256())


def test_a_signer_without_a_p256_key_cannot_have_signed(tmp_path: Path) -> None:
    rsa_key = rsa.generate_private_key(65537, 2048)
    with pytest.raises(ManifestError, match="P-256"):
        MicrochipManifest(microchip(tmp_path).path, signers=[certificate(rsa_key)])


def test_a_signer_without_the_extension_is_named_by_its_keys_identifier(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with_identifier = certificate(key, (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False))
    without = certificate(key)
    jws = sign_microchip(payload("one"), SampleAuthority(with_identifier, key))
    header = json.loads(base64.urlsafe_b64decode(jws["protected"] + "=="))
    header["x5t#S256"] = base64url(without.fingerprint(hashes.SHA256()))
    body = {**jws, "protected": base64url(json.dumps(header).encode())}
    r, s = decode_dss_signature(key.sign(f"{body['protected']}.{body['payload']}".encode(), ec.ECDSA(hashes.SHA256())))
    body["signature"] = base64url(r.to_bytes(32) + s.to_bytes(32))
    path = tmp_path / "m.json"
    path.write_text(json.dumps([body]))
    assert outcomes(MicrochipManifest(path, signers=[without])) == ["one"]


CHIPS = ["CD163394010000000000", "CD163394010000000001"]


def pem(issued: x509.Certificate) -> bytes:
    return issued.public_bytes(Encoding.PEM)


def archive(tmp_path: Path, members: Mapping[str, bytes], *, inner_name: str = "R1_GUID_E0E0_Certs.7z") -> Path:
    inner, outer = tmp_path / "inner.7z", tmp_path / "outer.7z"
    with py7zr.SevenZipFile(inner, "w") as packed:
        for name, data in members.items():
            packed.writestr(data, name)
    with py7zr.SevenZipFile(outer, "w") as packed:
        packed.write(inner, inner_name)
        packed.writestr(b"of no use here", "R1_GUID_E0F0_Keys.7z")
    return outer


def good_certificate() -> bytes:
    return pem(SIGNER.issue("InfineonIoTNode", PRIVATE.public_key()))


def read(path: Path, *authorities: x509.Certificate, slot: str | None = None) -> list[str]:
    return outcomes(InfineonManifest(path, authorities=authorities or [SIGNER.certificate], slot=slot))


FORGED_CERTIFICATES: dict[str, tuple[Callable[[], bytes], str]] = {
    "by a stranger": (lambda: pem(STRANGER.issue("x", PRIVATE.public_key())), Refusal.UNTRUSTED_SIGNER),
    "in our CA's name": (
        lambda: pem(SampleAuthority.create().issue("x", PRIVATE.public_key())),
        Refusal.SIGNATURE,
    ),
    "changed": (
        lambda: pem(
            x509.load_der_x509_certificate(
                SIGNER.issue("chip-a", PRIVATE.public_key()).public_bytes(Encoding.DER).replace(b"chip-a", b"chip-b")
            )
        ),
        Refusal.SIGNATURE,
    ),
    "curve not allowed": (
        lambda: pem(SIGNER.issue("x", ec.generate_private_key(ec.SECP256K1()).public_key())),
        Reason.KEY_KIND,
    ),
    "no certificate": (lambda: b"rubbish", Refusal.MALFORMED_ROW),
    "empty": (lambda: b"", Refusal.MALFORMED_ROW),
    "too long": (lambda: b"A" * (infineon.MAX_CERTIFICATE + 1), Refusal.MALFORMED_ROW),
    "a key": (lambda: DevicePublicKey.from_key(PRIVATE.public_key()).pem().encode(), Refusal.MALFORMED_ROW),
}


@pytest.mark.parametrize("kind", list(FORGED_CERTIFICATES))
def test_a_certificate_that_does_not_chain_is_refused_and_its_neighbour_is_taken(kind: str, tmp_path: Path) -> None:
    forge, reason = FORGED_CERTIFICATES[kind]
    path = archive(tmp_path, {f"{CHIPS[0]}_E0E0.pem": forge(), f"{CHIPS[1]}_E0E0.pem": good_certificate()})
    assert read(path) == [reason, CHIPS[1]]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "cd16_E0E0.pem", "x.pem", f"{CHIPS[0]}.pem"])
def test_a_member_of_another_name_is_refused_and_nothing_is_written_anywhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = archive(tmp_path, {"a.pem": b"x", f"{CHIPS[1]}_E0E0.pem": good_certificate()})
    packed = path.read_bytes()
    if name != "x.pem":
        inner = tmp_path / "renamed.7z"
        with py7zr.SevenZipFile(inner, "w") as made:
            made.writestr(b"x", "placeholder")
            made.files.files_list[0]["filename"] = name
            made.writestr(good_certificate(), f"{CHIPS[1]}_E0E0.pem")
        outer = tmp_path / "outer2.7z"
        with py7zr.SevenZipFile(outer, "w") as made:
            made.write(inner, "R1_Certs.7z")
        path, packed = outer, outer.read_bytes()
    found = None
    with contextlib.suppress(ManifestError):  # py7zr refuses an archive whole in which a name leads out of its folder
        found = read(path)
    assert found in (None, [Refusal.MALFORMED_ROW, CHIPS[1]])
    assert list(folder.iterdir()) == []
    assert path.read_bytes() == packed


def test_an_inner_archive_alone_is_read_as_well(tmp_path: Path) -> None:
    archive(tmp_path, {f"{CHIPS[0]}_E0E0.pem": good_certificate()})
    assert read(tmp_path / "inner.7z") == [CHIPS[0]]


def test_a_slot_takes_its_certificates_alone(tmp_path: Path) -> None:
    second = pem(SIGNER.issue("x", SECOND.public_key()))
    path = archive(tmp_path, {f"{CHIPS[0]}_E0E0.pem": good_certificate(), f"{CHIPS[0]}_E0E1.pem": second})
    with pytest.raises(ManifestError, match="objects E0E0, E0E1"):
        read(path)
    manifest = InfineonManifest(path, authorities=[SIGNER.certificate], slot="E0E1")
    (entry,) = manifest.entries()
    record = Gate().admit(manifest.interpret(entry))
    assert record.public_key is not None
    assert record.public_key.fingerprint == FINGERPRINTS[1]


def test_an_archive_without_a_certificate_of_the_slot_is_an_error_and_not_an_import_of_nothing(tmp_path: Path) -> None:
    path = archive(tmp_path, {f"{CHIPS[0]}_E0E0.pem": good_certificate()})
    with pytest.raises(ManifestError, match="no chip's certificate of the object E0E9"):
        read(path, slot="E0E9")


@pytest.mark.parametrize(
    ("extensions", "expected"),
    [
        ([(x509.BasicConstraints(ca=False, path_length=None), True)], False),
        ([], False),
        ([(x509.BasicConstraints(ca=True, path_length=0), True)], True),
    ],
    ids=["leaf", "no constraints", "ca"],
)
def test_only_a_ca_certificate_may_have_issued(
    extensions: list[tuple[x509.ExtensionType, bool]], expected: bool, tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    authority = SampleAuthority(certificate(key, *extensions), key)
    path = archive(tmp_path, {f"{CHIPS[0]}_E0E0.pem": pem(authority.issue("x", PRIVATE.public_key()))})
    assert read(path, authority.certificate) == [CHIPS[0] if expected else Refusal.UNTRUSTED_SIGNER]


@pytest.mark.parametrize("allowed", [True, False])
def test_a_ca_whose_key_usage_forbids_signing_certificates_is_not_trusted(allowed: bool, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(True, False, False, False, False, allowed, True, False, False)
    extensions = ((x509.BasicConstraints(ca=True, path_length=0), True), (usage, True))
    authority = SampleAuthority(certificate(key, *extensions), key)
    path = archive(tmp_path, {f"{CHIPS[0]}_E0E0.pem": pem(authority.issue("x", PRIVATE.public_key()))})
    assert read(path, authority.certificate) == [CHIPS[0] if allowed else Refusal.UNTRUSTED_SIGNER]


def test_an_archive_that_unpacks_to_more_than_is_sane_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path, {f"{CHIPS[0]}_E0E0.pem": b"\0" * 50_000_000})
    assert path.stat().st_size < 100_000
    assert read(path) == [Refusal.MALFORMED_ROW]
    monkeypatch.setattr(infineon, "MAX_ARCHIVE", 1_000_000)
    with pytest.raises(ManifestError, match=r"damaged|more than"):
        read(path)


@pytest.mark.parametrize("where", ["inner", "outer"])
def test_an_archive_that_declares_more_than_is_sane_is_refused_before_it_is_unpacked(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(infineon, "MAX_ARCHIVE", 1_000_000)
    path = archive(tmp_path, {f"{CHIPS[0]}_E0E0.pem": b"\0" * 2_000_000 if where == "inner" else good_certificate()})
    if where == "outer":
        with py7zr.SevenZipFile(path, "w") as packed:
            packed.writestr(b"\0" * 2_000_000, "R1_Certs.7z")
    unpack, unpacked = infineon._extract, []

    def watched(packed: py7zr.SevenZipFile, targets: list[str] | None, *others: Any) -> None:
        unpacked.append("inner" if targets is None else "outer")
        unpack(packed, targets, *others)

    monkeypatch.setattr(infineon, "_extract", watched)
    with pytest.raises(ManifestError, match=r"more than .* bytes: 2000000"):
        read(path)
    assert where not in unpacked


@pytest.mark.parametrize("method", [py7zr.FILTER_DEFLATE, py7zr.FILTER_BZIP2, py7zr.FILTER_ZSTD])
def test_a_method_that_unpacks_whatever_is_declared_is_refused(method: int, tmp_path: Path) -> None:
    path = tmp_path / "m.7z"
    with py7zr.SevenZipFile(path, "w", filters=[{"id": method}]) as packed:
        packed.writestr(good_certificate(), f"{CHIPS[0]}_E0E0.pem")
    with pytest.raises(ManifestError, match=r"packed with .*; accepted: BCJ, COPY, LZMA, LZMA2"):
        read(path)


@pytest.mark.parametrize("method", [py7zr.FILTER_LZMA, py7zr.FILTER_LZMA2, py7zr.FILTER_COPY])
def test_what_7_zip_packs_with_by_default_is_read(method: int, tmp_path: Path) -> None:
    path = tmp_path / "m.7z"
    with py7zr.SevenZipFile(path, "w", filters=[{"id": method}]) as packed:
        packed.writestr(good_certificate(), f"{CHIPS[0]}_E0E0.pem")
    assert read(path) == [CHIPS[0]]


def test_a_list_of_members_that_would_fill_the_memory_is_never_made(tmp_path: Path) -> None:
    path = tmp_path / "m.7z"
    path.write_bytes(header_bomb(1_000_000))
    assert path.stat().st_size < 1_000
    tracemalloc.start()
    try:
        with pytest.raises(ManifestError):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


def header_bomb(members: int) -> bytes:
    """An archive that is but a packed header, which says that there are so many members without a name."""

    def number(value: int) -> bytes:
        return b"\xff" + struct.pack("<Q", value)

    header = b"\x01\x05" + number(members) + b"\x19" + number(members) + bytes(members) + b"\0\0"
    packed = lzma.compress(header, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 24}])
    pack_info = b"\x06" + number(0) + number(1) + b"\x09" + number(len(packed)) + b"\0"
    folder = b"\x0b" + number(1) + b"\0" + number(1) + b"\x21\x21" + number(1) + b"\x18"
    streams = b"\x17" + pack_info + b"\x07" + folder + b"\x0c" + number(len(header)) + b"\0\0"
    start = struct.pack("<QQI", len(packed), len(streams), zlib.crc32(streams))
    return b"7z\xbc\xaf\x27\x1c\0\4" + struct.pack("<I", zlib.crc32(start)) + start + packed + streams


def test_an_archive_of_too_many_members_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path, {f"{number}.pem": b"x" for number in range(4)})
    monkeypatch.setattr(infineon, "MAX_MEMBERS", 3)
    with pytest.raises(ManifestError, match="4 members"):
        read(path)


def many_archives(tmp_path: Path, count: int) -> Path:
    """An archive of `count` inner ones, each with two chips."""
    outer = tmp_path / "many.7z"
    with py7zr.SevenZipFile(outer, "w") as packed:
        for number in range(count):
            inner = tmp_path / f"inner{number}.7z"
            with py7zr.SevenZipFile(inner, "w") as made:
                for chip in range(2):
                    made.writestr(good_certificate(), f"{CHIPS[0][:-2]}{number}{chip}_E0E0.pem")
            packed.write(inner, f"R{number}_GUID_E0E0_Certs.7z")
    return outer


def test_the_limit_of_members_holds_for_all_inner_archives_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = many_archives(tmp_path, 3)
    monkeypatch.setattr(infineon, "MAX_MEMBERS", 6)
    assert len(read(path)) == 6
    monkeypatch.setattr(infineon, "MAX_MEMBERS", 5)
    with pytest.raises(ManifestError, match="6 members"):
        read(path)


def test_the_limit_of_bytes_holds_for_all_inner_archives_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = many_archives(tmp_path, 3)
    assert len(read(path)) == 6
    monkeypatch.setattr(infineon, "MAX_ARCHIVE", 5 * len(good_certificate()))
    with pytest.raises(ManifestError, match="unpacks to more than"):
        read(path)


def test_an_archive_of_several_objects_a_chip_requires_a_choice(tmp_path: Path) -> None:
    members = {f"{chip}_{slot}.pem": good_certificate() for chip in CHIPS for slot in ("E0E0", "E0E1", "E0E2")}
    path = archive(tmp_path, members)
    with pytest.raises(ManifestError, match="objects E0E0, E0E1, E0E2") as caught:
        read(path)
    assert "--slot" in str(caught.value.hint)
    assert read(path, slot="E0E2") == CHIPS


def test_an_encrypted_archive_is_said_to_be_the_wrong_one(tmp_path: Path) -> None:
    path = tmp_path / "keys.7z"
    with py7zr.SevenZipFile(path, "w", password="x") as packed:
        packed.writestr(b"x", "a.pem")
    with pytest.raises(ManifestError, match="encrypted"):
        read(path)


def test_an_archive_without_certificates_says_what_it_should_have(tmp_path: Path) -> None:
    path = archive(tmp_path, {"a.pem": b"x"}, inner_name="Something.7z")
    with pytest.raises(ManifestError, match=r"_Certs\.7z"):
        read(path)


@pytest.mark.parametrize("damage", ["cut", "middle", "noise"])
def test_a_damaged_archive_is_an_error_of_the_manifest_and_not_a_crash(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "m.7z"
    write_infineon(path, sample_devices(3, lambda number: CHIPS[0][:-1] + str(number)), SIGNER)
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(
        {
            "cut": data[:-20],
            "middle": data[:middle] + bytes(30) + data[middle + 30 :],
            "noise": data[:6] + b"\x55" * 200,
        }[damage]
    )
    with pytest.raises(ManifestError):
        read(path)
