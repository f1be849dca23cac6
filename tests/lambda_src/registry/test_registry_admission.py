"""The gate: what becomes a record, and with which reason everything else is refused."""

import base64
import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from secretfree.errors import Reason
from secretfree.registry.admission import (
    MAX_ATTRIBUTE_VALUE,
    MAX_ATTRIBUTES,
    Refusal,
    RowRefused,
    accept_public_key,
    admit,
)
from secretfree.registry.entry import DeviceStatus
from secretfree.request.device_id import DeviceId
from secretfree.request.device_profile import DeviceProfile
from secretfree.request.keys import DevicePublicKey

KEY = DevicePublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key())
POINT = KEY.key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@pytest.mark.parametrize(
    "material",
    [
        KEY,
        KEY.spki,
        KEY.pem(),
        KEY.pem().replace("\n", "\r\n"),
        KEY.registry_text(),
        base64.b64encode(KEY.spki).decode(),
        KEY.spki.hex(),
        POINT.hex(),
        POINT.hex().upper(),
        f"  {POINT.hex()}\n",
    ],
    ids=["key", "der", "pem", "pem-crlf", "registry", "base64-der", "hex-der", "hex-point", "upper", "spaces"],
)
def test_each_form_of_a_key_is_read_as_the_same_key(material: str | bytes | DevicePublicKey) -> None:
    assert admit("dev-1", material).public_key == KEY


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_a_hex_point_of_the_other_accepted_curves_is_read(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve).public_key()
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert accept_public_key(point.hex()) == DevicePublicKey.from_key(key)


def test_a_record_is_allowed_and_without_attributes_by_default() -> None:
    record = admit("dev-1", KEY)
    assert (record.device_id, record.status, dict(record.attributes)) == ("dev-1", DeviceStatus.ALLOWED, {})
    assert isinstance(record.device_id, DeviceId)


def test_the_profile_normalises_the_device_id_as_the_runtime_will() -> None:
    udid = "A0 B1 C2 D3 E4 F5 06 17 28 39 4A 5B 6C 7D 8E 9F"
    assert admit(udid, KEY, profile=DeviceProfile.TI_CC32XX).device_id == "a0b1c2d3e4f5061728394a5b6c7d8e9f"


def test_a_row_without_a_key_is_taken_only_where_the_match_policy_allows_it() -> None:
    assert admit("dev-1", None, key_optional=True).public_key is None
    assert reason_of("dev-1", None) == Refusal.MISSING_PUBLIC_KEY


@pytest.mark.parametrize("device_id", ["a/b", "a#b", "a b", "a" * 65, "ä", "a\n", "a\0", "../x", "*", "+"])
def test_an_id_that_can_be_no_thing_name_is_refused(device_id: str) -> None:
    assert reason_of(device_id, KEY) == Refusal.DEVICE_ID


@pytest.mark.parametrize("device_id", [None, ""])
def test_a_row_that_names_no_device_is_refused(device_id: str | None) -> None:
    assert reason_of(device_id, KEY) == Refusal.MISSING_DEVICE_ID


@pytest.mark.parametrize(
    ("material", "reason"),
    [
        ("", Refusal.MISSING_PUBLIC_KEY),
        ("not base64!", Reason.NOT_BASE64),
        ("QUJD", Reason.KEY_KIND),
        ("04" + "ff" * 64, Reason.KEY_KIND),
        (POINT.hex()[:-2], Reason.KEY_KIND),
        ("04" + POINT.hex()[2:-2] + f"{POINT[-1] ^ 1:02x}", Reason.KEY_KIND),
        (KEY.spki[:-1], Reason.KEY_KIND),
        (KEY.spki + b"\0", Reason.KEY_KIND),
        ("A" * 5000, Reason.OVERSIZED),
    ],
    ids=["empty", "text", "no-key", "point-off-curve", "short-point", "bent-point", "cut-der", "trailing", "long"],
)
def test_a_key_that_cannot_be_read_is_refused_with_the_runtimes_reason(material: str | bytes, reason: str) -> None:
    assert reason_of("dev-1", material) == reason


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 1024).public_key(),  # noqa: S505 - that is the point
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        ec.generate_private_key(ec.SECP224R1()).public_key(),
        ed25519.Ed25519PrivateKey.generate().public_key(),
    ],
    ids=["rsa-1024", "secp256k1", "p-224", "ed25519"],
)
def test_a_key_of_a_kind_that_the_runtime_refuses_never_enters(key: ec.EllipticCurvePublicKey) -> None:
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert reason_of("dev-1", der) == Reason.KEY_KIND


def test_a_fingerprint_in_the_row_must_be_the_keys() -> None:
    assert admit("dev-1", KEY, fingerprint=KEY.fingerprint).public_key == KEY
    for wrong in ("0" * 64, KEY.fingerprint.upper(), "abc"):
        assert reason_of("dev-1", KEY, fingerprint=wrong) == Refusal.FINGERPRINT_MISMATCH


def test_status_is_allowed_or_blocked_and_nothing_else() -> None:
    assert admit("dev-1", KEY, status="blocked").status is DeviceStatus.BLOCKED
    for wrong in ("Blocked", "unreadable", "no"):
        assert reason_of("dev-1", KEY, status=wrong) == Refusal.STATUS


@pytest.mark.parametrize(
    "attributes",
    [
        {"": "x"},
        {"a b": "x"},
        {"a" * 65: "x"},
        {"a": "x" * (MAX_ATTRIBUTE_VALUE + 1)},
        {"a": "line\nbreak"},
        {"a": "\udc80"},
        {f"a{number}": "x" for number in range(MAX_ATTRIBUTES + 1)},
    ],
)
def test_attributes_are_few_short_and_printable(attributes: dict[str, str]) -> None:
    assert reason_of("dev-1", KEY, attributes=attributes) == Refusal.ATTRIBUTE


@given(st.text(max_size=200), st.one_of(st.text(max_size=400), st.binary(max_size=400)))
def test_whatever_a_row_holds_it_is_admitted_or_refused_and_nothing_else_happens(
    device_id: str, material: str | bytes
) -> None:
    with contextlib.suppress(RowRefused):
        assert DeviceId.is_valid(admit(device_id, material).device_id)


def reason_of(device_id: str | None, material: str | bytes | DevicePublicKey | None, **row: object) -> str:
    with pytest.raises(RowRefused) as refused:
        admit(device_id, material, **row)  # type: ignore[arg-type]
    assert str(refused.value).startswith(refused.value.reason)
    return refused.value.reason
