"""What must hold for any damaged manifest: no exception but ours, and no device with the key of another.

Damage is what files suffer: letters wrong, lost or doubled, lines lost, doubled or exchanged, an end or a beginning cut
off, another encoding. No damage takes away more than 48 bytes inside: a longer one could join one row's id with the key
of the next, which no reader could see.
"""

from __future__ import annotations

import base64
import io
import json
import random
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from secretfree.registry.admission import RowRefused
from secretfree.registry.gate import Gate
from secretfree.registry.key_material.keys import read_certificates, read_key_material
from secretfree.request.keys import DevicePublicKey
from secretfree_cli.manifests.detect import FORMATS, FormatOptions, open_manifest
from secretfree_cli.manifests.generate import SAMPLES, SampleAuthority, SampleDevice, sample_devices
from secretfree_cli.manifests.manifest import ManifestError

DEVICES: Final = 5
_SPECIAL: Final = b'",;:\n\r{}[]\\\0\x1a-=# \t\xff'
_LONGEST_LOSS: Final = 48


@dataclass
class Sample:
    """An undamaged manifest: its bytes, its true pairs of id and fingerprint, and how it is opened."""

    form: str
    data: bytes
    pairs: Mapping[str, str]
    options: FormatOptions
    signed: bool = False


@dataclass
class Tally:
    """The outcomes of the damaged manifests."""

    manifests: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0
    admitted: int = 0
    refused: int = 0


def samples(folder: Path) -> list[Sample]:
    """Make a manifest in every format, each of other devices."""
    authority = SampleAuthority.create()
    options = FormatOptions(signers=[authority.certificate], authorities=[authority.certificate])
    found = []
    for form, sample in SAMPLES.items():
        devices = list(sample_devices(DEVICES, _random_ids(form)))
        path = folder / f"sample-{form}"
        sample.write(path, devices, authority)
        found.append(Sample(form, path.read_bytes(), _pairs(devices), options, form in {"microchip", "infineon"}))
    for form, write in _MORE.items():
        devices = list(sample_devices(DEVICES, _random_ids(form)))
        found.append(Sample(form.partition(" ")[0], write(devices, authority), _pairs(devices), options))
    return found


def check(sample: Sample, chance: random.Random, path: Path, tally: Tally) -> None:
    """Damage `sample`, read it, and hold the readers to their promises."""
    path.write_bytes(damaged(sample.data, chance))
    tally.manifests[sample.form] += 1
    try:
        manifest = open_manifest(path, sample.options, forced=chance.choice([None, sample.form, sample.form]))
        for entry in manifest.entries():
            try:
                if entry.broken is not None:
                    raise entry.broken
                record = Gate().admit(manifest.interpret(entry))
            except RowRefused:
                tally.refused += 1
                continue
            tally.admitted += 1
            key = None if record.public_key is None else record.public_key.fingerprint
            _require_own_key(sample, record.device_id, key)
    except ManifestError:
        tally.unreadable += 1


