"""`secretfree check-csr`: the runtime's own verdict on a request, without a cloud."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives import hashes
from secretfree_cli.device import signing_request
from secretfree_cli.main import main
from secretfree_cli.output import ExitCode
from secretfree_device import keys
from secretfree_device.keys import KeyType

SHA1 = hashes.SHA1()  # noqa: S303 - what a CC32xx signs with


def request(name: str = "pump-1", *, digest: hashes.HashAlgorithm | None = None, forged: bool = False) -> bytes:
    """DER of a request."""
    own = keys.generate(KeyType.EC_P256)
    signer = keys.generate(KeyType.EC_P256) if forged else own
    return signing_request.certification_request(
        subject=signing_request.standard_subject(name), public_key=own.public_key(), signer=signer, digest=digest
    )


def run(data: bytes, *options: str) -> Result:
    return CliRunner().invoke(main, ["check-csr", "-", *options], input=data)


def verdict(data: bytes, *options: str) -> dict[str, Any]:
    result = run(data, "--json", *options)
    assert result.exit_code in {ExitCode.OK, ExitCode.REFUSED}, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    assert (result.exit_code == ExitCode.OK) is document["passes"]
    return document


@pytest.mark.parametrize("form", ["der", "pem", "header"])
def test_a_request_passes_in_each_form_that_a_device_may_send(form: str, tmp_path: Path) -> None:
    der = request()
    pem = signing_request.standard_pem(der)
    data = {"der": der, "pem": pem, "header": base64.b64encode(pem) + b"\n"}[form]
    path = tmp_path / "device.csr"
    path.write_bytes(data)
    result = CliRunner().invoke(main, ["check-csr", str(path)])
    assert result.exit_code == ExitCode.OK, result.output
    assert "passes" in result.stdout
    assert "pump-1" in result.stdout


@pytest.mark.parametrize(
    ("data", "element", "reason"),
    [
        (request(forged=True), "signature", "bad-signature"),
        (request(digest=SHA1), "signatureAlgorithm", "signature-algorithm"),
        (b"Subject: x\n" + signing_request.standard_pem(request()), "pem", "text-before-pem"),
        (b"!!! not base64", "header", "not-base64"),
        (b"\x30\x03\x02\x01\x01", None, None),
        (b"", None, None),
    ],
)
def test_a_request_that_is_refused_names_element_and_reason(data: bytes, element: str | None, reason: str) -> None:
    document = verdict(data)
    assert document["passes"] is False
    assert document["reason"]
    assert document["detail"]
    if element is not None:
        assert (document["element"].lower(), document["reason"]) == (element.lower(), reason)


def test_a_profile_decides() -> None:
    sha1 = request(digest=SHA1)
    assert not verdict(sha1)["passes"]
    assert verdict(sha1, "--device-profile", "TI_CC32XX")["passes"]


def test_a_common_name_that_is_no_device_id_is_said() -> None:
    result = run(request("pump 1"))
    assert result.exit_code == ExitCode.OK
    assert "only match policy PUBLIC_KEY" in result.stdout


def test_it_calls_no_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert verdict(request())["passes"]
