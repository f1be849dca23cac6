"""EST: the wire contract's rules and answers in another form, and a client certificate where a device renews."""

import base64
import io
import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID
from secretfree.adapters import clients, single_try_clients
from secretfree.contract import Metric, Variable
from secretfree.errors import ErrorCode, Reason
from secretfree.handlers import est
from secretfree.handlers.http.problem import problem_body
from secretfree.request.keys import DevicePublicKey
from support.environments import est_environment

REQUEST_ID = "0a1b2c3d-request"
DOMAIN = "renew.example.com"


def certificate(
    common_name: str, key: ec.EllipticCurvePrivateKey, *, ends: timedelta = timedelta(days=1)
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - timedelta(days=9)).not_valid_after(now + ends).sign(key, hashes.SHA256())


def pem(one: x509.Certificate) -> str:
    return one.public_bytes(Encoding.PEM).decode()


class Aws:
    """Lambda, IoT Core and Private CA: keeps the calls, and answers or raises what it was given."""

    def __init__(self, issued: x509.Certificate, authority: list[x509.Certificate]) -> None:
        self.invoked: list[dict[str, Any]] = []
        self.read_authorities = 0
        self.authority: Any = authority
        self.answer = {"statusCode": 200, "headers": {"Content-Type": "application/x-pem-file"}, "body": pem(issued)}
        self.states: dict[str, Any] = {}

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803 - boto3's names
        self.invoked.append({"function": FunctionName, **json.loads(Payload)})
        return {"Payload": io.BytesIO(json.dumps(self.answer).encode())}

    def describe_certificate(self, *, certificateId: str) -> dict[str, Any]:  # noqa: N803
        state = self.states.get(certificateId)
        if isinstance(state, Exception):
            raise state
        if state is None:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "DescribeCertificate")
        return {"certificateDescription": {"status": state, "certificateArn": "arn"}}

    def get_certificate_authority_certificate(self, **_given: str) -> dict[str, Any]:
        self.read_authorities += 1
        if isinstance(self.authority, Exception):
            raise self.authority
        first, *chain = [pem(one) for one in self.authority]
        return {"Certificate": first.strip(), "CertificateChain": "\n".join(chain).strip()}


class Est:
    """The handler and what stands behind it."""

    def __init__(self, aws: Aws, tables: Any) -> None:
        self.aws = aws
        self.tables = tables
        self.handler = est.build(est_environment())

    def enrol(self, device_id: str, key: DevicePublicKey, **attributes: str) -> None:
        item = {"device-id": device_id, "pubkey": key.registry_text(), **attributes}
        self.tables.put_item(TableName="registry", Item={name: {"S": value} for name, value in item.items()})

    def record(self, device_id: str, one: x509.Certificate, *, state: str = "active", at_iot: Any = "ACTIVE") -> None:
        """A certificate as an issuance leaves it: in the ledger and at IoT Core."""
        certificate_id = one.fingerprint(hashes.SHA256()).hex()
        item = {"device-id": device_id, "record": f"certificate#{certificate_id}", "state": state}
        self.tables.put_item(TableName="ledger", Item={name: {"S": value} for name, value in item.items()})
        self.aws.states[certificate_id] = at_iot

    def get(self, operation: str, *, label: str | None = None) -> dict[str, Any]:
        return self.handler(event(operation, None, label=label), None)

    def enroll(self, der: bytes, *, label: str | None = None, **changes: Any) -> dict[str, Any]:
        return self.handler({**event("simpleenroll", base64.b64encode(der).decode(), label=label), **changes}, None)

    def reenroll(
        self, der: bytes, client: x509.Certificate | None, *, domain: str = DOMAIN, **headers: list[str]
    ) -> dict[str, Any]:
        given = event("simplereenroll", base64.b64encode(der).decode())
        given["multiValueHeaders"] |= headers
        given["requestContext"]["domainName"] = domain
        if client is not None:
            given["requestContext"]["identity"]["clientCert"] = {"clientCertPem": pem(client)}
        return self.handler(given, None)


