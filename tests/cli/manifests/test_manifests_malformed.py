"""Malformed rows: each refused with its line and reason, the good rows around it kept."""

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
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
from secretfree.registry.key_material.json_values import parse_object
from secretfree.request.device_profile import DeviceProfile
from secretfree.request.keys import DevicePublicKey
from secretfree_cli.manifests.csv_rows import CsvManifest, csv_records
from secretfree_cli.manifests.detect import FormatOptions, open_manifest
from secretfree_cli.manifests.dynamodb_items import DynamoDbManifest
from secretfree_cli.manifests.espressif import EspressifManifest
from secretfree_cli.manifests.generate import SampleAuthority, sample_devices, write_espressif
from secretfree_cli.manifests.json_lines import JsonLinesManifest
from secretfree_cli.manifests.json_objects import json_objects
from secretfree_cli.manifests.manifest import MAX_ENTRY_BYTES, Manifest, ManifestError, bounded_lines
from secretfree_cli.manifests.pem import PemBundle, PemFolder
from secretfree_cli.manifests.single import SingleDevice

PRIVATE = ec.generate_private_key(ec.SECP256R1())
KEY = DevicePublicKey.from_key(PRIVATE.public_key())
GOOD = KEY.registry_text()
OFF_CURVE = "04" + "11" * 64
K1 = ec.generate_private_key(ec.SECP256K1()).public_key()
K1_HEX = K1.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo).hex()
WEAK = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505 - to be refused
WEAK_HEX = WEAK.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo).hex()

ANY_NAME = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a file's name is text")

Outcome = tuple[int, str]
"""A row's line, and its device id if it was admitted or else the reason."""


def outcomes(manifest: Manifest, gate: Gate | None = None) -> Iterator[Outcome]:
    for entry in manifest.entries():
        try:
            if entry.broken is not None:
                raise entry.broken
            yield entry.line, (gate or Gate()).admit(manifest.interpret(entry)).device_id
        except RowRefused as refused:
            yield entry.line, refused.reason


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))
    return path


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
def test_the_header_tells_the_delimiter(delimiter: str, tmp_path: Path) -> None:
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


def cut(data: bytes) -> list[tuple[int, bytes | str]]:
    return [
        (entry.line, entry.payload if entry.broken is None else entry.broken.detail)
        for entry in json_objects(io.BytesIO(data))
    ]


def test_objects_are_cut_by_braces_outside_strings() -> None:
    tricky = rb'{"a":"}{\"","b":{"c":"\\"}}'
    assert cut(b"[" + tricky + b",\n " + tricky + b"]") == [(1, tricky), (2, tricky)]


def test_text_between_objects_and_a_cut_off_end_are_each_said_once() -> None:
    assert cut(b'[{"a":1} oops, and more {"b":2}, {"c"') == [
        (1, b'{"a":1}'),
        (1, "text between objects"),
        (1, b'{"b":2}'),
        (1, "the file ends inside this object"),
    ]


PAGE = json.dumps({"Items": [{"a": n} for n in range(4)], "Count": 4, "ConsumedCapacity": {"x": 1.0}}, indent=4)
LINES = '[\n{"a":0},\n{"a":1},\n{"a":2},\n{"a":3}\n]\n'
ONE_LINE = '[{"a":0},{"a":1},{"a":2},{"a":3}]'
BROKEN = "broken"
TORN_JSON = {
    "two arrays": ('[{"a":0},{"a":1}]\n[{"a":2}]', [0, 1, 2]),
    "two pages of a scan": (f"{PAGE}\n{PAGE}\n", [0, 1, 2, 3, 0, 1, 2, 3]),
    "two pages gathered into an array": (f"[{PAGE},\n{PAGE}]", [0, 1, 2, 3, 0, 1, 2, 3]),
    "an array, then objects": ('[{"a":0}]\n{"a":1}\n{"a":2}', [0, 1, 2]),
    "something else behind the items": (PAGE.replace('"Count"', "Count"), [0, 1, 2, 3, BROKEN]),
    "a page torn behind its items, then another": (f"{PAGE[:-40]}\n{PAGE}", [0, 1, 2, 3, BROKEN, 0, 1, 2, 3]),
    "a quote too few": (PAGE.replace('"a"', '"a', 1), [BROKEN, 1, 2, 3]),
    "a brace too few": (PAGE.replace("        },", "        ,", 1), [BROKEN, 1, 2, 3]),
    "a brace too few, on one line": (ONE_LINE.replace('{"a":0}', '{"a":{"b":0}', 1), [BROKEN, 1, 2, 3]),
    "a brace too many before": (PAGE.replace("        {", "{       {", 1), [BROKEN, 0, 1, 2, 3]),
    "no brace before": (LINES.replace("{", "", 1), [BROKEN, 1, 2, 3]),
    "every second one": (LINES.replace('"a":0', '"a:0').replace('"a":2', '"a:2'), [BROKEN, 1, BROKEN, 3]),
}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("kind", list(TORN_JSON))
def test_no_object_of_a_torn_file_is_lost_without_a_word(kind: str, newline: str) -> None:
    text, expected = TORN_JSON[kind]
    entries = json_objects(io.BytesIO(text.replace("\n", newline).encode()))
    assert [BROKEN if entry.broken else parse_object(entry.payload)["a"] for entry in entries] == expected


