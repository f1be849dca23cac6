"""The deployed APIs over TLS: who the server is, what is handed on, and what is not."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from secretfree_cli.local.emulators.aws_domains import DeployedDomains, client_certificate
from secretfree_cli.local.emulators.tls_front import APIS, DOMAINS, TICKET_HEADER, TlsSettings, listen
from secretfree_cli.local.tls_certificate import ensure_tls_certificate

PATH = f"{APIS}api/v1/new"


class Behind(HTTPServer):
    """The emulator's port: keeps the requests, and answers each the same."""

    seen: list[tuple[str, str, dict[str, str], bytes]]


@pytest.fixture
def behind() -> Iterator[Behind]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.seen.append((self.command, self.path, headers, body))
            self.send_response(202)
            self.send_header("Retry-After", "7")
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"yes")

        do_GET = do_POST  # noqa: N815 - the base class's names

        def log_message(self, *_arguments: object) -> None:
            """Nothing."""

    server = Behind(("127.0.0.1", 0), Handler)
    server.seen = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def front(behind: Behind, tmp_path: Path) -> Iterator[Any]:
    ensure_tls_certificate(tmp_path / "ca.pem", tmp_path / "server.pem")
    server = listen(TlsSettings(0, str(tmp_path / "server.pem"), behind.server_port))
    yield server
    server.shutdown()
    server.server_close()


def connection(front: Any, folder: Path, host: str = "localhost") -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    return http.client.HTTPSConnection(host, front.server_port, timeout=20, context=context)


def ask(front: Any, folder: Path, path: str, **request: Any) -> tuple[int, dict[str, str], bytes]:
    asked = connection(front, folder)
    asked.request("POST", path, **request)
    answer = asked.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_client_that_trusts_the_ca_reaches_an_api_by_either_name(
    host: str, front: Any, behind: Behind, tmp_path: Path
) -> None:
    asked = connection(front, tmp_path, host)
    asked.request("POST", PATH, body=b"body", headers={"device-csr": "eA==", "Accept": "a/b"})
    answer = asked.getresponse()
    assert (answer.status, answer.read(), answer.headers["Retry-After"]) == (202, b"yes", "7")
    ((command, path, headers, body),) = behind.seen
    assert (command, path, body) == ("POST", PATH, b"body")
    assert headers["device-csr"] == "eA=="
    assert headers["host"] == f"127.0.0.1:{behind.server_port}"


def test_a_client_that_trusts_other_cas_does_not_connect(front: Any, behind: Behind) -> None:
    asked = http.client.HTTPSConnection("localhost", front.server_port, timeout=20)
    with pytest.raises(ssl.SSLCertVerificationError):
        asked.request("POST", PATH)
    assert behind.seen == []


@pytest.mark.parametrize("path", ["/", "/_ministack/reset", "/_secretfree/credentials/x", "/x/_aws/execute-api/api/v1"])
def test_nothing_but_a_deployed_api_is_reached(path: str, front: Any, behind: Behind, tmp_path: Path) -> None:
    assert ask(front, tmp_path, path)[0] == 404
    assert behind.seen == []


@pytest.mark.parametrize(
    "headers", [{"Content-Length": "99999999"}, {"Content-Length": "-1"}, {"Transfer-Encoding": "chunked"}]
)
def test_a_body_of_an_unbearable_length_is_refused(
    headers: dict[str, str], front: Any, behind: Behind, tmp_path: Path
) -> None:
    asked = connection(front, tmp_path)
    asked.putrequest("POST", PATH)
    for name, value in headers.items():
        asked.putheader(name, value)
    asked.endheaders()
    assert asked.getresponse().status == 413
    assert behind.seen == []


def test_a_silent_client_does_not_block_others(front: Any, tmp_path: Path) -> None:
    with socket.create_connection(("127.0.0.1", front.server_port)):
        assert ask(front, tmp_path, PATH)[0] == 202


def test_an_emulator_that_is_gone_is_a_bad_gateway(front: Any, behind: Behind, tmp_path: Path) -> None:
    behind.shutdown()
    behind.server_close()
    assert ask(front, tmp_path, PATH)[0] == 502


def test_the_certificate_is_kept_until_a_month_before_its_end(tmp_path: Path) -> None:
    authority, server = tmp_path / "ca.pem", tmp_path / "server.pem"
    ensure_tls_certificate(authority, server)
    first = server.read_text()
    assert server.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE KEY" not in authority.read_text()
    ensure_tls_certificate(authority, server)
    assert server.read_text() == first
    ensure_tls_certificate(authority, server, now=datetime.now(UTC) + timedelta(days=340))
    assert server.read_text() != first


