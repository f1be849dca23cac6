"""What reaches an issuer: a request that the verifier has passed, and nothing that an adapter would have to parse."""

import ast
from pathlib import Path
from typing import get_type_hints

import pytest
from secretfree.adapters import iot_core
from secretfree.issuance.ports import CertificateIssuer, CertificateOrder
from secretfree.request.csr import VerifiedCsr
from secretfree.request.device_id import DeviceId

ADAPTERS = sorted(Path(iot_core.__file__).parent.rglob("*.py"))


def test_an_issuer_takes_an_order_that_carries_the_verified_type() -> None:
    assert get_type_hints(CertificateIssuer.request)["order"] is CertificateOrder
    assert get_type_hints(CertificateOrder) == {"device_id": DeviceId, "csr": VerifiedCsr, "token": str}


def test_nothing_but_the_verifier_makes_what_an_order_carries() -> None:
    with pytest.raises(TypeError, match=r"only secretfree\.request\.csr\.verify"):
        VerifiedCsr(b"", "widget-1", None, None, verifier=object())  # type: ignore[arg-type]


@pytest.mark.parametrize("module", ADAPTERS, ids=lambda path: path.stem)
def test_no_adapter_parses_a_request(module: Path) -> None:
    called = {node.attr for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Attribute)}
    assert not called & {"load_der_x509_csr", "load_pem_x509_csr"}
