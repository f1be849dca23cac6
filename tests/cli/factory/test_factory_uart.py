"""The UART transcript: what devices print becomes readings, and nothing else does."""

import base64
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from secretfree.request.device_profile import DeviceProfile
from secretfree.request.keys import DevicePublicKey
from secretfree_cli.device import signing_request
from secretfree_cli.factory.uart import MAX_KEY, MAX_LINE, DeviceReading, UartTranscript, Unreadable

UDID = "a30fc0010203040506070809fffe0d0e"
UDID_LINE = "Unique device ID = " + " ".join(UDID[i : i + 2] for i in range(0, 32, 2))
PRIVATE = ec.generate_private_key(ec.SECP256R1())
KEY = DevicePublicKey.from_key(PRIVATE.public_key())
OTHER_KEY = DevicePublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key())
READING = DeviceReading(UDID, KEY)  # type: ignore[arg-type]


def point(key: DevicePublicKey) -> str:
    return key.key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint).hex()


def read(*lines: str, end: str = "\r\n") -> list[DeviceReading | Unreadable]:
    return UartTranscript().feed("".join(line + end for line in lines).encode())


def only_failure(results: list[DeviceReading | Unreadable]) -> Unreadable:
    assert len(results) == 1
    assert isinstance(results[0], Unreadable)
    return results[0]


class TestFormsOfTheKey:
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_pem_is_read_with_any_line_ends(self, end: str) -> None:
        assert read(UDID_LINE, *KEY.pem().splitlines(), end=end) == [READING]

    def test_pem_of_one_unbroken_line_between_its_markers_is_read(self) -> None:
        body = base64.b64encode(KEY.spki).decode()
        assert read(UDID_LINE, "-----BEGIN PUBLIC KEY-----", body, "-----END PUBLIC KEY-----", end="\r") == [READING]

    def test_pem_on_a_single_line_is_read(self) -> None:
        body = base64.b64encode(KEY.spki).decode()
        assert read(UDID_LINE, f"-----BEGIN PUBLIC KEY-----{body}-----END PUBLIC KEY-----") == [READING]

    def test_an_uncompressed_point_in_hex_is_read(self) -> None:
        assert read(UDID_LINE, point(KEY)) == [READING]

    @pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
    @pytest.mark.parametrize("width", [16, 32, 64])
    def test_a_point_wrapped_over_lines_is_read_on_every_accepted_curve(
        self, curve: type[ec.EllipticCurve], width: int
    ) -> None:
        key = DevicePublicKey.from_key(ec.generate_private_key(curve()).public_key())
        digits = point(key)
        lines = [digits[i : i + 2 * width] for i in range(0, len(digits), 2 * width)]
        assert read(UDID_LINE, *lines) == [DeviceReading(UDID, key)]  # type: ignore[arg-type]

    def test_a_labelled_key_of_separated_upper_case_bytes_is_read(self) -> None:
        separated = ", ".join(f"0x{point(KEY)[i : i + 2].upper()}" for i in range(0, 130, 2))
        assert read(UDID_LINE, f"Public key: {separated}") == [READING]

    def test_spki_der_in_hex_is_read(self) -> None:
        assert read(UDID_LINE, KEY.spki.hex(":")) == [READING]

    def test_an_rsa_key_as_wrapped_spki_hex_is_read(self) -> None:
        key = DevicePublicKey.from_key(rsa.generate_private_key(65537, 2048).public_key())
        digits = key.spki.hex()
        lines = [digits[i : i + 64] for i in range(0, len(digits), 64)]
        assert read(UDID_LINE, *lines) == [DeviceReading(UDID, key)]  # type: ignore[arg-type]

    def test_the_json_line_is_read_with_any_device_id(self) -> None:
        line = json.dumps({"device-id": "pump:7", "public-key": KEY.pem(), "key-fingerprint": KEY.fingerprint})
        assert read("boot", line) == [DeviceReading("pump:7", KEY)]  # type: ignore[arg-type]

    @pytest.mark.parametrize("material", [point(KEY), KEY.spki.hex(), KEY.registry_text()])
    def test_the_json_line_takes_every_form_of_the_key(self, material: str) -> None:
        assert read(json.dumps({"device-id": UDID, "public-key": material})) == [READING]

    def test_the_json_line_of_a_cc32xx_normalises_the_udid(self) -> None:
        line = json.dumps(
            {"device-id": ":".join(UDID[i : i + 2].upper() for i in range(0, 32, 2)), "public-key": point(KEY)}
        )
        assert UartTranscript(DeviceProfile.TI_CC32XX).feed(line.encode() + b"\n") == [READING]


