"""The rows of an import in the cloud: what is written, what is refused, beside other imports and again."""

import base64
import contextlib
import json
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from secretfree.adapters.dynamodb.registry_store import DynamoDbRegistryStore
from secretfree.adapters.dynamodb.registry_table import RegistryTable
from secretfree.registry import gate as gate_module
from secretfree.registry.admission import Row, RowRefused
from secretfree.registry.device import Provenance
from secretfree.registry.gate import Gate
from secretfree.registry.manifest import RowsImported, import_rows
from secretfree.registry.row import missing_columns, read_columns
from secretfree.registry.store import ChangedMeanwhile
from secretfree.request.device_profile import DeviceProfile
from secretfree.request.keys import DevicePublicKey

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEYS = [DevicePublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key()) for _ in range(6)]
STANDARD = Gate(DeviceProfile.STANDARD, key_optional=False)


@pytest.fixture
def table(tables: Any) -> RegistryTable:
    return RegistryTable(tables, "registry", sleep=lambda _: None)


NumberedRow = tuple[int, Mapping[str, object]]


def row(number: int, device_id: str, key: DevicePublicKey, **more: object) -> NumberedRow:
    return number, {"device-id": device_id, "public-key": key.registry_text(), **more}


def run(table: RegistryTable, rows: Sequence[NumberedRow], *, batch: str = "b1", gate: Gate = STANDARD) -> RowsImported:
    store = DynamoDbRegistryStore(table)
    return import_rows(dict(rows), gate=gate, store=store, holders=store, provenance=Provenance(batch, NOW, "csv"))


def contents(table: RegistryTable) -> dict[str, Mapping[str, Any]]:
    return {item["device-id"]["S"]: item for page in table.scan() for item in page}


def reasons(imported: RowsImported) -> dict[int, str]:
    return {refused.number: refused.reason for refused in imported.refused}


def test_good_rows_are_written_with_their_batch_and_bad_ones_refused_with_their_number(table: RegistryTable) -> None:
    imported = run(
        table,
        [
            row(1, "pump-1", KEYS[0], **{"attributes.model": "P1"}),
            row(2, "bad id", KEYS[1]),
            (3, {"device-id": "pump-3", "public-key": "zz"}),
            (4, {"public-key": KEYS[2].registry_text()}),
            (5, {}),
            row(6, "pump-6", KEYS[3], price="1"),
        ],
    )
    assert imported.counts == {"enrolled": 1}
    assert reasons(imported) == {
        2: "device-id",
        3: "not-base64",
        4: "missing-device-id",
        5: "missing-device-id",
        6: "unknown-field",
    }
    assert contents(table) == {
        "pump-1": {
            "device-id": {"S": "pump-1"},
            "pubkey": {"S": KEYS[0].registry_text()},
            "key-fingerprint": {"S": KEYS[0].fingerprint},
            "status": {"S": "allowed"},
            "batch": {"S": "b1"},
            "source": {"S": "csv"},
            "enrolled-at": {"S": "2026-03-01T12:00:00Z"},
            "attributes": {"M": {"model": {"S": "P1"}}},
        }
    }


def test_a_repetition_changes_nothing_and_gives_the_same_account(table: RegistryTable) -> None:
    rows = [row(1, "pump-1", KEYS[0]), row(2, "pump-2", KEYS[1]), row(3, "no good!", KEYS[2])]
    first = run(table, rows)
    before = contents(table)
    assert run(table, rows) == first
    assert contents(table) == before


def test_a_run_cut_off_half_way_is_completed_by_its_repetition(table: RegistryTable) -> None:
    rows = [row(1, "pump-1", KEYS[0]), row(2, "pump-2", KEYS[1])]
    run(table, rows[:1])
    assert run(table, rows).counts == {"enrolled": 2}


def test_devices_of_an_earlier_batch_are_unchanged_or_refused_and_never_overwritten(table: RegistryTable) -> None:
    run(table, [row(1, "pump-1", KEYS[0]), row(2, "pump-2", KEYS[1])], batch="earlier")
    before = contents(table)
    imported = run(
        table, [row(1, "pump-1", KEYS[0]), row(2, "pump-2", KEYS[2]), row(3, "pump-3", KEYS[1])], batch="later"
    )
    assert imported.counts == {"unchanged": 1}
    assert reasons(imported) == {2: "enrolled-with-other-key", 3: "key-of-other-device"}
    assert contents(table) == before


