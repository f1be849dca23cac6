"""Codes on devices: what may be in them, how they find their key, and out of pictures."""

import contextlib
import json
import struct
import zlib
from pathlib import Path

import pytest
import zxingcpp
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from secretfree.registry.admission import RowRefused, admit
from secretfree.request.device_profile import DeviceProfile
from secretfree.request.keys import DevicePublicKey
from secretfree_cli.factory import picture
from secretfree_cli.factory.bench import SessionTally, Signal, enroll_from_codes
from secretfree_cli.factory.codes import MAX_CODE, DeviceCode, ManifestKeys, pair, read_code
from secretfree_cli.factory.picture import codes_in_picture
from secretfree_cli.factory.uart import DeviceReading
from secretfree_cli.output import CliError

KEY = DevicePublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key())
OTHER_KEY = DevicePublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key())
UDID = "a30fc0010203040506070809fffe0d0e"
REEL = ManifestKeys([admit("pump-1", KEY), admit("pump-2", OTHER_KEY)])


class TestWhatACodeMayContain:
    @pytest.mark.parametrize("text", ["pump-1", " pump-1\r\n", "]Q1pump-1", "]C0pump-1\t"])
    def test_a_device_id_alone_as_scanners_type_it(self, text: str) -> None:
        assert read_code(text) == DeviceCode("pump-1")  # type: ignore[arg-type]

    @pytest.mark.parametrize("separator", [" ", ",", ";", " ; ", "\t"])
    def test_a_device_id_and_its_keys_fingerprint(self, separator: str) -> None:
        code = read_code(f"pump-1{separator}{KEY.fingerprint.upper()}")
        assert code == DeviceCode("pump-1", KEY.fingerprint)  # type: ignore[arg-type]

    def test_json_with_everything(self) -> None:
        text = json.dumps({"device-id": "pump-1", "key-fingerprint": KEY.fingerprint, "public-key": KEY.spki.hex()})
        assert read_code(text) == DeviceCode("pump-1", KEY.fingerprint, KEY)  # type: ignore[arg-type]

    @pytest.mark.parametrize("separator", ["", " ", ":"])
    def test_a_cc32xx_udid_in_any_spelling_alone_and_with_a_fingerprint(self, separator: str) -> None:
        spelt = separator.join(UDID[at : at + 2] for at in range(0, 32, 2)).upper()
        assert read_code(spelt, profile=DeviceProfile.TI_CC32XX).device_id == UDID
        paired = read_code(f"{spelt} {KEY.fingerprint}", profile=DeviceProfile.TI_CC32XX)
        assert paired == DeviceCode(UDID, KEY.fingerprint)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("]Q1", "missing-device-id"),
            ("pump 1", "device-id"),
            ("https://example.com/pump-1", "device-id"),
            ("x" * (MAX_CODE + 1), "malformed-row"),
            ("{", "malformed-row"),
            ("[" * 4000, "device-id"),
            ('{"a":' + "[" * 4000, "malformed-row"),
            ('{"device-id": 1}', "malformed-row"),
            ('{"device-id": "a", "price": "1"}', "unknown-field"),
            ('{"key-fingerprint": "00"}', "device-id"),
            ('{"device-id": "a", "key-fingerprint": "00"}', "fingerprint-mismatch"),
            ('{"device-id": "a", "public-key": "zz"}', "not-base64"),
        ],
    )
    def test_anything_else_is_refused_with_a_reason(self, text: str, reason: str) -> None:
        with pytest.raises(RowRefused) as refused:
            read_code(text)
        assert refused.value.reason == reason

    @given(st.text(max_size=200), st.sampled_from(list(DeviceProfile)))
    def test_no_text_raises_anything_but_a_refusal(self, text: str, profile: DeviceProfile) -> None:
        with contextlib.suppress(RowRefused):
            read_code(text, profile=profile)