def test_a_file_of_broken_objects_takes_no_more_time_than_its_size_deserves() -> None:
    hostile = b"[" + b'{"a":[{}, {' * 20_000
    assert 0 < len(cut(hostile)) < 100


def test_an_object_too_long_is_refused_and_what_follows_is_read() -> None:
    big = b'{"a":"' + b"x" * (3 * MAX_ENTRY_BYTES) + b'"}'
    found = cut(b"[" + big + b',\n{"b":2}]')
    assert found[1] == (2, b'{"b":2}')
    assert str(MAX_ENTRY_BYTES) in str(found[0][1])


def test_what_a_page_says_behind_its_items_is_no_object_of_it() -> None:
    assert cut(b'{"Items":[{"a":1}],"Count":{"b":2}}') == [(1, b'{"a":1}')]
    assert cut(b"") == []


ONE, TWO, THREE = b'{"device-id": "1", "x": {"y": "}"}}', b'{"device-id": "2"}', b'{"device-id": "3", "x": {}}'
PRETTY = [json.dumps(json.loads(data), indent=2).encode() for data in (ONE, TWO, THREE)]
INDENTED = json.dumps([json.loads(data) for data in (ONE, TWO, THREE)], indent=4).encode()
ENDS_EARLY = "the file ends before its array does"
NOT_JSON = "is not JSON from line"
INCOMPLETE: dict[str, tuple[bytes, list[int], list[str]]] = {
    "cut between objects": (b"[" + ONE + b",\n" + TWO + b",\n", [1, 2], [ENDS_EARLY]),
    "cut before the bracket": (b"[" + ONE + b",\n" + TWO, [1, 2], [ENDS_EARLY]),
    "page cut between objects": (b'{"Items": [' + ONE + b", ", [1], [ENDS_EARLY]),
    "page cut behind its items": (b'{"Items": [' + ONE + b'], "Count": 1', [1], ["the file ends inside what follows"]),
    "first of two arrays cut": (b"[" + ONE + b",\n[" + TWO + b"]", [1, 2], [ENDS_EARLY]),
    "first of two pages cut": (
        b'{"Items":[' + ONE + b']\n{"Items":[' + TWO + b"]}",
        [1, 2],
        ["what follows the items"],
    ),
    "page twice in one": (b'{"Items":[' + ONE + b'],"Items":[' + TWO + b"]}", [1], ["behind the items"]),
    "text behind the array": (b"[" + ONE + b"] oops [" + TWO + b"]", [1, 2], ["text between objects"]),
    "a bracket too many": (b"[" + ONE + b"]], " + TWO, [1, 2], ["text between objects"]),
    "a brace too many": (b"[" + ONE + b"}, " + TWO + b"]", [1, 2], ["text between objects"]),
    "no closing quote": (b'[{"device-id": "0},\n' + ONE + b",\n" + TWO + b"\n]", [1, 2], [NOT_JSON]),
    "no opening quote": (b'[{"device-id": 0"},\n' + ONE + b",\n" + TWO + b"\n]", [1, 2], [NOT_JSON]),
    "no closing quote, on one line": (b'[{"device-id": "0}, ' + ONE + b"," + TWO + b"]", [1, 2], [NOT_JSON]),
    "no closing quote of a name": (b"[" + ONE + b', {"device-id: "0"}, ' + TWO + b"]", [1, 2], [NOT_JSON]),
    "two quotes too few, rows between": (b'[{"a": "0}, ' + ONE + b', {"b: "0"}, ' + TWO + b"]", [1, 2], [NOT_JSON] * 2),
    "no closing brace": (b'[{"a": {},\n' + ONE + b",\n" + TWO + b"\n]", [1, 2], ["the file ends inside this object"]),
    "no closing brace, on one line": (b'[{"a": {}, ' + ONE + b", " + TWO + b"]", [1, 2], ["the file ends inside"]),
    "pretty-printed": (
        b"[\n" + b",\n".join([PRETTY[0].replace(b'1"', b"1"), *PRETTY[1:]]) + b"\n]",
        [2, 3],
        [NOT_JSON],
    ),
    "indented": (INDENTED.replace(b'"2"', b'"2'), [1, 3], [NOT_JSON]),
    "indented, no closing brace": (
        INDENTED.replace(b'"2"\n    }', b'"2"'),
        [1, 3],
        ["the file ends inside this object"],
    ),
    "next begins on the line of the brace": (b'[{\n"a": "0\n}, ' + ONE + b", {\n" + TWO[1:] + b"]", [1, 2], [NOT_JSON]),
    "the last": (b"[" + ONE + b',\n{"a": "0}\n]\n', [1], [NOT_JSON]),
    "in another object": (b'[\n{"a": "0,\n "b": [\n  {"device-id": "9"}]},\n' + ONE + b"]", [1], [NOT_JSON]),
    "no number": (b'[{"device-id": NaN}, ' + ONE + b"]", [1], [NOT_JSON]),
}