def event(operation: str, body: str | None, *, label: str | None = None) -> dict[str, Any]:
    """A proxy event as API Gateway documents it."""
    path = "" if label is None else "/{label}"
    return {
        "resource": f"/.well-known/est{path}/{operation}",
        "httpMethod": "GET" if body is None else "POST",
        "multiValueHeaders": {"Content-Type": ["application/pkcs10"]},
        "pathParameters": None if label is None else {"label": label},
        "requestContext": {
            "requestId": REQUEST_ID,
            "domainName": "abc.execute-api.eu-central-1.amazonaws.com",
            "identity": {"sourceIp": "192.0.2.1"},
        },
        "body": body,
        "isBase64Encoded": False,
    }


def certificates(answer: dict[str, Any]) -> list[x509.Certificate]:
    """What a client that is strict about base64 reads: one line, nothing around it."""
    assert answer["statusCode"] == 200, answer
    assert answer["headers"]["Content-Transfer-Encoding"] == "base64"
    return pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer["body"], validate=True))


def seen(answer: dict[str, Any]) -> tuple[int, str]:
    return answer["statusCode"], answer["body"]


def problem(code: ErrorCode) -> tuple[int, str]:
    return code.status, problem_body(code, REQUEST_ID)


@pytest.fixture(scope="module")
def authority() -> list[x509.Certificate]:
    """The certificate of a CA and its chain."""
    return [certificate(name, ec.generate_private_key(ec.SECP256R1())) for name in ("issuing", "root")]