def test_an_item_without_a_fingerprint_gets_it(table: RegistryTable) -> None:
    table.write([{"device-id": {"S": "pump-1"}, "pubkey": {"S": KEYS[0].registry_text()}}])
    assert run(table, [row(1, "pump-1", KEYS[0])]).counts == {"indexed": 1}
    assert contents(table)["pump-1"]["key-fingerprint"] == {"S": KEYS[0].fingerprint}


def test_rows_that_contradict_each_other_are_all_refused_and_of_equal_ones_the_first_counts(
    table: RegistryTable,
) -> None:
    imported = run(
        table,
        [
            row(1, "two-keys", KEYS[0]),
            row(2, "two-keys", KEYS[1]),
            row(3, "one", KEYS[2]),
            row(4, "other", KEYS[2]),
            row(5, "twice", KEYS[3]),
            row(6, "twice", KEYS[3]),
        ],
    )
    assert imported.counts == {"enrolled": 1}
    assert reasons(imported) == {
        1: "duplicate-device-id",
        2: "duplicate-device-id",
        3: "duplicate-key",
        4: "duplicate-key",
        6: "duplicate-row",
    }
    assert set(contents(table)) == {"twice"}


def test_a_row_without_a_key_is_taken_under_match_policy_udid_only(table: RegistryTable) -> None:
    keyless = [(1, {"device-id": "pump-1"}), (2, {"device-id": "pump-2"})]
    assert reasons(run(table, keyless)) == {1: "missing-public-key", 2: "missing-public-key"}
    gate = Gate(DeviceProfile.STANDARD, key_optional=True)
    assert run(table, keyless, gate=gate).counts == {"enrolled": 2}
    assert run(table, keyless, gate=gate).counts == {"enrolled": 2}


def test_a_cc32xx_udid_is_normalised(table: RegistryTable) -> None:
    gate = Gate(DeviceProfile.TI_CC32XX, key_optional=False)
    assert run(table, [row(1, "A3:0F" + ":00" * 14, KEYS[0])], gate=gate).counts == {"enrolled": 1}
    assert set(contents(table)) == {"a30f" + "00" * 14}


