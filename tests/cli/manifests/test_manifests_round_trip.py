"""Every format: what the generator writes, detection knows and the reader gives back, device by device."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from secretfree.registry.admission import EnrollmentRecord
from secretfree.registry.gate import Gate
from secretfree_cli.manifests.detect import FormatOptions, detect_format, open_manifest
from secretfree_cli.manifests.generate import SAMPLES, SampleAuthority, SampleDevice, sample_devices, write_keys
from secretfree_cli.manifests.manifest import Manifest, ManifestError

AUTHORITY = SampleAuthority.create()
OPTIONS = FormatOptions(signers=[AUTHORITY.certificate], authorities=[AUTHORITY.certificate])
KEYS = [ec.generate_private_key(ec.SECP256R1()) for _ in range(6)]
FREE_IDS = ["csv", "jsonl", "pem", "dynamodb", "espressif"]
DEVICE_IDS = st.text("abcXYZ019:_-", min_size=1, max_size=64)


def records(manifest: Manifest) -> list[EnrollmentRecord]:
    return [Gate().admit(manifest.interpret(entry)) for entry in manifest.entries()]


def pairs(devices: Sequence[SampleDevice]) -> list[tuple[str, str]]:
    return [(device.device_id, device.public_key.fingerprint) for device in devices]


def read_pairs(manifest: Manifest) -> list[tuple[str, str]]:
    return [(r.device_id, r.public_key.fingerprint) for r in records(manifest) if r.public_key is not None]


@pytest.mark.parametrize("name", list(SAMPLES))
def test_a_sample_of_each_format_is_detected_and_read_back(name: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest"
    devices = list(sample_devices(7, SAMPLES[name].device_id))
    SAMPLES[name].write(path, devices, AUTHORITY)
    assert detect_format(path) == name
    manifest = open_manifest(path, OPTIONS)
    assert (manifest.format, manifest.size) == (name, path.stat().st_size)
    assert read_pairs(manifest) == pairs(devices)
    assert manifest.consumed == manifest.size


@pytest.mark.parametrize("name", list(SAMPLES))
def test_reading_twice_gives_the_same_entries_and_digest(name: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest"
    SAMPLES[name].write(path, sample_devices(3, SAMPLES[name].device_id), AUTHORITY)
    manifest = open_manifest(path, OPTIONS)
    assert read_pairs(manifest) == read_pairs(manifest)
    assert manifest.digest() == open_manifest(path, OPTIONS).digest()


@pytest.mark.parametrize("name", FREE_IDS)
@given(ids=st.lists(DEVICE_IDS, min_size=1, max_size=6, unique=True))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_accepted_device_id_survives_the_way_through_a_manifest(name: str, ids: list[str], tmp_path: Path) -> None:
    path = tmp_path / "manifest"
    devices = [SampleDevice(device_id, key) for device_id, key in zip(ids, KEYS, strict=False)]
    SAMPLES[name].write(path, devices, AUTHORITY)
    assert read_pairs(open_manifest(path, OPTIONS, forced=name)) == pairs(devices)


def test_a_folder_of_pem_files_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    devices = list(sample_devices(5, "dev-{}".format))
    for device in devices:
        (tmp_path / f"{device.device_id}.pem").write_text(device.public_key.pem())
    (tmp_path / "README.txt").write_text("not a key")
    manifest = open_manifest(tmp_path, OPTIONS)
    assert manifest.format == "pem"
    assert read_pairs(manifest) == pairs(devices)
    assert manifest.consumed == manifest.size


def test_a_folders_digest_changes_with_a_name_and_with_a_byte(tmp_path: Path) -> None:
    file = tmp_path / "a.pem"
    file.write_text("one")
    digests = {open_manifest(tmp_path, OPTIONS).digest()}
    file.write_text("two")
    digests.add(open_manifest(tmp_path, OPTIONS).digest())
    file.rename(tmp_path / "b.pem")
    digests.add(open_manifest(tmp_path, OPTIONS).digest())
    assert len(digests) == 3


def test_kept_private_keys_are_the_devices_own_and_their_owners_alone(tmp_path: Path) -> None:
    devices = list(write_keys(tmp_path / "keys", sample_devices(2, "dev-{}".format)))
    for device in devices:
        path = tmp_path / "keys" / f"{device.device_id}.key.pem"
        assert path.stat().st_mode & 0o777 == 0o600
        assert b"BEGIN PRIVATE KEY" in path.read_bytes()  # pragma: allowlist secret


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"device-id,public-key\n", "csv"),
        (b"\xef\xbb\xbfdevice-id;public-key\n", "csv"),
        (b"device-id\n", "csv"),
        (b"Serial\tKey\n", "csv"),
        (b"MAC,cn,cert\n", "espressif"),
        (b'{"device-id":"a"}\n', "jsonl"),
        (b'{"device-id": broken}\n', "jsonl"),
        (b'{"Item":{"device-id":{"S":"a"}}}\n', "dynamodb"),
        (b'{"device-id":{"S":"a"}}\n', "dynamodb"),
        (b'{\n  "Items": [', "dynamodb"),
        (b'[{"device-id":"a"}]', "json"),
        (b'[{"device-id":"a","pubkey":"x"}]', "dynamodb"),
        (b'[{"payload":"e","protected":"e"}]', "microchip"),
        (b'{"payload":"e","protected":"e"}\n', "microchip"),
        (b"7z\xbc\xaf\x27\x1c\x00", "infineon"),
        (b"\n-----BEGIN PUBLIC KEY-----\n", "pem"),
        (b"# dev-1\n-----BEGIN CERTIFICATE-----\n", "pem"),
        (b"subject=C = DE, CN = a\n-----BEGIN CERTIFICATE-----\n", "pem"),
    ],
)
def test_a_format_is_detected_by_its_beginning(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest"
    path.write_bytes(content)
    assert detect_format(path) == expected


@pytest.mark.parametrize("content", [b"", b"  \n", b"hello", b"\x00\x01\x02"])
def test_what_is_no_manifest_is_said_to_be_none(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "manifest"
    path.write_bytes(content)
    with pytest.raises(ManifestError):
        open_manifest(path, OPTIONS)


def test_only_pem_takes_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="folder"):
        open_manifest(tmp_path, OPTIONS, forced="csv")


@pytest.mark.parametrize("name", ["microchip", "infineon"])
def test_a_format_that_is_worth_its_signatures_is_not_read_without_the_signers(name: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest"
    SAMPLES[name].write(path, sample_devices(1, SAMPLES[name].device_id), AUTHORITY)
    with pytest.raises(ManifestError, match=r"signature|signed"):
        open_manifest(path, FormatOptions())


def test_the_sample_authority_is_a_ca_certificate() -> None:
    constraints = AUTHORITY.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert constraints.ca
    assert x509.load_pem_x509_certificate(AUTHORITY.pem()) == AUTHORITY.certificate