@pytest.fixture(scope="module")
def issued(p256_key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    return certificate("widget-1", p256_key)


@pytest.fixture
def served(
    tables: Any, monkeypatch: pytest.MonkeyPatch, issued: x509.Certificate, authority: list[x509.Certificate]
) -> Iterator[Est]:
    clients.client.cache_clear()
    aws = Aws(issued, authority)
    for name in ("functions", "iot"):
        monkeypatch.setattr(single_try_clients, name, lambda: aws)
    monkeypatch.setattr(single_try_clients, "acm_pca", lambda _arn: aws)
    yield Est(aws, tables)
    clients.client.cache_clear()


@pytest.fixture
def enrolled(served: Est, public_key: DevicePublicKey) -> Est:
    served.enrol("widget-1", public_key)
    return served


# --- enrolment ---


@pytest.mark.parametrize(
    ("label", "function"), [(None, "issuer-new"), ("new", "issuer-new"), ("proto", "issuer-proto")]
)
def test_the_issuer_of_the_label_answers_with_the_certificate_alone(
    label: str | None, function: str, enrolled: Est, csr_der: Callable[..., bytes], issued: x509.Certificate
) -> None:
    answer = enrolled.enroll(csr_der(), label=label)
    assert certificates(answer) == [issued]
    assert answer["headers"]["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"
    assert [call["function"] for call in enrolled.aws.invoked] == [function]
    assert enrolled.aws.invoked[0]["requestContext"]["authorizer"]["deviceId"] == "widget-1"


def test_not_ready_is_the_issuers_202_with_retry_after(enrolled: Est, csr_der: Callable[..., bytes]) -> None:
    enrolled.aws.answer = {"statusCode": 202, "headers": {"Retry-After": "7"}, "body": "{}"}
    assert enrolled.enroll(csr_der()) == enrolled.aws.answer


def test_a_clone_a_forgery_and_a_blocked_device_get_the_same_403(
    served: Est, csr_der: Callable[..., bytes], public_key: DevicePublicKey, other_key: ec.EllipticCurvePrivateKey
) -> None:
    served.enrol("widget-1", public_key)
    served.enrol("blocked-1", public_key, status="blocked")
    forged = bytearray(csr_der())
    forged[-6] ^= 1
    requests = [csr_der("unknown-1"), csr_der(key=other_key), csr_der("blocked-1"), bytes(forged)]
    assert {seen(served.enroll(request)) for request in requests} == {problem(ErrorCode.NOT_AUTHORIZED)}
    assert served.aws.invoked == []


def test_a_label_that_names_no_issuer_is_not_found(enrolled: Est, csr_der: Callable[..., bytes]) -> None:
    assert seen(enrolled.enroll(csr_der(), label="other")) == problem(ErrorCode.NOT_FOUND)
    assert enrolled.aws.invoked == []


# --- the CA's certificates and the attributes ---


def test_the_ca_certificates_are_those_of_the_issuer_with_their_chain(
    served: Est, authority: list[x509.Certificate]
) -> None:
    answer = served.get("cacerts")
    assert set(certificates(answer)) == set(authority)
    assert answer["headers"]["Content-Type"] == "application/pkcs7-mime"


def test_the_ca_is_asked_once_in_some_minutes(served: Est) -> None:
    for _ in range(3):
        served.get("cacerts")
    assert served.aws.read_authorities == 1


def test_an_issuer_without_a_ca_of_its_own_has_no_ca_certificates(served: Est) -> None:
    assert seen(served.get("cacerts", label="proto")) == problem(ErrorCode.NOT_FOUND)


@pytest.mark.parametrize(
    ("error", "code"), [("ThrottlingException", ErrorCode.UNAVAILABLE), ("AccessDeniedException", ErrorCode.INTERNAL)]
)
def test_a_ca_that_does_not_answer_is_a_failure_of_ours_and_asked_again_later(
    error: str, code: ErrorCode, served: Est, authority: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    served.aws.authority = ClientError({"Error": {"Code": error}}, "GetCertificateAuthorityCertificate")
    assert seen(served.get("cacerts")) == problem(code)
    assert any(json.loads(line).get(Metric.FAILED) == 1.0 for line in capsys.readouterr().out.splitlines())
    served.aws.authority = authority
    assert served.get("cacerts")["statusCode"] == 200


def test_no_attribute_is_asked_for(served: Est) -> None:
    assert seen(served.get("csrattrs")) == (204, "")


# --- re-enrolment ---


def test_a_device_renews_with_its_own_active_certificate(
    enrolled: Est, csr_der: Callable[..., bytes], p256_key: ec.EllipticCurvePrivateKey, issued: x509.Certificate
) -> None:
    old = certificate("widget-1", p256_key)
    enrolled.record("widget-1", old)
    assert certificates(enrolled.reenroll(csr_der(), old)) == [issued]


def test_a_new_key_renews_once_the_registry_has_it(
    enrolled: Est, csr_der: Callable[..., bytes], p256_key: Any, other_key: ec.EllipticCurvePrivateKey
) -> None:
    old = certificate("widget-1", p256_key)
    enrolled.record("widget-1", old)
    request = csr_der(key=other_key)
    assert seen(enrolled.reenroll(request, old)) == problem(ErrorCode.NOT_AUTHORIZED)
    enrolled.enrol("widget-1", DevicePublicKey.from_key(other_key.public_key()))
    assert enrolled.reenroll(request, old)["statusCode"] == 200


def test_the_default_endpoint_has_no_reenrolment_whatever_a_client_sends(
    enrolled: Est, csr_der: Callable[..., bytes], p256_key: ec.EllipticCurvePrivateKey
) -> None:
    old = certificate("widget-1", p256_key)
    enrolled.record("widget-1", old)
    elsewhere = "abc.execute-api.eu-central-1.amazonaws.com"
    assert seen(enrolled.reenroll(csr_der(), old, domain=elsewhere)) == problem(ErrorCode.NOT_FOUND)
    assert enrolled.aws.invoked == []


def test_a_client_certificate_in_a_header_is_none(
    enrolled: Est, csr_der: Callable[..., bytes], p256_key: ec.EllipticCurvePrivateKey
) -> None:
    old = certificate("widget-1", p256_key)
    enrolled.record("widget-1", old)
    headers = {name: [pem(old)] for name in ("X-SSL-Client-Cert", "X-Amzn-Mtls-Clientcert", "clientCert")}
    answer = enrolled.reenroll(csr_der(), None, **headers)
    assert seen(answer) == problem(ErrorCode.NOT_AUTHORIZED)
    assert enrolled.aws.invoked == []


UNAVAILABLE = ClientError({"Error": {"Code": "InternalFailure"}, "ResponseMetadata": {"HTTPStatusCode": 500}}, "D")  # type: ignore[typeddict-item]


@pytest.mark.parametrize("refused", ["other-device", "unknown", "revoked", "inactive", "deleted", "ended"])
def test_a_certificate_that_is_not_a_good_one_of_the_device_is_refused(
    refused: str,
    enrolled: Est,
    csr_der: Callable[..., bytes],
    p256_key: ec.EllipticCurvePrivateKey,
    capsys: pytest.CaptureFixture[str],
) -> None:
    old = certificate("widget-1", p256_key, ends=timedelta(days=-1 if refused == "ended" else 1))
    match refused:
        case "other-device":
            enrolled.record("widget-2", old)
        case "unknown":
            enrolled.aws.states[old.fingerprint(hashes.SHA256()).hex()] = "ACTIVE"
        case "revoked":
            enrolled.record("widget-1", old, state="revoked")
        case "inactive":
            enrolled.record("widget-1", old, at_iot="INACTIVE")
        case "deleted":
            enrolled.record("widget-1", old, at_iot=None)
        case "ended":
            enrolled.record("widget-1", old)
    assert seen(enrolled.reenroll(csr_der(), old)) == problem(ErrorCode.NOT_AUTHORIZED)
    assert enrolled.aws.invoked == []
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["reason"] for line in lines if line.get("code")] == [Reason.CLIENT_CERTIFICATE]
    assert not any(line.get(Metric.ALLOWED) for line in lines)


@pytest.mark.parametrize("broken", ["iot", "ledger"])
def test_what_cannot_be_looked_up_is_a_503_with_retry_after(
    broken: str, enrolled: Est, csr_der: Callable[..., bytes], p256_key: ec.EllipticCurvePrivateKey
) -> None:
    old = certificate("widget-1", p256_key)
    enrolled.record("widget-1", old, at_iot=UNAVAILABLE)
    if broken == "ledger":
        enrolled.tables.delete_table(TableName="ledger")
    answer = enrolled.reenroll(csr_der(), old)
    assert seen(answer) == problem(ErrorCode.UNAVAILABLE)
    assert answer["headers"]["Retry-After"] == "5"
    assert enrolled.aws.invoked == []


@pytest.mark.parametrize("given", ["no PEM", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"])
def test_a_client_certificate_that_cannot_be_read_is_refused(
    given: str, enrolled: Est, csr_der: Callable[..., bytes]
) -> None:
    request = event("simplereenroll", base64.b64encode(csr_der()).decode())
    request["requestContext"] |= {"domainName": DOMAIN, "identity": {"clientCert": {"clientCertPem": given}}}
    assert seen(enrolled.handler(request, None)) == problem(ErrorCode.NOT_AUTHORIZED)


def test_without_the_domain_there_is_no_reenrolment(
    enrolled: Est, csr_der: Callable[..., bytes], p256_key: ec.EllipticCurvePrivateKey
) -> None:
    enrolled.handler = est.build(est_environment({Variable.EST_REENROLL_DOMAIN: ""}))
    assert seen(enrolled.reenroll(csr_der(), certificate("widget-1", p256_key))) == problem(ErrorCode.NOT_FOUND)


# --- hostile bodies ---


@pytest.mark.parametrize("rounds", [300, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_mutated_bodies_issue_nothing_and_are_no_fault_of_ours(
    rounds: int, enrolled: Est, csr_der: Callable[..., bytes], p256_key: ec.EllipticCurvePrivateKey
) -> None:
    old = certificate("widget-1", p256_key)
    enrolled.record("widget-1", old)
    chance = random.Random(11)
    original = csr_der()
    statuses = set()
    for number in range(rounds):
        der = bytearray(original)
        for _ in range(chance.randint(1, 4)):
            position = chance.randrange(len(der))
            der[position : position + chance.randint(0, 3)] = chance.randbytes(chance.randint(1, 3))
        if bytes(der) == original:
            continue
        answer = enrolled.enroll(bytes(der)) if number % 2 else enrolled.reenroll(bytes(der), old)
        statuses.add(answer["statusCode"])
    assert statuses <= {401, 403}
    assert enrolled.aws.invoked == []


@pytest.mark.parametrize("given", ["", "other"])
def test_a_default_issuer_that_does_not_exist_is_refused_at_the_start(given: str) -> None:
    with pytest.raises(Exception, match=Variable.EST_ISSUER):
        est.build(est_environment({Variable.EST_ISSUER: given}))