def test_of_two_imports_at_once_one_device_keeps_the_key_that_was_written_first(
    table: RegistryTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other import writes after this one has read and before it writes."""
    put_new = RegistryTable.put_new
    other = [row(1, "pump-1", KEYS[1])]

    def interrupted(self: RegistryTable, item: Mapping[str, Any]) -> None:
        monkeypatch.setattr(RegistryTable, "put_new", put_new)
        run(table, other, batch="other")
        put_new(self, item)

    monkeypatch.setattr(RegistryTable, "put_new", interrupted)
    assert reasons(run(table, [row(1, "pump-1", KEYS[0])])) == {1: "enrolled-with-other-key"}
    assert contents(table)["pump-1"]["key-fingerprint"] == {"S": KEYS[1].fingerprint}


def test_a_put_whose_answer_was_lost_and_that_was_tried_again_counts_as_enrolled(
    table: RegistryTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_new = RegistryTable.put_new

    def lost_answer(self: RegistryTable, item: Mapping[str, Any]) -> None:
        put_new(self, item)
        raise ChangedMeanwhile("the second try of the SDK met the first one's item")

    monkeypatch.setattr(RegistryTable, "put_new", lost_answer)
    assert run(table, [row(1, "pump-1", KEYS[0])]).counts == {"enrolled": 1}


def test_an_item_that_changes_under_every_try_is_refused_and_can_be_imported_again(
    table: RegistryTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: RegistryTable, item: Mapping[str, Any]) -> None:
        raise ChangedMeanwhile("again")

    monkeypatch.setattr(RegistryTable, "put_new", never)
    assert reasons(run(table, [row(1, "pump-1", KEYS[0])])) == {1: "changed-meanwhile"}


def test_one_key_that_comes_for_two_devices_at_once_stays_with_neither(
    table: RegistryTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_read = threading.Barrier(2, timeout=10)
    both_put = threading.Barrier(2, timeout=10)
    put_new = RegistryTable.put_new

    def together(self: RegistryTable, item: Mapping[str, Any]) -> None:
        both_read.wait()
        put_new(self, item)
        both_put.wait()

    deleted = threading.Barrier(2, timeout=10)
    delete_exactly = RegistryTable.delete_exactly

    def delete_together(self: RegistryTable, item: Mapping[str, Any]) -> None:
        deleted.wait()
        delete_exactly(self, item)

    monkeypatch.setattr(RegistryTable, "put_new", together)
    monkeypatch.setattr(RegistryTable, "delete_exactly", delete_together)
    results: list[RowsImported] = []
    threads = [
        threading.Thread(target=lambda name=name: results.append(run(table, [row(1, name, KEYS[0])])))
        for name in ("pump-1", "pump-2")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [reasons(result) for result in results] == [{1: "key-of-other-device"}] * 2
    assert contents(table) == {}


def test_the_document_of_a_refused_row_is_ascii_and_bounded(table: RegistryTable) -> None:
    imported = run(table, [(1, {"device-id": "\u202e" * 500, "\u202e" * 500: "x"})])
    document = imported.document()["refused"][0]
    assert document["deviceId"].isascii()
    assert len(document["deviceId"]) == 64
    assert document["detail"].isascii()
    assert len(document["detail"]) <= 160


class TestColumns:
    def test_names_are_read_whatever_their_case_and_a_byte_order_mark(self) -> None:
        columns = read_columns({"\ufeffDevice-ID ": " pump-1 ", "PUBKEY": "k", "Status": "", "batch": "old"})
        assert columns == Row("pump-1", "k")

    def test_attributes_come_as_an_object_or_as_columns(self) -> None:
        columns = read_columns({"device-id": "a", "attributes": {"lot": "7"}, "attributes.model": "P1"})
        assert columns.attributes == {"lot": "7", "model": "P1"}

    @pytest.mark.parametrize(
        "fields",
        [
            {"device-id": 7},
            {"device-id": "a", "colour": "red"},
            {"device-id": "a", "Device-Id": "b"},
            {"public-key": "a", "pubkey": "b"},
            {"attributes": "x"},
            {"attributes": {"a": 1}},
            {"attributes.a": 1},
        ],
    )
    def test_anything_else_is_refused(self, fields: dict[str, object]) -> None:
        with pytest.raises(RowRefused):
            read_columns(fields)

    @pytest.mark.parametrize("length", [1, 100_000])
    def test_a_refusal_shows_the_name_as_it_is_meant_and_no_more_than_a_line_of_it(self, length: int) -> None:
        with pytest.raises(RowRefused) as caught:
            read_columns({f" \ufeffattributes.{'A' * length} ": 1})
        assert caught.value.detail.startswith("'attributes.A")
        assert len(caught.value.detail) < 120

    def test_an_unknown_column_without_content_is_no_fault_of_the_row(self) -> None:
        assert read_columns({"device-id": "a", "remarks": ""}).device_id == "a"

    def test_a_header_that_lacks_columns_is_refused_with_their_names(self) -> None:
        assert missing_columns(["serial"]) == ["device-id", "public-key"]
        assert missing_columns(["\ufeffDevice-Id", "pubkey"]) == []

    @given(st.dictionaries(st.text(max_size=20), st.one_of(st.text(max_size=20), st.none(), st.integers())))
    def test_no_row_raises_anything_but_a_refusal(self, fields: dict[str, object]) -> None:
        with contextlib.suppress(RowRefused):
            STANDARD.admit(read_columns(fields))


OWN = ec.generate_private_key(ec.SECP256R1())
OWN_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
FINGERPRINT = DevicePublicKey.from_key(OWN.public_key()).fingerprint


def named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def csr_der(common_name: str) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(named(common_name))
    return builder.sign(OWN, hashes.SHA256()).public_bytes(Encoding.DER)


def certificate_der(common_name: str, *, ca: bool = False) -> bytes:
    builder = x509.CertificateBuilder().subject_name(named(common_name)).issuer_name(named("Widget CA"))
    builder = builder.public_key(OWN.public_key()).serial_number(7).not_valid_before(NOW)
    builder = builder.not_valid_after(NOW + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    return builder.sign(OWN, hashes.SHA256()).public_bytes(Encoding.DER)


def pem(label: str, der: bytes) -> str:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n"


def base64_of(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def jwk() -> dict[str, str]:
    numbers = OWN.public_key().public_numbers()
    parts = {name: base64.urlsafe_b64encode(value.to_bytes(32)) for name, value in (("x", numbers.x), ("y", numbers.y))}
    return {"kty": "EC", "crv": "P-256", **{name: part.rstrip(b"=").decode() for name, part in parts.items()}}


@pytest.mark.parametrize(
    "given",
    [
        pem("CERTIFICATE", certificate_der("pump-1")),
        pem("CERTIFICATE", certificate_der("pump-1")).replace("\n", "\\n"),
        pem("CERTIFICATE", certificate_der("pump-1")) + pem("CERTIFICATE", certificate_der("Widget CA", ca=True)),
        base64_of(certificate_der("pump-1")),
        base64_of(pem("CERTIFICATE", certificate_der("pump-1"))),
        pem("CERTIFICATE REQUEST", csr_der("pump-1")),
        base64_of(csr_der("pump-1")),
        json.dumps(jwk()),
        jwk(),
    ],
    ids=["pem", "escaped", "chain", "base64-der", "base64-pem", "csr-pem", "csr-base64", "jwk-text", "jwk-object"],
)
def test_a_row_may_hold_a_certificate_a_request_or_a_jwk(given: object, table: RegistryTable) -> None:
    assert run(table, [(1, {"device-id": "pump-1", "public-key": given})]).counts == {"enrolled": 1}
    assert contents(table)["pump-1"]["key-fingerprint"] == {"S": FINGERPRINT}


def test_a_row_may_hold_a_pkcs1_key(table: RegistryTable) -> None:
    der = OWN_RSA.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    rows = [(1, {"device-id": "pump-1", "public-key": pem("RSA PUBLIC KEY", der)})]
    assert run(table, rows).counts == {"enrolled": 1}
    rows = [(2, {"device-id": "pump-1", "public-key": base64_of(der)})]
    assert run(table, rows, batch="b2").counts == {"unchanged": 1}


TAMPERED = csr_der("pump-1")[:-1] + bytes([csr_der("pump-1")[-1] ^ 1])
PRIVATE = OWN.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (pem("CERTIFICATE", certificate_der("pump-1", ca=True)), "ca-certificate"),
        (base64_of(certificate_der("Widget CA", ca=True)), "ca-certificate"),
        (base64_of(certificate_der("pump-2")), "identity-mismatch"),
        (base64_of(csr_der("pump-2")), "identity-mismatch"),
        (PRIVATE, "malformed-row"),
        (jwk() | {"d": "AA"}, "malformed-row"),
        (base64_of(b"\x30\x82\xff\xff"), "key-kind"),
    ],
)
def test_key_material_that_is_not_the_device_s_is_refused(given: object, reason: str, table: RegistryTable) -> None:
    assert reasons(run(table, [(1, {"device-id": "pump-1", "public-key": given})])) == {1: reason}
    assert contents(table) == {}


def test_a_request_whose_signature_does_not_verify_is_refused(table: RegistryTable) -> None:
    (reason,) = reasons(run(table, [(1, {"device-id": "pump-1", "public-key": base64_of(TAMPERED)})])).values()
    assert "signature" in reason


def test_an_error_that_no_parser_documents_refuses_its_row_and_stops_no_other(
    table: RegistryTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(text: str, profile: DeviceProfile) -> object:
        if text == "boom":
            raise RuntimeError("a parser's own")
        return real(text, profile)

    real = gate_module.read_key_text
    monkeypatch.setattr(gate_module, "read_key_text", raising)
    imported = run(table, [(1, {"device-id": "pump-1", "public-key": "boom"}), row(2, "pump-2", KEYS[0])])
    assert reasons(imported) == {1: "malformed-row"}
    assert imported.counts == {"enrolled": 1}