class TestPairingWithAKey:
    def test_by_the_device_id_of_a_manifests_row(self) -> None:
        assert pair(read_code("pump-1"), REEL, key_required=True) == DeviceReading("pump-1", KEY)  # type: ignore[arg-type]

    def test_by_the_fingerprint_of_a_row_that_has_another_id(self) -> None:
        code = read_code(f"label-77 {OTHER_KEY.fingerprint}")
        assert pair(code, REEL, key_required=True) == DeviceReading("label-77", OTHER_KEY)  # type: ignore[arg-type]

    def test_by_the_key_in_the_code_itself(self) -> None:
        code = read_code(json.dumps({"device-id": "pump-9", "public-key": KEY.spki.hex()}))
        assert pair(code, None, key_required=True).public_key == KEY

    def test_a_device_with_an_unknown_key_is_refused(self) -> None:
        with pytest.raises(RowRefused, match="--keys"):
            pair(read_code("pump-9"), REEL, key_required=True)

    def test_under_match_policy_udid_the_id_alone_is_enough(self) -> None:
        assert pair(read_code("pump-9"), None, key_required=False) == DeviceReading("pump-9", None)  # type: ignore[arg-type]

    def test_a_fingerprint_that_leads_nowhere_is_refused_even_there(self) -> None:
        with pytest.raises(RowRefused, match="no key with the fingerprint"):
            pair(read_code(f"pump-9 {'0' * 64}"), REEL, key_required=False)

    @pytest.mark.parametrize(
        "code",
        [
            DeviceCode("pump-1", OTHER_KEY.fingerprint),  # type: ignore[arg-type]
            DeviceCode("pump-1", None, OTHER_KEY),  # type: ignore[arg-type]
            DeviceCode("pump-9", KEY.fingerprint, OTHER_KEY),  # type: ignore[arg-type]
            DeviceCode("pump-1", "0" * 64),  # type: ignore[arg-type]
        ],
    )
    def test_a_code_that_contradicts_the_manifest_or_itself_is_refused(self, code: DeviceCode) -> None:
        with pytest.raises(RowRefused) as refused:
            pair(code, REEL, key_required=True)
        assert refused.value.reason == "identity-mismatch"

    def test_rows_without_a_key_are_left_out_of_the_known(self) -> None:
        assert len(ManifestKeys([admit("pump-1", None, key_optional=True), admit("pump-2", KEY)])) == 1


class TestScanning:
    def test_lines_are_enrolled_and_each_answered(self, capsys: pytest.CaptureFixture[str]) -> None:
        taken: list[DeviceReading] = []

        def enroll(reading: DeviceReading) -> str:
            taken.append(reading)
            return "enrolled"

        lines = ["pump-1\n", "\n", "pump-1\n", "not an id\n", "pump-9\n", "pump-2\n"]
        assert enroll_from_codes(lines, enroll=enroll, known=REEL) == SessionTally(accepted=2, refused=0, unreadable=2)
        assert [reading.public_key for reading in taken] == [KEY, OTHER_KEY]
        shown = capsys.readouterr().err.splitlines()
        assert [line.count("\a") for line in shown] == [1, 3, 3, 1]
        assert "pump-9" in shown[2]

    def test_the_count_ends_it(self) -> None:
        lines = iter(["pump-1\n", "pump-2\n"])
        tally = enroll_from_codes(lines, enroll=lambda _: "enrolled", known=REEL, count=1, signal=Signal(bell=False))
        assert tally.accepted == 1
        assert next(lines) == "pump-2\n"


class TestPictures:
    @pytest.mark.parametrize("symbology", ["QRCode", "Code128", "DataMatrix"])
    @pytest.mark.parametrize("suffix", ["png", "jpg"])
    def test_a_code_is_read_out_of_a_picture(self, tmp_path: Path, symbology: str, suffix: str) -> None:
        path = tmp_path / f"label.{suffix}"
        drawn(UDID, symbology).save(path)
        assert codes_in_picture(path) == [UDID]

    def test_two_codes_are_read_from_top_to_bottom(self, tmp_path: Path) -> None:
        upper, lower = drawn("pump-2", "QRCode"), drawn("pump-1", "QRCode")
        sheet = Image.new("L", (400, 900), 255)
        sheet.paste(upper, (20, 20))
        sheet.paste(lower, (20, 480))
        sheet.save(tmp_path / "sheet.png")
        assert codes_in_picture(tmp_path / "sheet.png") == ["pump-2", "pump-1"]

    def test_a_picture_without_a_code_says_so(self, tmp_path: Path) -> None:
        Image.new("L", (200, 200), 255).save(tmp_path / "empty.png")
        with pytest.raises(CliError, match=r"empty\.png: no bar or QR code"):
            codes_in_picture(tmp_path / "empty.png")

    @pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"text"])
    def test_what_is_no_picture_says_so(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "broken.png").write_bytes(content)
        with pytest.raises(CliError, match=r"broken\.png: not a readable picture"):
            codes_in_picture(tmp_path / "broken.png")

    @pytest.mark.parametrize("error", [struct.error, zlib.error, IndexError, RecursionError, KeyError])
    def test_whatever_the_picture_library_raises_refuses_the_picture(
        self, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def failing(_path: Path) -> None:
            raise error("x")

        monkeypatch.setattr(picture.Image, "open", failing)
        with pytest.raises(CliError, match=rf"broken\.png: not a readable picture \({error.__name__}\)"):
            codes_in_picture(tmp_path / "broken.png")

    def test_a_picture_of_too_many_pixels_is_not_unpacked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(picture, "MAX_PIXELS", 100)
        Image.new("L", (20, 20)).save(tmp_path / "bomb.png")
        with pytest.raises(CliError, match="20 x 20 pixels; at most 100"):
            codes_in_picture(tmp_path / "bomb.png")


def drawn(text: str, symbology: str) -> Image.Image:
    barcode = zxingcpp.create_barcode(text, getattr(zxingcpp.BarcodeFormat, symbology))
    return Image.fromarray(zxingcpp.write_barcode_to_image(barcode, scale=4)).convert("L")