def test_a_certificate_that_was_lost_is_made_anew(tmp_path: Path) -> None:
    authority, server = tmp_path / "ca.pem", tmp_path / "server.pem"
    ensure_tls_certificate(authority, server)
    authority.write_text("damaged")
    ensure_tls_certificate(authority, server)
    ssl.create_default_context(cafile=str(authority))


# --- custom domains with mutual TLS ---


class Trusting:
    """Two domains with a truststore each, and one without mutual TLS."""

    def __init__(self, own: bytes, other: bytes) -> None:
        self.given: list[tuple[str, bytes | None]] = []
        self._truststores = {"renew.example.com": [own], "other.example.com": [other]}

    def truststores(self) -> dict[str, list[bytes]]:
        return self._truststores

    def resolve(self, domain: str, path: str) -> str | None:
        return f"{APIS}api/v1{path}" if domain.endswith(".example.com") else None

    def ticket(self, domain: str, certificate: bytes | None) -> str:
        self.given.append((domain, certificate))
        return f"ticket-{len(self.given)}"


@dataclass(frozen=True)
class Client:
    """A CA, and a client certificate that it signed, with its key."""

    authority: bytes
    certificate: bytes
    pem: Path


def client_of_a_ca(folder: Path) -> Client:
    folder.mkdir()
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (folder.name, "device-1")]
    now = datetime.now(UTC)
    made = [
        x509.CertificateBuilder()
        .subject_name(names[number])
        .issuer_name(names[0])
        .public_key(keys[number].public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=number == 0, path_length=None), critical=True)
        .sign(keys[0], hashes.SHA256())
        for number in range(2)
    ]
    key = keys[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "client.pem").write_bytes(key + made[1].public_bytes(Encoding.PEM))
    authority, certificate = (one.public_bytes(Encoding.DER) for one in made)
    return Client(authority, certificate, folder / "client.pem")


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> list[Client]:
    """Of the domain's CA, of the other domain's, and of a CA that nothing trusts."""
    folder = tmp_path_factory.mktemp("clients")
    return [client_of_a_ca(folder / name) for name in ("own", "other", "foreign")]


@pytest.fixture
def mutual(behind: Behind, tmp_path: Path, clients: list[Client]) -> Iterator[Any]:
    ensure_tls_certificate(tmp_path / "ca.pem", tmp_path / "server.pem")
    domains = Trusting(clients[0].authority, clients[1].authority)
    server: Any = listen(TlsSettings(0, str(tmp_path / "server.pem"), behind.server_port), domains)
    server.domains = domains
    yield server
    server.shutdown()
    server.server_close()


def ask_as(client: Client | None, front: Any, folder: Path, path: str, **headers: str) -> int:
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if client is not None:
        context.load_cert_chain(client.pem)
    asked = http.client.HTTPSConnection("localhost", front.server_port, timeout=20, context=context)
    asked.request("POST", path, headers=headers)
    return asked.getresponse().status


RENEW = f"{DOMAINS}renew.example.com/.well-known/est/simplereenroll"


def test_a_client_of_the_truststore_is_handed_on_with_its_certificate(
    mutual: Any, behind: Behind, tmp_path: Path, clients: list[Client]
) -> None:
    assert ask_as(clients[0], mutual, tmp_path, f"{RENEW}?a=b") == 202
    ((_, path, headers, _),) = behind.seen
    assert path == f"{APIS}api/v1/.well-known/est/simplereenroll?a=b"
    assert headers[TICKET_HEADER] == "ticket-1"
    assert mutual.domains.given == [("renew.example.com", clients[0].certificate)]


def test_at_a_domain_with_mutual_tls_no_other_client_comes_in(
    mutual: Any, behind: Behind, tmp_path: Path, clients: list[Client]
) -> None:
    assert ask_as(None, mutual, tmp_path, RENEW) == 403
    assert ask_as(clients[1], mutual, tmp_path, RENEW) == 403
    with pytest.raises((ssl.SSLError, OSError)):
        ask_as(clients[2], mutual, tmp_path, RENEW)
    assert behind.seen == []


def test_a_ticket_that_a_client_sends_is_dropped(
    mutual: Any, behind: Behind, tmp_path: Path, clients: list[Client]
) -> None:
    for path in (PATH, f"{DOMAINS}plain.example.com/new"):
        assert ask_as(None, mutual, tmp_path, path, **{TICKET_HEADER: "forged"}) == 202
    assert [headers.get(TICKET_HEADER) for _, _, headers, _ in behind.seen] == [None, "ticket-1"]
    assert mutual.domains.given == [("plain.example.com", None)]


