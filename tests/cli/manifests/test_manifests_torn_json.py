"""Files of JSON objects that are torn or broken: no object is lost silently, and no other suffers."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secretfree.registry.admission import RowRefused
from secretfree.registry.key_material.json_values import parse_object
from secretfree_cli.manifests.json_objects import json_objects
from secretfree_cli.manifests.manifest import MAX_ENTRY_BYTES


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


def test_a_broken_object_is_reported_with_its_first_line() -> None:
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
