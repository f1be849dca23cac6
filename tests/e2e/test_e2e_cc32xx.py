"""A product line of TI CC32xx chips: another stack in the same cloud, with their profile and matching by key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from secretfree.request.keys import DevicePublicKey
from secretfree_cli.device.simulator import Firmware, SimulatedDevice
from secretfree_device import IssuerPath, ProvisioningClient

UDID = "0f 1e 2d 3c 4b 5a 69 78 87 96 a5 b4 c3 d2 e1 f0"
NORMALISED = UDID.replace(" ", "")


@pytest.fixture(scope="module")
def chips(cloud: Any) -> Any:
    """The stack of the chips' product line."""
    return cloud.stack(
        "Chips", product="chip", device_profile="TI_CC32XX", match_policy="PUBLIC_KEY", issuers="private-ca"
    )


@pytest.fixture(scope="module")
def chip(chips: Any, tmp_path_factory: pytest.TempPathFactory) -> SimulatedDevice:
    made = SimulatedDevice.create(tmp_path_factory.mktemp("chip") / "chip", UDID, firmware=Firmware.CC32XX)
    pem = made.public_key_file.read_bytes()
    chips.put_item(NORMALISED, pem, **{"key-fingerprint": DevicePublicKey.from_pem(pem.decode()).fingerprint})
    return made


def test_a_chip_that_signs_with_sha_1_gets_a_certificate_without_it(chips: Any, chip: SimulatedDevice) -> None:
    identity = chip.provision(ProvisioningClient(chips.url), IssuerPath.PRIVATE_CA)

    certificate = x509.load_pem_x509_certificate(identity.certificate_pem.encode())
    assert identity.thing_name == NORMALISED
    assert certificate.signature_hash_algorithm is not None
    assert certificate.signature_hash_algorithm.name == "sha256"
    assert [(attribute.oid, attribute.value) for attribute in certificate.subject] == [
        (NameOID.COMMON_NAME, NORMALISED)
    ]


def test_a_chip_whose_firmware_cuts_its_common_name_is_known_by_its_key(
    chips: Any, chip: SimulatedDevice, openssl: Callable[..., bytes], post: Callable[..., Any], tmp_path: Path
) -> None:
    key = chip.folder / "device.key.pem"
    request = openssl("req", "-new", "-batch", "-sha1", "-key", key, "-subj", f"/CN={NORMALISED[:6]}")

    reply = post(f"{chips.url}/new", request)

    assert reply.status == 200
    assert reply.json["thingName"] == NORMALISED


def test_a_chip_with_a_key_in_no_registry_is_refused(chips: Any, post: Callable[..., Any], tmp_path: Path) -> None:
    clone = SimulatedDevice.create(tmp_path / "clone", UDID, firmware=Firmware.CC32XX)

    reply = post(f"{chips.url}/new", clone.signing_request())

    assert (reply.status, reply.json["code"]) == (403, "not-authorized")


def test_a_chip_of_this_product_line_is_nobody_in_the_other(
    cloud: Any, chip: SimulatedDevice, post: Callable[..., Any]
) -> None:
    assert post(f"{cloud.url}/new", chip.signing_request()).status == 403


def test_a_product_line_has_no_path_for_an_issuer_that_it_was_not_given(
    chips: Any, chip: SimulatedDevice, post: Callable[..., Any]
) -> None:
    assert post(f"{chips.url}/proto", chip.signing_request()).status in {403, 404}
