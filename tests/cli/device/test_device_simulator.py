"""What a simulated device keeps on disk, and who can read it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from secretfree.errors import SecretFreeError
from secretfree_cli.device.simulator import PRIVATE_KEY_FILE, Firmware, SimulatedDevice
from secretfree_device import keys
from secretfree_device.keys import KeyType


def test_the_private_key_and_its_folder_are_the_owners_alone(tmp_path: Path) -> None:
    device = SimulatedDevice.create(tmp_path / "device", "sensor-1")

    assert stat.S_IMODE(device.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((device.folder / PRIVATE_KEY_FILE).stat().st_mode) == 0o600


def test_the_public_key_beside_it_is_the_keys_own(tmp_path: Path) -> None:
    device = SimulatedDevice.create(tmp_path / "device", "sensor-1", key_type=KeyType.RSA_2048)

    assert serialization.load_pem_public_key(device.public_key_file.read_bytes()) == device.private_key.public_key()


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    device = SimulatedDevice.create_in(tmp_path, "sensor-1")
    key = device.private_key.private_numbers()

    with pytest.raises(FileExistsError):
        SimulatedDevice.create_in(tmp_path, "sensor-1")

    assert device.private_key.private_numbers() == key


def test_a_device_is_found_again_as_it_was_made(tmp_path: Path) -> None:
    made = SimulatedDevice.create_in(tmp_path, "sensor-1", key_type=KeyType.EC_P384)

    assert SimulatedDevice.find_in(tmp_path, "sensor-1") == made


@pytest.mark.parametrize(
    "spelling", ["0F 1E 2D 3C 4B 5A 69 78 87 96 A5 B4 C3 D2 E1 F0", "0f1e2d3c4b5a69788796a5b4c3d2e1f0"]
)
def test_a_cc32xx_is_found_by_any_spelling_of_its_udid(tmp_path: Path, spelling: str) -> None:
    made = SimulatedDevice.create_in(
        tmp_path, "0f:1e:2d:3c:4b:5a:69:78:87:96:a5:b4:c3:d2:e1:f0", firmware=Firmware.CC32XX
    )

    assert made.device_id == "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
    assert SimulatedDevice.find_in(tmp_path, spelling) == made


def test_git_ignores_the_devices(tmp_path: Path) -> None:
    SimulatedDevice.create_in(tmp_path / "devices", "sensor-1")

    assert (tmp_path / "devices" / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize("device_id", ["", "../escape", "a" * 65, "sensor.1", "sensor 1"])
def test_what_is_no_device_id_makes_no_folder(tmp_path: Path, device_id: str) -> None:
    with pytest.raises(SecretFreeError):
        SimulatedDevice.create_in(tmp_path / "devices", device_id)

    assert not (tmp_path / "devices").exists()


def test_a_cc32xx_has_no_other_key_than_p_256(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ec-p256"):
        SimulatedDevice.create(tmp_path / "device", "00" * 16, key_type=KeyType.RSA_2048, firmware=Firmware.CC32XX)


def test_an_unknown_device_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SimulatedDevice.find_in(tmp_path, "sensor-1")


def test_a_key_of_another_kind_is_not_taken_for_a_devices(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ed25519

    path = tmp_path / "key.pem"
    path.write_bytes(
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )

    with pytest.raises(ValueError, match="RSA and elliptic-curve"):
        keys.read_private_key(path)
