"""Malformed rows: each refused with its line and reason, the good rows around it kept."""

import io
import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from secretfree.errors import Reason
from secretfree.registry.admission import Refusal
from secretfree_cli.manifests.csv_rows import CsvManifest, csv_records
from secretfree_cli.manifests.detect import FormatOptions, open_manifest
from secretfree_cli.manifests.dynamodb_items import DynamoDbManifest
from secretfree_cli.manifests.espressif import EspressifManifest
from secretfree_cli.manifests.generate import SampleAuthority, sample_devices, write_espressif
from secretfree_cli.manifests.json_lines import JsonLinesManifest
from secretfree_cli.manifests.manifest import MAX_ENTRY_BYTES, ManifestError, bounded_lines
from secretfree_cli.manifests.pem import PemBundle, PemFolder
from support.manifest_rows import ANY_NAME, GOOD, K1_HEX, KEY, OFF_CURVE, PRIVATE, WEAK_HEX, outcomes, request, written

CSV_ROWS = {
    "no fields but one": ("dev-x", Refusal.MALFORMED_ROW),
    "a field too many": (f"dev-x,{GOOD},allowed,,extra", Refusal.MALFORMED_ROW),
    "no device": (f",{GOOD},,", Refusal.MISSING_DEVICE_ID),
    "no key": ("dev-x,,,", Refusal.MISSING_PUBLIC_KEY),
    "nothing": (",,,", Refusal.MISSING_DEVICE_ID),
    "slash in the id": (f"dev/x,{GOOD},,", Refusal.DEVICE_ID),
    "wildcard in the id": (f"dev-+,{GOOD},,", Refusal.DEVICE_ID),
    "batch's prefix": (f"batch#1,{GOOD},,", Refusal.DEVICE_ID),
    "inner space": (f"dev x,{GOOD},,", Refusal.DEVICE_ID),
    "long id": (f"{'x' * 65},{GOOD},,", Refusal.DEVICE_ID),
    "NUL in the id": (f"dev\0x,{GOOD},,", Refusal.DEVICE_ID),
    "id in other letters": (f"gerät,{GOOD},,", Refusal.DEVICE_ID),
    "bytes that are no UTF-8": (f"dev\udcffx,{GOOD},,", Refusal.DEVICE_ID),
    "terminal escape": (f"\x1b[2Jx,{GOOD},,", Refusal.DEVICE_ID),
    "key not base64": ("dev-x,!!!,,", Reason.NOT_BASE64),
    "key of base64 text": ("dev-x,aGVsbG8=,,", Reason.KEY_KIND),
    "key cut short": (f"dev-x,{GOOD[:-12]},,", None),
    "key with one letter changed": (f"dev-x,{GOOD[:60]}*{GOOD[61:]},,", Reason.NOT_BASE64),
    "long key": (f"dev-x,{'A' * 9000},,", Reason.OVERSIZED),
    "very long key": (f"dev-x,{'A' * 20000},,", Refusal.MALFORMED_ROW),
    "key off its curve": (f"dev-x,{OFF_CURVE},,", Reason.KEY_KIND),
    "curve not allowed": (f"dev-x,{K1_HEX},,", Reason.KEY_KIND),
    "RSA-1024": (f"dev-x,{WEAK_HEX},,", Reason.KEY_KIND),
    "private key": (
        f"dev-x,{PRIVATE.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()).hex()},,",
        Reason.KEY_KIND,
    ),
    "other fingerprint": (f"dev-x,{GOOD},,{'0' * 64}", Refusal.FINGERPRINT_MISMATCH),
    "unknown status": (f"dev-x,{GOOD},maybe,", Refusal.STATUS),
    "text behind a quote": (f'"dev"x,{GOOD},,', Refusal.MALFORMED_ROW),
    "quote never closed": (f'"dev-x,{GOOD},,', Refusal.MALFORMED_ROW),
    "key in an open quote": (f'dev-x,"{GOOD},,', Refusal.MALFORMED_ROW),
    "line of a megabyte": ("x" * 1_000_000, Refusal.MALFORMED_ROW),
    "another delimiter": (f"dev-x;{GOOD};;", Refusal.MALFORMED_ROW),
    "JSON": ('{"device-id": "dev-x"}', Refusal.MALFORMED_ROW),
}


