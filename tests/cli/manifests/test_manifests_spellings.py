"""Manifests as factories' tools spell them: encodings, line ends, armour, columns, kinds of key material."""

import gzip
import json
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from secretfree.errors import Reason
from secretfree.registry.admission import Refusal, RowRefused
from secretfree.registry.gate import Gate
from secretfree_cli.manifests.detect import FormatOptions, detect_format, open_manifest
from secretfree_cli.manifests.generate import jwk
from secretfree_cli.manifests.infineon import InfineonManifest
from secretfree_cli.manifests.manifest import Manifest, ManifestError
from support.key_samples import (
    ENCODED,
    KEY,
    MATERIAL,
    OTHER,
    PUBLIC,
    REFUSED_MATERIAL,
    TEXT,
    TEXT_AROUND,
    b64,
    certificate,
    der_of,
    fingerprint,
    forged,
    hostile_certificates,
    name,
    request,
)


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


@pytest.mark.parametrize("around", TEXT_AROUND)
@pytest.mark.parametrize("material", [request("d-1"), certificate("d-1")])
def test_text_around_a_block_is_passed_over(around: str, material: bytes, tmp_path: Path) -> None:
    assert read(tmp_path / "m.pem", around.format(material.decode())) == ["d-1"]


def test_blocks_that_were_joined_without_a_line_end_are_cut_apart(tmp_path: Path) -> None:
    text = request("d-1").rstrip(b"\n") + request("d-2").replace(b"\n", b"") + request("d-3")
    assert read(tmp_path / "m.pem", text) == ["d-1", "d-2", "d-3"]


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


@pytest.mark.parametrize("kind", list(REFUSED_MATERIAL))
def test_other_key_material_is_refused_and_its_neighbours_are_taken(kind: str, tmp_path: Path) -> None:
    text, reason = REFUSED_MATERIAL[kind]
    rows = [("d-0", TEXT), ("d-1", text.replace('"', '""')), ("d-2", TEXT)]
    content = "device-id,public-key\n" + "".join(f'{device},"{key}"\n' for device, key in rows)
    assert read(tmp_path / "m.csv", content) == ["d-0", reason, "d-2"]


# --- foreign parsers ---


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
    assert manifest.remarks == ("m.pem: 2 CA certificates skipped as issuers",)


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
        "m.pem: 2 CA certificates skipped as issuers",
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


# --- what is not text ---


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
