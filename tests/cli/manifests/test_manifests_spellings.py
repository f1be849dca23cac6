"""Manifests as factories' tools spell them: encodings, line ends, armour, columns, kinds of key material."""

import base64
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from secretfree.errors import Reason
from secretfree.registry.admission import Refusal, RowRefused
from secretfree.registry.gate import Gate
from secretfree.registry.key_material.jwk import base64url
from secretfree.registry.key_material.keys import read_certificates, read_key_material, read_key_text
from secretfree.registry.key_material.text import normalised, text_stream
from secretfree.request import der
from secretfree.request.keys import DevicePublicKey
from secretfree_cli.manifests.detect import FormatOptions, detect_format, open_manifest
from secretfree_cli.manifests.generate import jwk
from secretfree_cli.manifests.infineon import InfineonManifest
from secretfree_cli.manifests.manifest import Manifest, ManifestError

KEY = ec.derive_private_key(0xA11CE, ec.SECP256R1())
OTHER = ec.derive_private_key(0xB0B, ec.SECP384R1())
RSA = rsa.generate_private_key(65537, 2048)
PUBLIC = DevicePublicKey.from_key(KEY.public_key())
TEXT = PUBLIC.registry_text()

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(
    subject: str, key: Key = KEY, issuer: str = "Widget CA", by: Key = KEY, *, ca: bool | None = False
) -> bytes:
    """A certificate in PEM; with `ca=None` it has no basicConstraints."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(int.from_bytes(subject.encode()[:18]) + 1)
        .not_valid_before(datetime(2025, 1, 1))  # noqa: DTZ001 - the library's
        .not_valid_after(datetime(2035, 1, 1))  # noqa: DTZ001
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    return builder.sign(by, hashes.SHA256()).public_bytes(Encoding.PEM)


def request(common_name: str, key: Key = KEY) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(name(common_name))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def der_of(pem: bytes) -> bytes:
    return base64.b64decode(b"".join(pem.splitlines()[1:-1]))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def outcomes(manifest: Manifest) -> Iterator[tuple[int, str, str | None]]:
    for entry in manifest.entries():
        try:
            if entry.broken is not None:
                raise entry.broken
            record = Gate().admit(manifest.interpret(entry))
            yield entry.line, record.device_id, record.public_key and record.public_key.fingerprint
        except RowRefused as refused:
            yield entry.line, refused.reason, None


def read(path: Path, content: bytes | str, **options: object) -> list[str]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [said for _, said, _ in outcomes(open_manifest(path, FormatOptions(**options)))]  # type: ignore[arg-type]


# --- one text decoder ---

ENCODED: dict[str, Callable[[str], bytes]] = {
    "UTF-8": lambda text: text.encode(),
    "byte order mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16 with its mark": lambda text: text.encode("utf-16"),
    "UTF-16 LE without a mark": lambda text: text.encode("utf-16-le"),
    "UTF-16 BE without a mark": lambda text: text.encode("utf-16-be"),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "bare CR": lambda text: text.replace("\n", "\r").encode(),
    "UTF-16 and CRLF": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
    "NUL at the end": lambda text: text.encode() + b"\0",
    "Ctrl-Z at the end": lambda text: text.encode() + b"\x1a",
    "Ctrl-Z and NULs at the end": lambda text: text.encode() + b"\x1a" + b"\0" * 100,
    "no last line end": lambda text: text.rstrip("\n").encode(),
    "blank lines before": lambda text: b"\n\n" + text.encode(),
}
TEXTS = {
    "csv": f"device-id,public-key\nd-1,{TEXT}\nd-2,{TEXT}\n",
    "jsonl": "".join(json.dumps({"device-id": f"d-{n}", "public-key": TEXT}) + "\n" for n in (1, 2)),
    "json": json.dumps([{"device-id": f"d-{n}", "public-key": TEXT} for n in (1, 2)], indent=1) + "\n",
    "pem": "".join(f"# d-{n}\n{PUBLIC.pem()}" for n in (1, 2)),
    "base64": "".join(b64(der_of(request(f"d-{n}"))) + "\n" for n in (1, 2)),
    "dynamodb": json.dumps({"Items": [{"device-id": {"S": f"d-{n}"}, "pubkey": {"S": TEXT}} for n in (1, 2)]}) + "\n",
    "aws-bulk": "".join(
        json.dumps({"ThingName": f"d-{n}", "SerialNumber": str(n), "CSR": request(f"d-{n}").decode()}) + "\n"
        for n in (1, 2)
    ),
    "espressif": "node_id,certs\n" + "".join(f'd-{n},"{certificate(f"d-{n}").decode()}"\n' for n in (1, 2)),
}


@pytest.mark.parametrize("encoding", list(ENCODED))
@pytest.mark.parametrize("form", list(TEXTS))
def test_every_text_format_is_read_in_every_encoding_and_with_every_line_end(
    form: str, encoding: str, tmp_path: Path
) -> None:
    path = tmp_path / "m"
    assert read(path, ENCODED[encoding](TEXTS[form])) == ["d-1", "d-2"]
    assert detect_format(path) == form


@pytest.mark.parametrize("encoding", list(ENCODED))
@pytest.mark.parametrize("material", [PUBLIC.pem().encode(), request("d-1"), certificate("d-1")])
def test_a_key_file_is_read_in_every_encoding_and_with_every_line_end(encoding: str, material: bytes) -> None:
    assert read_key_material(ENCODED[encoding](material.decode())).public_key == PUBLIC


@pytest.mark.parametrize(
    "around",
    [
        "Certificate Request:\n    Data:\n        Subject: CN = d-1\n{}",
        "{}\nmade by a tool\n",
        "subject=CN = d-1\nissuer=CN = Widget CA\n\n{}\nanother line",
        "  {}",
    ],
)
@pytest.mark.parametrize("material", [PUBLIC.pem().encode(), request("d-1"), certificate("d-1")])
def test_text_around_a_block_is_passed_over(around: str, material: bytes, tmp_path: Path) -> None:
    text = around.format(material.decode())
    assert read_key_material(text.encode()).public_key == PUBLIC
    if b"PUBLIC KEY" not in material:
        assert read(tmp_path / "m.pem", text) == ["d-1"]


def test_blocks_that_were_joined_without_a_line_end_are_cut_apart(tmp_path: Path) -> None:
    text = request("d-1").rstrip(b"\n") + request("d-2").replace(b"\n", b"") + request("d-3")
    assert read(tmp_path / "m.pem", text) == ["d-1", "d-2", "d-3"]


def test_line_ends_that_a_program_wrote_out_are_line_ends() -> None:
    assert read_key_text(PUBLIC.pem().replace("\n", "\\n")).public_key == PUBLIC


# --- CSV as spreadsheets write it ---


@pytest.mark.parametrize(
    "text",
    [
        f"sep=;\r\ndevice-id;public-key\r\nd-1;{TEXT}\r\n",
        f"sep=,\ndevice-id,public-key\nd-1,{TEXT}\n",
        f'"sep=;"\ndevice-id;public-key\nd-1;{TEXT}\n',
        f'device-id, public-key\nd-1, "{TEXT}"\n',
        f'"device-id"; "public-key"\n"d-1";   "{TEXT}"\n',
        f"Device ID,Public Key\nd-1,{TEXT}\n",
        f"DEVICE_ID,PUBLIC_KEY\nd-1,{TEXT}\n",
        f" Device-Id , public  key \nd-1,{TEXT}\n",
        f"deviceId\tpublicKey\nd-1\t{TEXT}\n",
        f'Device ID,Public Key,Status\nd-1,"{PUBLIC.pem()}",allowed\n',
    ],
)
def test_a_csv_is_read_as_spreadsheets_write_it(text: str, tmp_path: Path) -> None:
    assert read(tmp_path / "m.csv", text) == ["d-1"]


def test_a_line_is_counted_from_the_files_beginning_behind_a_separator_line(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(f"sep=;\ndevice-id;public-key\nd-1;x\nd-2;{TEXT}\n")
    assert [line for line, _, _ in outcomes(open_manifest(path, FormatOptions()))] == [3, 4]


def test_options_name_a_suppliers_columns_in_any_case_and_spacing(tmp_path: Path) -> None:
    text = f"Serial  No,The KEY,Lot Number\nd-1,{TEXT},7\n"
    columns = {"device-id": "serial no", "public-key": "the key"}
    assert read(tmp_path / "m.csv", text, columns=columns, ignored_columns=["LOT NUMBER"]) == ["d-1"]


def test_columns_that_differ_in_case_alone_are_not_chosen_by_chance(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="two columns"):
        read(tmp_path / "m.csv", f"Serial,serial,k\na,b,{TEXT}\n", columns={"device-id": "SERIAL", "public-key": "k"})


# --- key material in columns ---

PKCS1 = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1)
RSA_JWK = {
    "kty": "RSA",
    "n": base64url(RSA.public_key().public_numbers().n.to_bytes(256)),
    "e": "AQAB",
}
MATERIAL: dict[str, tuple[str, Key]] = {
    "key in PEM": (PUBLIC.pem(), KEY),
    "key in base64 of PEM": (TEXT, KEY),
    "key in base64 of DER": (b64(PUBLIC.spki), KEY),
    "key in hex": (PUBLIC.spki.hex(), KEY),
    "certificate in PEM": (certificate("d-1").decode(), KEY),
    "certificate in base64 of DER": (b64(der_of(certificate("d-1"))), KEY),
    "certificate in base64 of PEM": (b64(certificate("d-1")), KEY),
    "certificate with its chain": ((certificate("d-1") + certificate("Widget CA", OTHER, ca=True)).decode(), KEY),
    "request in PEM": (request("d-1").decode(), KEY),
    "request in base64 of DER": (b64(der_of(request("d-1"))), KEY),
    "request in base64 of PEM": (b64(request("d-1")), KEY),
    "PKCS #1 in PEM": (PKCS1.decode(), RSA),
    "PKCS #1 in base64 of DER": (b64(der_of(PKCS1)), RSA),
    "JWK": (json.dumps(jwk(KEY.public_key(), "0")), KEY),
    "JWK of RSA": (json.dumps(RSA_JWK), RSA),
}


def fingerprint(key: Key) -> str:
    return DevicePublicKey.from_key(key.public_key()).fingerprint


@pytest.mark.parametrize("kind", list(MATERIAL))
def test_a_column_holds_any_kind_of_key_material(kind: str, tmp_path: Path) -> None:
    text, key = MATERIAL[kind]
    quoted = text.replace('"', '""')
    (tmp_path / "m.csv").write_text(f'device-id,public-key\nd-1,"{quoted}"\n')
    (tmp_path / "m.jsonl").write_text(json.dumps({"device-id": "d-1", "public-key": text}) + "\n")
    for path in tmp_path.iterdir():
        found = list(outcomes(open_manifest(path, FormatOptions())))
        assert [(said, key) for _, said, key in found] == [("d-1", fingerprint(key))]


def test_a_jwk_may_stand_in_json_as_the_object_that_it_is(tmp_path: Path) -> None:
    line = json.dumps({"device-id": "d-1", "public-key": jwk(KEY.public_key(), "0")})
    assert read(tmp_path / "m.jsonl", line) == ["d-1"]


def forged(pem: bytes) -> str:
    data = der_of(pem)
    return b64(data[:-1] + bytes([data[-1] ^ 1]))


PRIVATE = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
OLD_PRIVATE = RSA.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
ENCRYPTED = OLD_PRIVATE.replace("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n", 1)
REFUSED_MATERIAL: dict[str, tuple[str, str]] = {
    "request that is forged": (forged(request("d-1")), Reason.BAD_SIGNATURE),
    "request of another device": (request("d-2").decode(), Refusal.IDENTITY_MISMATCH),
    "certificate of another device": (certificate("d-2").decode(), Refusal.IDENTITY_MISMATCH),
    "certificate of a CA": (certificate("d-1", ca=True).decode(), Refusal.CA_CERTIFICATE),
    "private key": (PRIVATE, Refusal.MALFORMED_ROW),
    "private key of old": (OLD_PRIVATE, Refusal.MALFORMED_ROW),
    "private key, encrypted": (ENCRYPTED, Refusal.MALFORMED_ROW),
    "private JWK": (json.dumps({**jwk(KEY.public_key(), "0"), "d": "AAAA"}), Refusal.MALFORMED_ROW),
    "JWK of another kind": (json.dumps({"kty": "OKP", "crv": "Ed25519", "x": "AA"}), Reason.KEY_KIND),
    "JWK off its curve": (json.dumps({**jwk(KEY.public_key(), "0"), "x": base64url(bytes(32))}), Reason.KEY_KIND),
    "JWK of a negative kind": (json.dumps({**RSA_JWK, "e": "Aw"}), Reason.KEY_KIND),
    "two keys": (PUBLIC.pem() * 2, Refusal.MALFORMED_ROW),
    "block without its end": (PUBLIC.pem()[:-20], Refusal.MALFORMED_ROW),
    "CRL": ("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", Refusal.MALFORMED_ROW),
}


@pytest.mark.parametrize("kind", list(REFUSED_MATERIAL))
def test_other_key_material_is_refused_and_its_neighbours_are_taken(kind: str, tmp_path: Path) -> None:
    text, reason = REFUSED_MATERIAL[kind]
    rows = [("d-0", TEXT), ("d-1", text.replace('"', '""')), ("d-2", TEXT)]
    content = "device-id,public-key\n" + "".join(f'{device},"{key}"\n' for device, key in rows)
    assert read(tmp_path / "m.csv", content) == ["d-0", reason, "d-2"]


# --- foreign parsers ---


def changed(pem: bytes, old: bytes, new: bytes) -> bytes:
    data = der_of(pem)
    assert old in data
    return f"-----BEGIN CERTIFICATE-----\n{b64(data.replace(old, new, 1))}\n-----END CERTIFICATE-----\n".encode()


def hostile_certificates() -> dict[str, bytes]:
    good = certificate("d-9")
    constraints = bytes.fromhex("0603551d13") + b"\x01\x01\xff" + b"\x04\x02\x30\x00"
    return {
        "version 8": changed(good, b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07"),
        "version 200": changed(good, b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x7f"),
        "extension that is no DER": changed(good, constraints, constraints[:-1] + b"\x05"),
        "name that is no text": changed(good, b"\x0c\x03d-9", b"\x0c\x03\xff\xfe\xfd"),
        "date that is none": changed(good, b"250101000000Z", b"259901000000Z"),
        "curve that is none": changed(good, bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d030109")),
        "nothing": b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        "deep": f"-----BEGIN CERTIFICATE-----\n{b64(b'0' * 1200)}\n-----END CERTIFICATE-----\n".encode(),
    }


@pytest.mark.parametrize("kind", list(hostile_certificates()))
def test_a_certificate_that_the_library_cannot_read_costs_its_own_row_alone(kind: str, tmp_path: Path) -> None:
    bad = hostile_certificates()[kind]
    path = tmp_path / "m.pem"
    path.write_bytes(certificate("d-1") + bad + certificate("d-2"))
    found = list(outcomes(open_manifest(path, FormatOptions())))
    line = certificate("d-1").count(b"\n") + 1
    assert [said for _, said, _ in found if said.startswith("d-")] == ["d-1", "d-2"]
    assert found[1][0] == line
    csv = 'device-id,public-key\nd-1,"{}"\nd-9,"{}"\nd-2,"{}"\n'
    rows = (certificate("d-1").decode(), bad.decode(), certificate("d-2").decode())
    first, second, third = read(tmp_path / "m.csv", csv.format(*rows))
    assert (first, second.startswith("d-"), third) == ("d-1", False, "d-2")


@pytest.mark.parametrize("kind", list(hostile_certificates()))
def test_a_signers_certificate_that_cannot_be_read_is_an_answer_and_no_crash(kind: str) -> None:
    data = hostile_certificates()[kind]
    for form in (data, der_of(data)):
        try:
            read = read_certificates(form)
        except RowRefused as refused:
            assert refused.reason == Refusal.MALFORMED_ROW  # noqa: PT017
        else:
            assert all(list(one.extensions) is not None for one in read)


def test_a_7z_reader_that_raises_anything_is_an_error_of_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import py7zr

    path = tmp_path / "m.7z"
    path.write_bytes(b"7z\xbc\xaf\x27\x1c")
    authority = x509.load_pem_x509_certificate(certificate("CA", ca=True))
    for error in (RecursionError, KeyError, MemoryError, AssertionError):

        def raising(*_: object, error: type[Exception] = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(py7zr, "SevenZipFile", raising)
        with pytest.raises(ManifestError, match=error.__name__):
            list(InfineonManifest(path, authorities=[authority]).entries())


# --- certificates of CAs ---


def chain(*leaves: str, ca_first: bool = False) -> bytes:
    above = certificate("Widget CA", OTHER, "Widget Root", KEY, ca=True) + certificate(
        "Widget Root", KEY, "Widget Root", KEY, ca=True
    )
    parts = [certificate(leaf, KEY, "Widget CA", OTHER) for leaf in leaves]
    return above + b"".join(parts) if ca_first else b"".join(part + above for part in parts)


@pytest.mark.parametrize("ca_first", [False, True])
def test_the_issuers_of_a_bundles_devices_are_passed_over_and_counted(ca_first: bool, tmp_path: Path) -> None:
    path = tmp_path / "m.pem"
    path.write_bytes(chain("d-1", "d-2", "d-3", ca_first=ca_first))
    manifest = open_manifest(path, FormatOptions())
    assert [said for _, said, _ in outcomes(manifest)] == ["d-1", "d-2", "d-3"]
    assert manifest.remarks == ("m.pem: 2 CA certificates passed over as issuers",)


@pytest.mark.parametrize("alone", [certificate("d-9", ca=True), certificate("Other CA", ca=True)])
def test_a_ca_certificate_that_issued_nothing_in_the_bundle_is_refused(alone: bytes, tmp_path: Path) -> None:
    assert read(tmp_path / "m.pem", alone + chain("d-1")) == [Refusal.CA_CERTIFICATE, "d-1"]
    assert read(tmp_path / "alone.pem", alone) == [Refusal.CA_CERTIFICATE]


def test_an_old_root_without_basic_constraints_is_an_issuer_and_named(tmp_path: Path) -> None:
    above = certificate("Old CA", OTHER, "Old Root", KEY, ca=None) + certificate("Old Root", KEY, "Old Root", ca=None)
    path = tmp_path / "m.pem"
    path.write_bytes(certificate("d-1", KEY, "Old CA", OTHER, ca=None) + above + certificate("d-2", KEY, ca=None))
    manifest = open_manifest(path, FormatOptions())
    assert [said for _, said, _ in outcomes(manifest)] == ["d-1", "d-2"]
    assert manifest.remarks == (
        "m.pem: 2 CA certificates passed over as issuers",
        "m.pem: of these, 2 without basicConstraints: 'CN=Old CA', 'CN=Old Root'",
    )


def test_a_certificate_that_says_that_it_is_no_ca_is_a_device_whoever_names_it(tmp_path: Path) -> None:
    pem = certificate("d-1", KEY, "d-2", OTHER) + certificate("d-2", OTHER)
    assert read(tmp_path / "m.pem", pem) == ["d-1", "d-2"]


def test_the_issuers_of_a_folders_devices_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_bytes(chain("d-1"))
    (tmp_path / "b.pem").write_bytes(certificate("d-2", KEY, "Widget CA", OTHER))
    (tmp_path / "ca.pem").write_bytes(certificate("Widget CA", OTHER, "Widget Root", KEY, ca=True))
    (tmp_path / "ca.der").write_bytes(der_of(certificate("Widget CA", OTHER, "Widget Root", KEY, ca=True)))
    (tmp_path / "stray.pem").write_bytes(certificate("Other CA", ca=True))
    manifest = open_manifest(tmp_path, FormatOptions())
    assert [said for _, said, _ in outcomes(manifest)] == ["d-1", "d-2", Refusal.CA_CERTIFICATE]
    assert len(manifest.remarks) == 1


def test_a_ca_by_its_key_usage_alone_is_a_ca(tmp_path: Path) -> None:
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    builder = x509.CertificateBuilder().subject_name(name("d-1")).issuer_name(name("d-1"))
    builder = builder.public_key(KEY.public_key()).serial_number(1).add_extension(usage, critical=True)
    builder = builder.not_valid_before(datetime(2025, 1, 1)).not_valid_after(datetime(2035, 1, 1))  # noqa: DTZ001
    pem = builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)
    assert read(tmp_path / "m.pem", pem) == [Refusal.CA_CERTIFICATE]


# --- formats of other projects ---


def test_awss_bulk_registration_gives_devices_with_their_serial_numbers(tmp_path: Path) -> None:
    path = tmp_path / "bulk.json"
    path.write_text(
        json.dumps({"ThingName": "d-1", "SerialNumber": "S1", "CSR": request("d-1").decode()})
        + "\n"
        + json.dumps({"ThingName": "d-2", "SerialNumber": "S2", "CSR": forged(request("d-2"))})
        + "\n"
        + json.dumps({"ThingName": "d-3", "CSR": request("d-3").decode(), "Location": "x"})
    )
    manifest = open_manifest(path, FormatOptions())
    assert manifest.format == "aws-bulk"
    assert [said for _, said, _ in outcomes(manifest)] == ["d-1", Reason.BAD_SIGNATURE, Refusal.UNKNOWN_FIELD]
    assert dict(manifest.interpret(next(manifest.entries())).attributes) == {"serial-number": "S1"}


def test_rainmakers_list_is_read_and_a_certificate_of_another_node_refused(tmp_path: Path) -> None:
    text = f'node_id,certs\nd-1,"{certificate("d-1").decode()}"\nd-2,"{certificate("d-9").decode()}"\nd-3\n'
    assert read(tmp_path / "m.csv", text) == ["d-1", Refusal.IDENTITY_MISMATCH, Refusal.MALFORMED_ROW]


def test_lines_of_base64_are_certificates_or_requests_and_name_their_devices(tmp_path: Path) -> None:
    lines = [b64(der_of(certificate("d-1"))), b64(request("d-2")), b64(PUBLIC.spki), "rubbish", forged(request("d-3"))]
    assert read(tmp_path / "m.txt", "\n".join(lines)) == [
        "d-1", "d-2", Refusal.MISSING_DEVICE_ID, Reason.NOT_BASE64, Reason.BAD_SIGNATURE,
    ]  # fmt: skip


def test_an_array_of_json_is_read_as_json_lines_are(tmp_path: Path) -> None:
    rows = [{"Device ID": "d-1", "publicKey": TEXT, "status": "blocked"}, {"device-id": "d-2", "public-key": "x"}]
    assert read(tmp_path / "m.json", json.dumps(rows)) == ["d-1", Reason.NOT_BASE64]


# --- what is no text ---


def zipped(member: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, "x")

    return write


BINARY: dict[str, tuple[Callable[[Path], object], str]] = {
    "gzip": (lambda path: path.write_bytes(gzip.compress(TEXTS["csv"].encode())), "gunzip"),
    "workbook": (zipped("xl/workbook.xml"), "CSV"),
    "zip": (zipped("keys.csv"), "unpack"),
    "old workbook": (lambda path: path.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600)), "CSV"),
    "PDF": (lambda path: path.write_bytes(b"%PDF-1.7\n"), "supplier"),
    "DER": (lambda path: path.write_bytes(der_of(certificate("d-1"))), "enroll device"),
    "noise": (lambda path: path.write_bytes(bytes(range(256)) * 20), "text files"),
}


@pytest.mark.parametrize("forced", [None, "csv", "jsonl", "pem"])
@pytest.mark.parametrize("kind", list(BINARY))
def test_a_binary_file_is_refused_with_what_to_do(kind: str, forced: str | None, tmp_path: Path) -> None:
    write, cure = BINARY[kind]
    write(tmp_path / "m")
    with pytest.raises(ManifestError) as caught:
        open_manifest(tmp_path / "m", FormatOptions(), forced=forced)
    assert cure in str(caught.value.hint)
    assert "column" not in str(caught.value)


def test_control_characters_in_one_row_cost_that_row_alone(tmp_path: Path) -> None:
    content = f"device-id,public-key\nd-1,{TEXT}\nd\0\1\2\3\4\5\6,{TEXT}\nd-2,{TEXT}\n"
    assert read(tmp_path / "m.csv", content) == ["d-1", Refusal.DEVICE_ID, "d-2"]


def test_der_is_told_by_what_it_holds(tmp_path: Path) -> None:
    pkcs1 = der_of(PKCS1)
    assert der.first_element(pkcs1).tag == der.SEQUENCE
    found: Sequence[DevicePublicKey] = [
        read_key_material(data).public_key for data in (pkcs1, der_of(request("d-1")), PUBLIC.spki)
    ]
    assert [one.fingerprint for one in found] == [fingerprint(RSA), fingerprint(KEY), fingerprint(KEY)]


@given(st.binary(max_size=300), st.sampled_from(["utf-8", "utf-16", "utf-16-le"]))
def test_a_text_is_the_same_read_whole_or_as_a_stream(data: bytes, encoding: str) -> None:
    text = data.decode("latin-1").encode(encoding) if encoding != "utf-8" else data
    assert text_stream(io.BytesIO(text)).read() == normalised(text)
    assert b"\r" not in normalised(text)
