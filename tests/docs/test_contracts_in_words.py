"""What the runtime may say and what the documents explain are the same lists, and the contract's figures are true."""

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID
from secretfree.contract import Metric
from secretfree.errors import ErrorCode, Reason
from secretfree.handlers.http import answers
from secretfree.issuance.model import IssuedCertificate
from secretfree.issuance.rates import RetryAfterPolicy
from secretfree.issuance.tickets import LONGEST_RETRY_AFTER
from secretfree.telemetry import LOG_FIELDS
from secretfree_device import Patience
from support import metric_names
from support.documents import ROOT

_CONTRACT = (ROOT / "docs" / "reference" / "wire-contract.md").read_text()
_OPERATIONS = (ROOT / "docs" / "guides" / "operations.md").read_text()
_LOG_FIELDS = (ROOT / "docs" / "reference" / "log-fields.md").read_text()
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_operations_say_what_to_do_about_every_reason_and_no_other() -> None:
    section = _OPERATIONS.partition("## Every reason")[2].partition("\n## ")[0]

    assert sorted(re.findall(r"^\| `([a-z0-9-]+)` \|", section, re.MULTILINE)) == sorted(Reason)


def test_operations_list_every_metric_by_its_member_and_no_other() -> None:
    assert sorted(metric_names.documented(_OPERATIONS)) == sorted(metric.name for metric in Metric)


def test_the_page_of_log_fields_lists_every_field_and_no_other() -> None:
    section = _LOG_FIELDS.partition("## Fields that an event may have")[2].partition("\n## ")[0]
    of_every_line = {"issuer"}

    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(LOG_FIELDS.values()) - of_every_line


def test_the_page_of_log_fields_lists_every_event_and_no_other() -> None:
    section = _LOG_FIELDS.partition("## Events")[2]
    documented = {
        event for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for event in row.split("`")[1::2]
    }
    handlers = (ROOT / "lambda_src" / "secretfree" / "handlers").rglob("*.py")

    assert documented == {event for path in handlers for event in _events(ast.parse(path.read_text()))}


def test_a_metric_of_another_name_is_renamed_wherever_the_page_has_it() -> None:
    names = {metric.name: metric.value for metric in Metric} | {Metric.DENIED.name: "Refused"}
    page = metric_names.renamed(_OPERATIONS, names)

    assert metric_names.documented(page) == names
    assert f"`{metric_names.documented(_OPERATIONS)['DENIED']}`" not in page


def test_the_contract_says_what_a_device_does_about_every_code() -> None:
    section = _CONTRACT.partition("### Everything else")[2].partition("\n## ")[0]

    assert [code.value for code in ErrorCode if f"`{code.value}`" not in section] == []


def test_the_simulated_device_waits_as_the_contract_says() -> None:
    patience = Patience()

    assert f"min({patience.longest_pause:g}, {patience.first_pause:g} * 2^(n - 1))" in _CONTRACT
    assert f"min({patience.longest_doubled:g}, Retry-After * 2^(n - 1))" in _CONTRACT
    assert patience.spread == 0.5
    assert "wait = pause + random(0, pause / 2)" in _CONTRACT
    assert f"wait = Retry-After + random(0, min(Retry-After / 2, {patience.spread_of_turns:g}))" in _CONTRACT


def test_the_contract_names_the_longest_wait_of_the_service() -> None:
    assert RetryAfterPolicy().cap <= LONGEST_RETRY_AFTER
    assert f"The range is 1 to {LONGEST_RETRY_AFTER:,}." in " ".join(_CONTRACT.split())


@pytest.fixture(scope="module")
def rsa_4096_key() -> rsa.RSAPrivateKey:
    """One for every certificate, because only its size counts."""
    return rsa.generate_private_key(65537, 4096)


@pytest.mark.parametrize("authorities", [2, 3])
def test_the_largest_answer_is_within_the_figures_of_the_contract(
    authorities: int, rsa_4096_key: rsa.RSAPrivateKey
) -> None:
    key = rsa_4096_key
    leaf = _certificate("x" * 64, key, ca=False)
    chain = _certificate("x" * 64, key, ca=True) * authorities
    stated = re.search(
        r"^\| all RSA-4096 \| [\d,]+ bytes \| ([\d,]+) bytes \| ([\d,]+) bytes \|", _CONTRACT, re.MULTILINE
    )
    assert stated is not None

    length = len(_answer(leaf, chain))

    assert length == pytest.approx(int(stated[authorities - 1].replace(",", "")), rel=0.03)
    assert length < 12 * 1024


def _events(module: ast.Module) -> Iterator[str]:
    """The events that a module logs: the texts of the first argument, of either outcome where it has two."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "log":
            event = node.args[0]
            for text in (event.body, event.orelse) if isinstance(event, ast.IfExp) else (event,):
                assert isinstance(text, ast.Constant)
                yield str(text.value)


def _answer(leaf: str, chain: str) -> str:
    issued = IssuedCertificate(
        certificate_pem=leaf,
        chain_pem=chain,
        certificate_id="f" * 64,
        thing_name="x" * 64,
        not_after=_NOW,
        renew_after=_NOW,
        reused=False,
    )
    endpoint = "a1b2c3d4e5f6g7-ats.iot.eu-central-1.amazonaws.com"
    return str(answers.for_outcome(issued, endpoint=endpoint, accepted=[], request_id="")["body"])


def _certificate(common_name: str, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, *, ca: bool) -> str:
    parts = {
        NameOID.COUNTRY_NAME: "DE",
        NameOID.ORGANIZATION_NAME: "O" * 64,
        NameOID.ORGANIZATIONAL_UNIT_NAME: "U" * 64,
        NameOID.COMMON_NAME: common_name,
    }
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in parts.items()])
    crl = x509.UniformResourceIdentifier(f"http://{'c' * 100}.s3.eu-central-1.amazonaws.com/crl/{'a' * 36}.crl")
    ocsp = x509.UniformResourceIdentifier("http://ocsp.acm-pca.eu-central-1.amazonaws.com")
    public = key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(2**127 - 1)
        .not_valid_before(_NOW)
        .not_valid_after(_NOW + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca, 0 if ca else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.CRLDistributionPoints([x509.DistributionPoint([crl], None, None, None)]), critical=False)
        .add_extension(
            x509.AuthorityInformationAccess([x509.AccessDescription(AuthorityInformationAccessOID.OCSP, ocsp)]),
            critical=False,
        )
    )
    return builder.sign(key, hashes.SHA512()).public_bytes(serialization.Encoding.PEM).decode()
