"""What the tests of the runtime share: keys, requests by them, a clock that only moves when told."""

import base64
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from moto import mock_aws
from secretfree.request.csr import UnverifiedCsr, VerifiedCsr, verify
from secretfree.request.device_profile import DeviceProfile
from secretfree.request.keys import DevicePublicKey
from support.quick_aws import quicken_moto
from support.tables import LEDGER_TABLE, REGISTRY_TABLE

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
quicken_moto()
VECTORS = Path(__file__).parent / "vectors"


@pytest.fixture(autouse=True)
def _no_real_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the shell holds, a test reaches no account and no emulator that it did not start."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_LAMBDA_FUNCTION_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")


@pytest.fixture
def tables() -> Iterator[Any]:
    """A DynamoDB client of an account with the registry and the ledger, both empty."""
    with mock_aws():
        client = boto3.client("dynamodb")
        client.create_table(**REGISTRY_TABLE)
        client.create_table(**LEDGER_TABLE)
        yield client


@pytest.fixture(scope="session")
def p256_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="session")
def other_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def public_key(p256_key: ec.EllipticCurvePrivateKey) -> DevicePublicKey:
    return DevicePublicKey.from_key(p256_key.public_key())


@pytest.fixture(scope="session")
def csr_der(p256_key: ec.EllipticCurvePrivateKey) -> Callable[..., bytes]:
    """Make the DER of a request: `csr_der("widget-1", key=..., digest=...)`."""

    def make(
        common_name: str = "widget-1", *, key: PrivateKey = p256_key, digest: hashes.HashAlgorithm | None = None
    ) -> bytes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about lengths: an empty common name is among what devices send
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name, _validate=False)])
        builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
        return builder.sign(key, digest or hashes.SHA256()).public_bytes(Encoding.DER)

    return make


@pytest.fixture(scope="session")
def verified_csr(csr_der: Callable[..., bytes]) -> Callable[..., VerifiedCsr]:
    """Make a verified request: `verified_csr("widget-1", key=..., profile=...)`."""

    def make(
        common_name: str = "widget-1", *, profile: DeviceProfile = DeviceProfile.STANDARD, **by: Any
    ) -> VerifiedCsr:
        return verify(UnverifiedCsr.from_der(csr_der(common_name, **by)), profile)

    return make


@pytest.fixture(scope="session")
def header_value() -> Callable[[bytes], str]:
    """What a device sends for a DER or PEM: base64 of it, on one line."""
    return lambda data: base64.b64encode(data).decode("ascii")


@dataclass
class ManualClock:
    """Port `Clock`: time passes by sleeping and by `advance`."""

    wall: datetime = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
    elapsed: float = 0.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return self.wall + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return self.elapsed

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self.elapsed += seconds


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise `csr_vector` (file, profile, index line) and `key_vector` (file, reason) by the vectors' index."""
    index = json.loads((VECTORS / "index.json").read_text(encoding="utf-8"))
    if "csr_vector" in metafunc.fixturenames:
        metafunc.parametrize(
            "csr_vector",
            [
                pytest.param((VECTORS / line["file"], DeviceProfile(profile), line), id=f"{line['file']}-{profile}")
                for line in index
                if "profiles" in line
                for profile in line["profiles"]
            ],
        )
    if "key_vector" in metafunc.fixturenames:
        keys = [line for line in index if line["file"].startswith("key/")]
        metafunc.parametrize(
            "key_vector", [pytest.param((VECTORS / k["file"], k["reason"]), id=k["file"]) for k in keys]
        )