@pytest.mark.parametrize("kind", list(CSV_ROWS))
def test_a_malformed_csv_row_is_refused_and_its_neighbours_are_taken(kind: str, tmp_path: Path) -> None:
    row, reason = CSV_ROWS[kind]
    text = f"device-id,public-key,status,key-fingerprint\ndev-1,{GOOD},,\n{row}\ndev-2,{GOOD},,\ndev-3,{GOOD},,\n"
    found = list(outcomes(CsvManifest(written(tmp_path / "m.csv", text))))
    assert [found[0], *found[2:]] == [(2, "dev-1"), (4, "dev-2"), (5, "dev-3")]
    line, said = found[1]
    assert line == 3
    assert said == reason if reason else said != "dev-x"


def test_there_are_thirty_kinds_of_malformed_rows() -> None:
    assert len(CSV_ROWS) >= 30


def test_a_multi_line_pem_in_quotes_is_one_row_with_the_line_of_its_beginning(tmp_path: Path) -> None:
    text = f'device-id,public-key\r\n\r\ndev-1,"{KEY.pem()}"\r\ndev-2,{GOOD}\r\n'
    pem_lines = KEY.pem().count("\n")
    assert list(outcomes(CsvManifest(written(tmp_path / "m.csv", text)))) == [(3, "dev-1"), (4 + pem_lines, "dev-2")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_header_determines_the_delimiter(delimiter: str, tmp_path: Path) -> None:
    text = f"\ufeffpublic-key{delimiter}device-id\n{GOOD}{delimiter}dev-1\n"
    assert list(outcomes(CsvManifest(written(tmp_path / "m.csv", text)))) == [(2, "dev-1")]


def test_a_suppliers_own_columns_are_named_and_passed_over(tmp_path: Path) -> None:
    text = f"Serial,Key,Colour,Lot\nS1,{GOOD},red,7\n"
    manifest = CsvManifest(
        written(tmp_path / "m.csv", text),
        columns={"device-id": "Serial", "public-key": "Key", "attributes.colour": "Colour"},
        ignored=["Lot"],
    )
    (entry,) = manifest.entries()
    row = manifest.interpret(entry)
    assert (row.device_id, row.public_key, dict(row.attributes)) == ("S1", GOOD, {"colour": "red"})


@pytest.mark.parametrize(
    ("header", "columns", "ignored"),
    [
        ("device-id,public-key,statsu", {}, []),
        ("public-key", {}, []),
        ("device-id,device-id", {}, []),
        ("device-id,Device-ID", {}, []),
        ("device-id,x", {"public-key": "y"}, ["x"]),
        ("device-id,public-key", {}, ["Lot"]),
        ('"device-id', {}, []),
    ],
    ids=["misspelt", "no-id", "twice", "twice-in-case", "absent-column", "absent-ignored", "broken-header"],
)
def test_a_header_that_does_not_say_what_is_what_refuses_the_whole_file(
    header: str, columns: dict[str, str], ignored: list[str], tmp_path: Path
) -> None:
    manifest = CsvManifest(written(tmp_path / "m.csv", header + "\n"), columns=columns, ignored=ignored)
    with pytest.raises(ManifestError):
        list(manifest.entries())


@given(st.binary(max_size=400))
def test_csv_of_any_bytes_is_cut_into_records_on_growing_lines(data: bytes) -> None:
    lines = [entry.line for entry in csv_records(io.BytesIO(data))]
    assert lines == sorted(lines)
    assert all(1 <= line <= data.count(b"\n") + data.count(b"\r") + 1 for line in lines)


JSON_LINES = {
    "not JSON": ("{oops", Refusal.MALFORMED_ROW),
    "a list": ("[1]", Refusal.MALFORMED_ROW),
    "a number": ("1", Refusal.MALFORMED_ROW),
    "null": ("null", Refusal.MALFORMED_ROW),
    "NaN": ('{"device-id": NaN}', Refusal.MALFORMED_ROW),
    "a name twice": (f'{{"device-id":"a","device-id":"b","public-key":"{GOOD}"}}', Refusal.MALFORMED_ROW),
    "unknown field": (f'{{"device-id":"a","public-key":"{GOOD}","statsu":"blocked"}}', Refusal.UNKNOWN_FIELD),
    "id no text": (f'{{"device-id":1,"public-key":"{GOOD}"}}', Refusal.MALFORMED_ROW),
    "key no text": ('{"device-id":"a","public-key":["x"]}', Refusal.MALFORMED_ROW),
    "attributes no object": (f'{{"device-id":"a","public-key":"{GOOD}","attributes":[1]}}', Refusal.MALFORMED_ROW),
    "attribute no text": (f'{{"device-id":"a","public-key":"{GOOD}","attributes":{{"x":1}}}}', Refusal.MALFORMED_ROW),
    "nested without end": ("[" * 100_000, Refusal.MALFORMED_ROW),
    "lone surrogate": (f'{{"device-id":"\\ud800","public-key":"{GOOD}"}}', Refusal.DEVICE_ID),
    "long line": ('{"device-id":"' + "x" * (MAX_ENTRY_BYTES + 5) + '"}', Refusal.MALFORMED_ROW),
}


@pytest.mark.parametrize("kind", list(JSON_LINES))
def test_a_malformed_json_line_is_refused_and_its_neighbours_are_taken(kind: str, tmp_path: Path) -> None:
    row, reason = JSON_LINES[kind]
    good = [json.dumps({"device-id": f"dev-{number}", "public-key": GOOD}) for number in (1, 2)]
    path = written(tmp_path / "m.jsonl", f"{good[0]}\n\n{row}\n{good[1]}")
    assert list(outcomes(JsonLinesManifest(path))) == [(1, "dev-1"), (3, reason), (4, "dev-2")]


def item(device_id: str, key: str = GOOD) -> str:
    return json.dumps({"device-id": {"S": device_id}, "pubkey": {"S": key}}, indent=1)


@pytest.mark.parametrize(
    "document",
    [
        f"[{item('dev-1')},{item('dev-2')}]",
        f"{item('dev-1')}\n{item('dev-2')}",
        f'{{"Items": [{item("dev-1")}, {item("dev-2")}], "Count": 2, "ConsumedCapacity": {{"x": 1}}}}',
        f'{{"Item": {item("dev-1")}}}\n{{"Item": {item("dev-2")}}}',
        json.dumps([{"device-id": "dev-1", "pubkey": GOOD}, {"device-id": "dev-2", "pubkey": GOOD, "note": 7}]),
        f"[{item('dev-1')}]\n[{item('dev-2')}]\n",
        f'{{"Items": [{item("dev-1")}], "NextToken": "x"}}\n{{"Items": [{item("dev-2")}], "Count": 1}}\n',
        f'[{{"Items": [{item("dev-1")}], "Count": 1}},\n{{"Items": [{item("dev-2")}]}}]',
    ],
    ids=["array", "objects", "scan", "export", "plain", "two arrays", "two pages", "gathered pages"],
)
def test_existing_items_are_read_in_each_form_that_tools_write(document: str, tmp_path: Path) -> None:
    found = outcomes(DynamoDbManifest(written(tmp_path / "m.json", document)))
    assert [said for _, said in found] == ["dev-1", "dev-2"]


def test_attributes_and_status_of_existing_items_are_taken_over(tmp_path: Path) -> None:
    document = {
        "device-id": {"S": "dev-1"},
        "pubkey": {"S": GOOD},
        "status": {"S": "blocked"},
        "attributes": {"M": {"colour": {"S": "red"}}},
    }
    manifest = DynamoDbManifest(written(tmp_path / "m.json", json.dumps([document])))
    (entry,) = manifest.entries()
    row = manifest.interpret(entry)
    assert (row.status, dict(row.attributes)) == ("blocked", {"colour": "red"})


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ('{"device-id": {"N": "1"}}', Refusal.MALFORMED_ROW),
        ('{"device-id": {"S": "a"}, "pubkey": {"B": "AA=="}}', Refusal.MALFORMED_ROW),
        ('{"device-id": {"S": "batch#1"}, "batch": {"S": "#batches"}}', Refusal.DEVICE_ID),
        ('{"Item": 1}', Refusal.MALFORMED_ROW),
        ('{"device-id": {"S": "a"}, "attributes": 1}', Refusal.ATTRIBUTE),
        ('{"pubkey": "' + GOOD + '"}', Refusal.MISSING_DEVICE_ID),
        ('{"device-id": "a" "b"}', Refusal.MALFORMED_ROW),
    ],
)
def test_a_malformed_item_is_refused_and_its_neighbours_are_taken(broken: str, reason: str, tmp_path: Path) -> None:
    text = f"[\n{json.dumps({'device-id': 'dev-1', 'pubkey': GOOD})},\n{broken},\n{item('dev-2')}\n]"
    found = list(outcomes(DynamoDbManifest(written(tmp_path / "m.json", text))))
    assert found == [(2, "dev-1"), (3, reason), (4, "dev-2")]