def check_certificate(sample: Sample, chance: random.Random) -> None:
    """Read damaged certificates as `--signer`, `--ca` and `--public-key` would."""
    certificate = chance.choice([*sample.options.signers])
    data = damaged(certificate.public_bytes(chance.choice([Encoding.PEM, Encoding.DER])), chance)
    for reader in (read_certificates, read_key_material):
        try:
            reader(data)
        except RowRefused:
            continue


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Return `data` with one to three damages."""
    for _ in range(chance.randint(1, 3)):
        data = chance.choice(_DAMAGES)(data, chance)
    return data


def wrong_bits(data: bytes, chance: random.Random) -> bytes:
    """Return `data` with one to three bits wrong, at the same length: damage that reaches the inner parts of DER."""
    for _ in range(chance.randint(1, 3)):
        data = _bit(data, chance)
    return data


def _require_own_key(sample: Sample, device_id: str, fingerprint: str | None) -> None:
    own = sample.pairs.get(device_id)
    if own == fingerprint:
        return
    assert fingerprint not in sample.pairs.values() or own is None, "a device with the key of another"
    assert not sample.signed, "a pair that nobody signed"


def _letter(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    letter = bytes([chance.choice(_SPECIAL) if chance.random() < 0.5 else chance.randrange(256)])
    return data[:at] + letter + data[at + chance.randint(0, 1) :]


def _bit(data: bytes, chance: random.Random) -> bytes:
    if not data:
        return data
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _lost(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + data[at + chance.randint(1, _LONGEST_LOSS) :]


def _doubled(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    end = at + chance.randint(1, _LONGEST_LOSS)
    return data[:end] + data[at:]


def _line(data: bytes, chance: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    if len(lines) < 2:
        return data
    at = chance.randrange(len(lines) - 1)
    match chance.randrange(3):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[at])
        case _:
            lines[at : at + 2] = reversed(lines[at : at + 2])
    return b"".join(lines)


def _cut(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] if chance.random() < 0.7 else data[at:]


def _encoded(data: bytes, chance: random.Random) -> bytes:
    match chance.randrange(4):
        case 0:
            return data.decode("latin-1").encode(chance.choice(["utf-16", "utf-16-le", "utf-16-be"]))
        case 1:
            return b"\xef\xbb\xbf" + data
        case 2:
            return data.replace(b"\n", chance.choice([b"\r", b"\r\n"]))
        case _:
            return data + chance.choice([b"\0", b"\x1a", b"\0" * 20, b"\xff"])


_DAMAGES: Final[tuple[Callable[[bytes, random.Random], bytes], ...]] = (
    *[_letter, _bit, _lost, _doubled, _line] * 3,
    _cut,
    _encoded,
)


# --- formats that no sample command writes ---


def _random_ids(form: str) -> Callable[[int], str]:
    size = 10 if form == "infineon" else 8
    return lambda _number: secrets.token_hex(size).upper() if form == "infineon" else f"d-{secrets.token_hex(size)}"


def _pairs(devices: list[SampleDevice]) -> dict[str, str]:
    return {
        device.device_id: DevicePublicKey.from_key(device.private_key.public_key()).fingerprint for device in devices
    }


def _request(device: SampleDevice) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, device.device_id)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(device.private_key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _certificate(device: SampleDevice, authority: SampleAuthority) -> bytes:
    return authority.issue(device.device_id, device.private_key.public_key()).public_bytes(Encoding.PEM)


def _bundle(devices: list[SampleDevice], authority: SampleAuthority) -> bytes:
    return b"".join(_certificate(device, authority) + authority.pem() for device in devices)


def _requests(devices: list[SampleDevice], _authority: SampleAuthority) -> bytes:
    return b"device-id,public-key\n" + b"".join(
        device.device_id.encode() + b',"' + _request(device) + b'"\n' for device in devices
    )


def _array(devices: list[SampleDevice], authority: SampleAuthority) -> bytes:
    rows = [{"device-id": one.device_id, "public-key": _certificate(one, authority).decode()} for one in devices]
    return json.dumps(rows, indent=1).encode()


def _bulk(devices: list[SampleDevice], _authority: SampleAuthority) -> bytes:
    text = io.StringIO()
    for device in devices:
        text.write(json.dumps({"ThingName": device.device_id, "CSR": _request(device).decode()}) + "\n")
    return text.getvalue().encode()


def _base64(devices: list[SampleDevice], _authority: SampleAuthority) -> bytes:
    return b"".join(base64.b64encode(_request(device)) + b"\n" for device in devices)


def _rainmaker(devices: list[SampleDevice], authority: SampleAuthority) -> bytes:
    return b"node_id,certs\n" + b"".join(
        device.device_id.encode() + b',"' + _certificate(device, authority) + b'"\n' for device in devices
    )


_MORE: Final[Mapping[str, Callable[[list[SampleDevice], SampleAuthority], bytes]]] = {
    "pem of certificates with their chain": _bundle,
    "csv of requests": _requests,
    "json": _array,
    "aws-bulk": _bulk,
    "base64": _base64,
    "espressif of RainMaker": _rainmaker,
}

assert {*SAMPLES, *(form.partition(" ")[0] for form in _MORE)} == {*FORMATS}