class TestFormsOfTheId:
    @pytest.mark.parametrize(
        "line",
        [
            UDID_LINE.upper().replace("UNIQUE DEVICE ID", "Unique device ID"),
            f"Unique device ID: {UDID}",
            "[0.013] main: " + UDID_LINE + "  ",
            "\x00\x1b[0m" + UDID_LINE,
        ],
    )
    def test_spellings_of_one_udid_give_one_id(self, line: str) -> None:
        assert read(line, point(KEY)) == [READING]

    def test_an_id_said_twice_is_said_once(self) -> None:
        assert read(UDID_LINE, UDID_LINE, point(KEY)) == [READING]

    @pytest.mark.parametrize(
        "rest",
        ["", " = ", " = a3 0f", " = " + " ".join(["a"] * 16), " = " + "a3 " * 17, " = zz" + " 00" * 15],
    )
    def test_an_id_of_another_form_is_unreadable_and_its_key_is_dropped(self, rest: str) -> None:
        assert "sixteen hex bytes of two digits" in only_failure(read("Unique device ID" + rest, point(KEY))).detail


class TestNoKeyGoesToAnotherDevice:
    def test_a_key_before_any_id_is_dropped(self) -> None:
        results = read(*KEY.pem().splitlines(), UDID_LINE)
        assert "no device id before it" in only_failure(results).detail

    def test_a_second_id_discards_the_first_that_had_no_key(self) -> None:
        second = UDID_LINE.replace("a3", "b4")
        first, then = read(UDID_LINE, second, point(KEY))
        assert first == Unreadable(UDID, "no public key followed its id")  # type: ignore[arg-type]
        assert isinstance(then, DeviceReading)
        assert then.device_id == UDID.replace("a3", "b4")

    def test_a_garbled_second_id_discards_the_first_too(self) -> None:
        results = read(UDID_LINE, "Unique device ID = b4 ?? 00", point(KEY))
        assert not [result for result in results if isinstance(result, DeviceReading)]

    def test_an_id_inside_a_pem_block_discards_the_block(self) -> None:
        begin, *rest = KEY.pem().splitlines()
        results = read(UDID_LINE, begin, rest[0], UDID_LINE.replace("a3", "b4"), *rest[1:])
        assert not [result for result in results if isinstance(result, DeviceReading)]

    def test_a_json_line_does_not_take_over_the_id_before_it(self) -> None:
        results = read(UDID_LINE, json.dumps({"device-id": "other", "public-key": point(OTHER_KEY)}), point(KEY))
        assert results == [
            Unreadable(UDID, "no public key followed its id"),  # type: ignore[arg-type]
            DeviceReading("other", OTHER_KEY),  # type: ignore[arg-type]
        ]

    def test_after_a_time_out_the_next_key_is_nobodys(self) -> None:
        transcript = UartTranscript()
        transcript.feed(f"{UDID_LINE}\n".encode())
        assert transcript.waits_for_key
        assert transcript.abandon("late") == [Unreadable(UDID, "late")]  # type: ignore[arg-type]
        assert transcript.feed(f"{point(KEY)}\n".encode()) == []

    def test_a_device_is_read_once_and_the_next_after_it(self) -> None:
        second = UDID_LINE.replace("a3", "b4")
        results = read(UDID_LINE, point(KEY), "noise", second, *OTHER_KEY.pem().splitlines())
        assert [type(result) for result in results] == [DeviceReading, DeviceReading]
        assert [result.public_key for result in results if isinstance(result, DeviceReading)] == [KEY, OTHER_KEY]


