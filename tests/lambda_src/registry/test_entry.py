"""How an entry is read from the attributes of its item."""

import pytest
from secretfree.errors import SecretFreeError
from secretfree.registry.entry import DeviceStatus, RegistryEntry
from secretfree.request.keys import DevicePublicKey


def _read(**attributes: str) -> RegistryEntry:
    return RegistryEntry.from_attributes({name.replace("_", "-"): value for name, value in attributes.items()})


def test_an_item_of_an_existing_deployment_is_enough(public_key: DevicePublicKey) -> None:
    entry = _read(device_id="widget-1", pubkey=public_key.registry_text())
    assert (entry.device_id, entry.public_key, entry.fingerprint) == ("widget-1", public_key, public_key.fingerprint)
    assert (entry.status, entry.defect) == (DeviceStatus.ALLOWED, None)


def test_a_recorded_fingerprint_must_be_that_of_the_key(public_key: DevicePublicKey) -> None:
    agreed = _read(device_id="w", pubkey=public_key.pem(), key_fingerprint=public_key.fingerprint)
    assert (agreed.fingerprint, agreed.defect) == (public_key.fingerprint, None)
    entry = _read(device_id="w", pubkey=public_key.pem(), key_fingerprint="0" * 64)
    assert entry.defect == "key-fingerprint is not that of pubkey"
    assert (entry.public_key, entry.fingerprint) == (None, None)


def test_a_fingerprint_alone_is_enough(public_key: DevicePublicKey) -> None:
    entry = _read(device_id="w", key_fingerprint=public_key.fingerprint)
    assert (entry.public_key, entry.fingerprint, entry.defect) == (None, public_key.fingerprint, None)


@pytest.mark.parametrize("fingerprint", ["", "0" * 63, "A" * 64, "g" * 64, "0" * 64 + "\n"])
def test_a_fingerprint_of_another_form_is_a_defect(fingerprint: str) -> None:
    assert _read(device_id="w", key_fingerprint=fingerprint).defect is not None


@pytest.mark.parametrize("pubkey", ["", "AAAA", "not a key"])
def test_a_key_that_cannot_be_read_is_a_defect_of_the_record(pubkey: str) -> None:
    entry = _read(device_id="w", pubkey=pubkey)
    assert (entry.defect or "").startswith("pubkey: ")
    assert (entry.public_key, entry.fingerprint) == (None, None)


@pytest.mark.parametrize(
    ("text", "status"),
    [("allowed", "allowed"), ("blocked", "blocked"), ("Blocked", "unreadable"),
     ("", "unreadable"), ("unreadable", "unreadable")],
)  # fmt: skip
def test_a_status_means_what_it_says_or_nothing(text: str, status: str) -> None:
    assert _read(device_id="w", status=text).status == status


def test_a_record_without_a_device_id_is_no_entry() -> None:
    for device_id in ("", "batch#1", "a b"):
        with pytest.raises(SecretFreeError, match="device id"):
            _read(device_id=device_id)