@pytest.mark.parametrize("kind", list(INCOMPLETE))
def test_no_object_is_lost_without_a_word_and_a_broken_one_takes_no_other_with_it(kind: str) -> None:
    data, numbers, faults = INCOMPLETE[kind]
    entries = list(json_objects(io.BytesIO(data)))
    found = [int(parse_object(entry.payload)["device-id"]) for entry in entries if entry.broken is None]
    broken = [entry.broken.detail for entry in entries if entry.broken is not None]
    assert found == numbers
    assert len(broken) == len(faults)
    assert all(fault in detail for fault, detail in zip(faults, broken, strict=True))


def test_a_broken_object_is_told_by_the_line_on_which_it_begins() -> None:
    data = b'[\n{"a": 1},\n{\n  "b": "x\n},\n{"c": 2}\n]'
    assert cut(data) == [
        (2, b'{"a": 1}'),
        (3, "this object is not JSON from line 4 on: a quote or brace too few or too many"),
        (6, b'{"c": 2}'),
    ]


def test_objects_behind_a_broken_one_are_found_over_any_distance() -> None:
    blank = b" " * (3 * MAX_ENTRY_BYTES)
    assert cut(b'[{"a": "x\n' + blank + b'\n{"b": 2}]')[1:] == [(3, b'{"b": 2}')]
    assert cut(b'[{"a": "' + blank + b'}, {"b": 2}]')[1:] == [(1, b'{"b": 2}')]


NUMBERS = st.lists(st.integers(10, 99), min_size=3, max_size=12, unique=True)


@given(NUMBERS, st.sampled_from([None, 0, 2]), st.floats(0, 1, exclude_max=True), st.sampled_from('"{}[],:\\ \nx'))
def test_a_file_with_one_letter_wrong_loses_its_object_and_a_neighbour_at_most(
    numbers: list[int], indent: int | None, where: float, letter: str
) -> None:
    documents = [{"device-id": {"S": str(number)}, "x": {"M": {"y": {"S": "a, b"}}}} for number in numbers]
    text = json.dumps(documents, indent=indent)
    at = int(where * len(text))
    for changed in (text[:at] + text[at + 1 :], text[:at] + letter + text[at:], text[:at] + letter + text[at + 1 :]):
        entries = list(json_objects(io.BytesIO(changed.encode())))
        kept, odd = [], 0
        for entry in entries:
            try:
                assert entry.broken is None
                kept.append(documents.index(parse_object(entry.payload)))
            except (AssertionError, RowRefused, ValueError):
                odd += 1
        assert kept == sorted(set(kept))
        assert len(kept) >= len(documents) - 2
        assert odd or len(kept) == len(documents)


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=4), max_size=6), st.integers(1, 40))
def test_objects_are_found_however_the_stream_is_cut(documents: list[dict[str, str]], size: int) -> None:
    class Dribble(io.BytesIO):
        def read(self, _: int | None = -1) -> bytes:
            return super().read(size + 12)

    data = json.dumps(documents, ensure_ascii=False).encode()
    assert [parse_object(e.payload) for e in json_objects(Dribble(data))] == documents


@given(st.binary(max_size=300))
def test_any_bytes_are_cut_without_failing(data: bytes) -> None:
    for entry in json_objects(io.BytesIO(b"[" + data)):
        assert entry.broken is not None or entry.payload.startswith(b"{")


def test_lines_are_bounded_in_memory_and_counted_right() -> None:
    stream = io.BytesIO(b"a\n" + b"x" * 25 + b"\nb")
    assert list(bounded_lines(stream, 10)) == [(1, b"a\n", False), (2, b"x" * 10, True), (3, b"b", False)]
    assert list(bounded_lines(io.BytesIO(b"x" * 9 + b"\nb"), 10)) == [(1, b"x" * 9 + b"\n", False), (2, b"b", False)]


def request(common_name: str | None, *, by: ec.EllipticCurvePrivateKey = PRIVATE) -> bytes:
    name = [] if common_name is None else [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(name))
    return builder.sign(by, hashes.SHA256()).public_bytes(Encoding.PEM)


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