class TestKeysThatAreRefused:
    def test_a_point_off_the_curve(self) -> None:
        bad = point(KEY)[:-2] + f"{int(point(KEY)[-2:], 16) ^ 1:02x}"
        assert only_failure(read(UDID_LINE, bad)).detail.startswith("public key: not a point on")

    def test_a_point_off_the_curve_wrapped_over_lines_never_becomes_a_reading(self) -> None:
        bad = point(KEY)[:-2] + f"{int(point(KEY)[-2:], 16) ^ 1:02x}"
        transcript = UartTranscript()
        assert transcript.feed(f"{UDID_LINE}\n{bad[:64]}\n{bad[64:]}\n".encode()) == []
        assert len(transcript.abandon("late")) == 1

    def test_a_compressed_point(self) -> None:
        compressed = PRIVATE.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint).hex()
        assert "04 || X || Y" in only_failure(read(UDID_LINE, f"Public key = {compressed}")).detail

    def test_a_curve_that_is_not_accepted(self) -> None:
        key = ec.generate_private_key(ec.SECP256K1()).public_key()
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert "secp256k1" in only_failure(read(UDID_LINE, spki.hex())).detail

    def test_a_point_longer_than_any(self) -> None:
        assert "more digits" in only_failure(read(UDID_LINE, "04" + "ab" * 133)).detail

    @pytest.mark.parametrize("start", ["3084ffffffff", "3080", "3085"])
    def test_der_of_a_length_beyond_any_key_ends_within_the_bound(self, start: str) -> None:
        lines = [start + "00" * 32, *["00" * 32] * (MAX_KEY // 32)]
        assert "longer than" in only_failure(read(UDID_LINE, *lines)).detail

    def test_pem_without_an_end_stays_within_the_bound(self) -> None:
        assert "longer than" in only_failure(read(UDID_LINE, "-----BEGIN PUBLIC KEY-----", *["A" * 64] * 65)).detail

    def test_pem_that_holds_no_key(self) -> None:
        results = read(UDID_LINE, "-----BEGIN PUBLIC KEY-----", "AAAA", "-----END PUBLIC KEY-----")
        assert only_failure(results).detail.startswith("public key: ")

    def test_a_private_key_is_called_out_and_the_device_not_enrolled(self) -> None:
        pem = PRIVATE.private_bytes(
            Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        failure = only_failure(read(UDID_LINE, *pem.splitlines(), point(KEY)))
        assert failure.device_id == UDID
        assert "private key" in failure.detail
        assert pem.splitlines()[1] not in failure.detail


class TestJsonLinesThatAreRefused:
    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ('{"device-id": "a", "public-key": "b"', "cannot be read"),
            ('{"device-id": "a", "device-id": "b", "public-key": "c"}', "cannot be read"),
            ('{"device-id": 7, "public-key": "c"}', "another form"),
            ('["device-id", "public-key"]', "another form"),
            ('"device-id" {}', "device id"),
            ('{"device-id": "a", "public-key": "c", "secret": "x"}', "'secret'"),
            ('{"device-id": "a b", "public-key": "c"}', "device id"),
            ('{"device-id": "a"}', "public key"),
            ('{"device-id": "a", "public-key": "zz"}', "public key"),
            ('{"device-id": ' + "[" * 8_000, "cannot be read"),
            ('{"device-id": ' + "9" * 5_000 + "}", "cannot be read"),
            (json.dumps({"device-id": "a", "public-key": point(KEY), "key-fingerprint": "00" * 32}), "SHA-256"),
        ],
    )
    def test_line(self, line: str, says: str) -> None:
        assert says in only_failure(read(line)).detail

    def test_json_of_somebody_elses_log_is_noise(self) -> None:
        assert read('{"level": "info", "message": "up"}') == []


class TestNoise:
    def test_log_lines_between_all_parts_are_skipped(self) -> None:
        begin, *body, end = KEY.pem().splitlines()
        noise = "[wifi] rssi -61 dBm, retry 2"
        lines = [noise, UDID_LINE, noise, begin, noise, *body, noise, end, noise]
        assert read(*lines) == [READING]

    def test_addresses_and_counters_are_not_taken_for_a_key(self) -> None:
        assert read(UDID_LINE, "30 04 aa", "deadbeef", "0x20001000: 04 05 06", point(KEY)) == [READING]

    def test_a_line_beyond_the_bound_is_dropped_whole(self) -> None:
        transcript = UartTranscript()
        flood = b"x" * (MAX_LINE // 2)
        for _ in range(5):
            assert transcript.feed(flood) == []
        assert transcript.feed(f"{UDID_LINE}\n{point(KEY)}\n".encode()) == []  # the id was on the dropped line
        assert transcript.feed(f"{UDID_LINE}\n{point(KEY)}\n".encode()) == [READING]

    @given(st.lists(st.binary(max_size=300), max_size=20))
    def test_arbitrary_bytes_never_raise_and_never_make_a_reading(self, chunks: list[bytes]) -> None:
        transcript = UartTranscript()
        for chunk in chunks:
            assert not [result for result in transcript.feed(chunk) if isinstance(result, DeviceReading)]
        transcript.abandon("end")

    @given(st.data())
    def test_fragments_of_true_transcripts_never_raise_and_never_marry_strangers(self, data: st.DataObject) -> None:
        second = UDID_LINE.replace("a3", "b4")
        pieces = [UDID_LINE, second, point(KEY), point(KEY)[:64], point(KEY)[64:], *KEY.pem().splitlines()]
        pieces += ["Unique device ID", '{"device-id": "', "Public key =", "3059" + "00" * 30, "04", "\x00"]
        chosen = data.draw(st.lists(st.tuples(st.sampled_from(pieces), st.sampled_from(["\n", "\r", ""])), max_size=25))
        results = UartTranscript().feed("".join(piece + end for piece, end in chosen).encode() + b"\n")
        assert {result.public_key for result in results if isinstance(result, DeviceReading)} <= {KEY}

    @given(
        noise=st.lists(st.binary(max_size=60).map(lambda line: line.replace(b"-----", b"")), min_size=6, max_size=6),
        cut=st.integers(1, 200),
    )
    def test_noise_between_lines_and_any_fragmentation_leave_the_reading_right_or_absent(
        self, noise: list[bytes], cut: int
    ) -> None:
        begin, *body, end = (line.encode() for line in KEY.pem().splitlines())
        parts = [noise[0], UDID_LINE.encode(), noise[1], begin, noise[2], *body, noise[3], end, noise[4]]
        stream = b"\n" + b"\n".join(parts) + b"\n"
        transcript = UartTranscript()
        results = [result for at in range(0, len(stream), cut) for result in transcript.feed(stream[at : at + cut])]
        assert [result for result in results if isinstance(result, DeviceReading)] in ([READING], [])

    @given(st.integers(0, 129), st.sampled_from("0123456789abcdef"))
    def test_a_digit_of_the_point_that_was_turned_on_the_wire_is_never_a_reading(self, at: int, digit: str) -> None:
        digits = point(KEY)
        turned = digits[:at] + digit + digits[at + 1 :]
        results = [result for result in read(UDID_LINE, turned) if isinstance(result, DeviceReading)]
        assert results == ([READING] if turned == digits else [])


def certificate_request(name: str, *, signer: ec.EllipticCurvePrivateKey = PRIVATE) -> list[str]:
    pem = signing_request.standard_pem(
        signing_request.certification_request(
            subject=signing_request.standard_subject(name), public_key=PRIVATE.public_key(), signer=signer, digest=None
        )
    )
    return pem.decode().splitlines()


class TestCertificateRequests:
    def test_one_after_an_id_as_tis_cert_gen_prints_it(self) -> None:
        dialogue = ["    CERT GEN Example", UDID_LINE, "-----Creating CSR-----", "-Enter subject country (i.e US):", ""]
        assert read(*dialogue, *certificate_request(UDID)) == [READING]

    def test_one_alone_names_its_device(self) -> None:
        assert read("boot", *certificate_request("pump-1")) == [DeviceReading("pump-1", KEY)]  # type: ignore[arg-type]

    def test_one_that_names_another_device_than_the_id_before_it_is_refused(self) -> None:
        failure = only_failure(read(UDID_LINE, *certificate_request("pump-1")))
        assert failure.device_id == UDID
        assert "common name" in failure.detail

    def test_one_signed_by_another_key_is_refused(self) -> None:
        forged = certificate_request(UDID, signer=ec.generate_private_key(ec.SECP256R1()))
        assert "certificate request" in only_failure(read(UDID_LINE, *forged)).detail

    def test_one_alone_with_a_truncated_cc32xx_name_names_no_device(self) -> None:
        transcript = UartTranscript(DeviceProfile.TI_CC32XX)
        text = "\n".join([*certificate_request("a30f"), ""])
        assert "no device id before it" in only_failure(transcript.feed(text.encode())).detail

    def test_one_that_cannot_be_read_is_refused(self) -> None:
        lines = ["-----BEGIN CERTIFICATE REQUEST-----", "AAAA", "-----END CERTIFICATE REQUEST-----"]
        assert "certificate request" in only_failure(read(UDID_LINE, *lines)).detail


class TestPrefixesOfLoggingLibraries:
    @pytest.mark.parametrize(
        "prefix",
        [
            "\x1b[0;32mI ({number}) factory: ",
            "[00:00:0{number}.123,456] \x1b[1;32m<inf> app: ",
            "12:0{number}:59.1 DEBUG main.c:42 ",
            "\x1b[31m",
        ],
    )
    @pytest.mark.parametrize("form", ["pem", "hex", "request", "json"])
    def test_colours_and_times_before_each_line_are_passed_over(self, prefix: str, form: str) -> None:
        if form == "json":
            lines = [json.dumps({"device-id": UDID, "public-key": point(KEY)})]
        else:
            key = {
                "pem": KEY.pem().splitlines(),
                "hex": [point(KEY)[:64], point(KEY)[64:]],
                "request": certificate_request(UDID),
            }[form]
            lines = [UDID_LINE, *key]
        marked = [prefix.format(number=number % 10) + line + "\x1b[0m" for number, line in enumerate(lines)]
        assert read(*marked) == [READING]