def test_lines_are_bounded_in_memory_and_counted_right() -> None:
    stream = io.BytesIO(b"a\n" + b"x" * 25 + b"\nb")
    assert list(bounded_lines(stream, 10)) == [(1, b"a\n", False), (2, b"x" * 10, True), (3, b"b", False)]
    assert list(bounded_lines(io.BytesIO(b"x" * 9 + b"\nb"), 10)) == [(1, b"x" * 9 + b"\n", False), (2, b"b", False)]


def test_a_folders_files_are_refused_by_name(tmp_path: Path) -> None:
    written(tmp_path / "a.pem", b"rubbish")
    written(tmp_path / "b.pem", KEY.pem())
    written(tmp_path / "c.csr", request("dev-2"))
    written(tmp_path / "d.der", KEY.spki)
    written(tmp_path / "e.pem", b"A" * 70_000)
    manifest = PemFolder(tmp_path)
    assert [entry.member for entry in manifest.entries()] == ["a.pem", "b.pem", "c.csr", "d.der", "e.pem"]
    assert [said for _, said in outcomes(manifest)] == [Reason.NOT_BASE64, "b", "dev-2", "d", Refusal.MALFORMED_ROW]


@ANY_NAME
def test_a_folders_file_whose_name_is_no_utf_8_is_refused_by_a_name_that_can_be_shown(tmp_path: Path) -> None:
    written(tmp_path / os.fsdecode(b"ger\xe4t.pem"), KEY.pem())
    written(tmp_path / "good.pem", KEY.pem())
    manifest = PemFolder(tmp_path)
    assert [entry.member for entry in manifest.entries()] == ["ger\\xe4t.pem", "good.pem"]
    assert [said for _, said in outcomes(manifest)] == [Refusal.DEVICE_ID, "good"]
    assert len(manifest.digest()) == 64


