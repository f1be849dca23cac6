"""GS1 labels: the value of one application identifier is the device id, never the whole element string."""

from __future__ import annotations

import pytest
from secretfree.registry.admission import RowRefused
from secretfree.request.device_profile import DeviceProfile
from secretfree_cli.factory.codes import read_code
from secretfree_cli.factory.gs1 import FNC1, Gs1Error, elements

GTIN = "04012345678901"


@pytest.mark.parametrize("symbology", ["]C1", "]d2", "]Q3", "]e0", "]J1"])
@pytest.mark.parametrize(
    "content",
    [
        f"01{GTIN}21SN4711",
        f"01{GTIN}21SN4711{FNC1}10LOT7",
        f"01{GTIN}10LOT7{FNC1}21SN4711",
        f"{FNC1}01{GTIN}17270101310300150021SN4711",
        f"21SN4711{FNC1}01{GTIN}",
        f"8005000123{FNC1}240ABC{FNC1}21SN4711",
        "410123456789012321SN4711",
    ],
)
def test_a_marked_label_gives_its_serial_number(symbology: str, content: str) -> None:
    assert read_code(symbology + content).device_id == "SN4711"


@pytest.mark.parametrize(
    "text",
    [
        "010401234567890121SN4711",  # its check digit is 1
        f"01{GTIN}10LOT7{FNC1}21SN4711",
        f"(01){GTIN}(21)SN4711",
        f"https://id.gs1.org/01/{GTIN}/21/SN4711?17=270101",
        f"https://example.com/some/01/{GTIN}/10/L/21/SN4711",
    ],
)
def test_a_label_of_a_scanner_that_types_no_symbology_gives_its_serial_number(text: str) -> None:
    assert read_code(text).device_id == "SN4711"


def test_another_application_identifier_can_be_chosen() -> None:
    code = f"]d201{GTIN}10LOT7{FNC1}8004GIAI-1"
    assert read_code(code, application_identifier="8004").device_id == "GIAI-1"
    assert read_code(code, application_identifier="10").device_id == "LOT7"
    assert read_code(code, application_identifier="01").device_id == GTIN


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (f"]d201{GTIN}", "application identifier 21 once; it has: 01"),
        (f"]C121A{FNC1}21B", "once; it has: 21, 21"),
        ("]d205nonsense", "is not the beginning of an application identifier"),
        ("]d20104", "needs 14 digits"),
        ("]d2" + "01" + "x" * 14, "needs 14 digits"),
        ("]d221", "has 0 characters"),
        ("]d221" + "x" * 21, "has 21 characters"),
        (f"]d201{GTIN}21SN 4711", "device id"),
    ],
)
def test_a_label_without_one_readable_serial_number_is_refused(code: str, said: str) -> None:
    with pytest.raises(RowRefused) as refused:
        read_code(code)
    assert said in str(refused.value)


@pytest.mark.parametrize("plain", ["]C0SN4711", "]Q1SN4711", "SN4711", "0104", "01040123456789AB", f"01{GTIN}"])
def test_a_code_that_is_no_label_is_a_plain_id(plain: str) -> None:
    assert read_code(plain).device_id == plain.removeprefix("]C0").removeprefix("]Q1")


def test_a_udid_of_digits_stays_a_udid() -> None:
    udid = "01" + GTIN + "21" + "0" * 14
    assert read_code(udid, profile=DeviceProfile.TI_CC32XX).device_id == udid


@pytest.mark.parametrize("text", ["(01)x)y", "(1)a", "(01)"])
def test_brackets_that_hold_no_identifier_are_no_element_string(text: str) -> None:
    with pytest.raises(Gs1Error):
        elements(text)