def test_a_domain_that_is_not_deployed_is_not_found(mutual: Any, behind: Behind, tmp_path: Path) -> None:
    assert ask_as(None, mutual, tmp_path, f"{DOMAINS}elsewhere.example.org/new") == 404
    assert behind.seen == []


def test_the_context_has_the_certificate_as_api_gateway_writes_it(clients: list[Client]) -> None:
    certificate = x509.load_der_x509_certificate(clients[0].certificate)
    described = client_certificate(certificate)
    assert described["clientCertPem"].startswith("-----BEGIN CERTIFICATE-----\n")
    assert (described["subjectDN"], described["issuerDN"]) == ("CN=device-1", "CN=own")
    assert bytes.fromhex(described["serialNumber"].replace(":", "")) == certificate.serial_number.to_bytes(
        described["serialNumber"].count(":") + 1
    )
    assert described["validity"].keys() == {"notBefore", "notAfter"}
    assert described["validity"]["notAfter"].endswith(f"{certificate.not_valid_after_utc:%Y} GMT")


# --- what the emulator keeps of a domain, and what a function learns ---


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch, clients: list[Client]) -> Iterator[DeployedDomains]:
    """The domains of a ministack in this process, whose buckets have two objects."""
    from ministack.services import apigateway_v1, s3

    own = x509.load_der_x509_certificate(clients[0].authority).public_bytes(Encoding.PEM)
    objects = {"devices.pem": own, "broken.pem": b"no certificate"}
    monkeypatch.setattr(s3, "_get_object_data", lambda _bucket, key, _version: objects.get(key))

    async def execute(api: str, stage: str, method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        resource = {"path": path, "id": "resource"}
        return apigateway_v1._build_lambda_event_v1(api, stage, {}, resource, path, method, headers, body, query, {})

    for name in ("_create_domain_name", "_build_lambda_event_v1", "_invoke_authorizer_lambda"):
        monkeypatch.setattr(apigateway_v1, name, getattr(apigateway_v1, name))  # put back in the end
    monkeypatch.setattr(apigateway_v1, "handle_execute", execute)
    domains = DeployedDomains()
    domains.install()
    yield domains
    apigateway_v1._delete_domain_name("renew.example.com")


def create(truststore: str | None) -> int:
    from ministack.services import apigateway_v1

    mutual = {"truststoreUri": f"s3://truststores/{truststore}"} if truststore else {}
    status, *_ = apigateway_v1._create_domain_name(
        {"domainName": "renew.example.com", "mutualTlsAuthentication": mutual}
    )
    return int(status)


def event_of(headers: dict[str, str]) -> dict[str, Any]:
    """The event of a request that comes in with these headers."""
    from ministack.services import apigateway_v1

    called = apigateway_v1.handle_execute("api1", "v1", "POST", "/new", headers, b"", {})
    event: dict[str, Any] = asyncio.run(called)
    return event


def test_a_domain_has_the_truststore_that_it_was_deployed_with(
    deployed: DeployedDomains, clients: list[Client]
) -> None:
    assert create("devices.pem") == 201
    assert deployed.truststores() == {"renew.example.com": [clients[0].authority]}


@pytest.mark.parametrize("truststore", ["absent.pem", "broken.pem"])
def test_a_truststore_that_cannot_be_read_is_refused(truststore: str, deployed: DeployedDomains) -> None:
    assert create(truststore) == 400
    assert deployed.truststores() == {}


def test_a_domain_without_mutual_tls_has_no_truststore(deployed: DeployedDomains) -> None:
    assert create(None) == 201
    assert deployed.truststores() == {}


def test_a_function_learns_the_domain_and_the_certificate_of_a_ticket_once(
    deployed: DeployedDomains, clients: list[Client]
) -> None:
    ticket = deployed.ticket("renew.example.com", clients[0].certificate)
    first = event_of({TICKET_HEADER: ticket, "accept": "a/b"})
    assert first["requestContext"]["domainName"] == "renew.example.com"
    assert first["requestContext"]["identity"]["clientCert"]["subjectDN"] == "CN=device-1"
    assert first["headers"] == {"accept": "a/b"}
    again = event_of({TICKET_HEADER: ticket})
    assert "clientCert" not in again["requestContext"]["identity"]


@pytest.mark.parametrize("headers", [{}, {TICKET_HEADER: "0" * 32}])
def test_any_other_request_came_through_the_default_endpoint(
    headers: dict[str, str], deployed: DeployedDomains
) -> None:
    event = event_of(headers)
    assert event["requestContext"]["domainName"].startswith("api1.execute-api.")
    assert "clientCert" not in event["requestContext"]["identity"]
    assert TICKET_HEADER not in event["headers"]