@ANY_NAME
def test_a_manifest_whose_name_is_no_utf_8_has_a_name_that_can_be_shown(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xe4")
    folder.mkdir()
    path = written(folder / os.fsdecode(b"m\xfcnchen.pem"), KEY.pem())
    assert (PemFolder(folder).name, PemBundle(path).name) == ("\\xe4", "m\\xfcnchen.pem")


def test_espressif_rows_are_refused_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    write_espressif(path, sample_devices(2, "esp-{}".format), SampleAuthority.create())
    good = path.read_text()
    pem = KEY.pem()
    rows = [
        ("b48a0a000000,x,y", Refusal.MALFORMED_ROW),
        (f'B48A0A000000,esp-9,"{good.split(chr(34))[1]}"', Refusal.IDENTITY_MISMATCH),
        (f'B48A0A000000,esp-9,"{pem}"', Refusal.MALFORMED_ROW),
        ("B48A0A000000,esp-9", Refusal.MALFORMED_ROW),
    ]
    written(path, good.replace("\r\n", "\n") + "\n".join(row for row, _ in rows) + "\n")
    found = [said for _, said in outcomes(EspressifManifest(path))]
    assert found == ["esp-0", "esp-1", *(reason for _, reason in rows)]


EMPTY = {
    "csv": ("device-id,public-key\n", "no row"),
    "jsonl": ("\n\n", "no line"),
    "pem": ("# dev-1\n", "no PEM block"),
    "dynamodb": ('{"Items": [], "Count": 0}', "no item"),
    "microchip": ("[]", "no signed object"),
    "espressif": ("MAC,cn,cert\n\n", "no row"),
}


@pytest.mark.parametrize("name", list(EMPTY))
def test_a_manifest_without_a_device_is_an_error_that_says_what_was_looked_for(name: str, tmp_path: Path) -> None:
    content, said = EMPTY[name]
    options = FormatOptions(signers=[SampleAuthority.create().certificate])
    with pytest.raises(ManifestError, match=f"m: {said}"):
        list(open_manifest(written(tmp_path / "m", content), options, forced=name).entries())


def test_a_folder_without_a_file_that_is_read_is_an_error_that_says_what_was_looked_for(tmp_path: Path) -> None:
    written(tmp_path / "README.txt", "no key")
    (tmp_path / "keys.pem").mkdir()
    with pytest.raises(ManifestError, match=r"\.crt, .*\.pem"):
        PemFolder(tmp_path)


@pytest.mark.parametrize("header", ["MAC,cn", "mac,cn,certificate", "node_id,cert", ""])
def test_another_header_is_no_espressif_manifest(header: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="MAC,cn,cert"):
        list(EspressifManifest(written(tmp_path / "m.csv", header + "\n")).entries())
