"""Custom domain names of deployed APIs: mutual TLS against their truststores, and the client data for functions.

ministack stores such domains and ignores the truststore. Here the truststore is used as by API Gateway, and requests
have `domainName` and `identity.clientCert` in their context.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from secretfree_cli.local.emulators.tls_front import APIS, TICKET_HEADER

_TRUSTSTORE = "_truststore"
"""The field with the truststore's PEM in ministack's record of a domain."""


@dataclass(frozen=True)
class _Client:
    """The domain of a request, and the client certificate that was verified there."""

    domain: str
    certificate: x509.Certificate | None


_client: ContextVar[_Client | None] = ContextVar("client", default=None)


class DeployedDomains:
    """Port `Domains` of the TLS front, on ministack's records in the same process."""

    def __init__(self) -> None:
        self._tickets: dict[str, _Client] = {}

    def install(self) -> None:
        """Make ministack store truststores, and put domain and client certificate into each request's context."""
        _keep_truststores()
        self._describe_clients()

    def truststores(self) -> Mapping[str, Sequence[bytes]]:
        """The trusted certificates (DER) of each domain with mutual TLS, by the domain's name in lower case."""
        from ministack.services import apigateway_v1

        records = [record for _, record in apigateway_v1._domain_names.all_items()]  # noqa: SLF001
        return {
            record["domainName"].lower(): [
                one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(record[_TRUSTSTORE].encode())
            ]
            for record in records
            if record.get(_TRUSTSTORE)
        }

    def resolve(self, domain: str, path: str) -> str | None:
        """The emulator's path for a path of a domain; None if nothing is mapped there."""
        from ministack.services import apigateway_v1

        found = apigateway_v1.resolve_base_path_mapping(domain, path)
        if found is None:
            return None
        api, stage, rest = found
        return f"{APIS}{api}/{stage}{rest}"

    def ticket(self, domain: str, certificate: bytes | None) -> str:
        """A value of `TICKET_HEADER` that is valid for one request and that no client can guess."""
        ticket = secrets.token_hex(16)
        read = None if certificate is None else x509.load_der_x509_certificate(certificate)
        self._tickets[ticket] = _Client(domain, read)
        return ticket

    def _describe_clients(self) -> None:
        from ministack.services import apigateway_v1

        execute = apigateway_v1.handle_execute
        build = apigateway_v1._build_lambda_event_v1  # noqa: SLF001
        invoke = apigateway_v1._invoke_authorizer_lambda  # noqa: SLF001

        async def handle_execute(  # noqa: PLR0917 -- ministack calls it by position
            api: str, stage: str, method: str, path: str, headers: Any, body: bytes, query: Any
        ) -> Any:
            ticket = headers.get(TICKET_HEADER)
            _client.set(self._tickets.pop(ticket, None) if isinstance(ticket, str) else None)
            kept = {name: value for name, value in headers.items() if name != TICKET_HEADER}
            return await execute(api, stage, method, path, kept, body, query)

        def build_lambda_event(api: str, *args: Any, **kwargs: Any) -> Any:
            event = build(api, *args, **kwargs)
            _describe(event["requestContext"], api)
            return event

        async def invoke_authorizer(authorizer: Any, event: Any, *args: Any, **kwargs: Any) -> Any:
            if "requestContext" in event:
                _describe(event["requestContext"], str(event["requestContext"].get("apiId", "")))
            return await invoke(authorizer, event, *args, **kwargs)

        apigateway_v1.handle_execute = handle_execute
        apigateway_v1._build_lambda_event_v1 = build_lambda_event  # noqa: SLF001
        apigateway_v1._invoke_authorizer_lambda = invoke_authorizer  # noqa: SLF001


def _describe(context: dict[str, Any], api: str) -> None:
    from ministack.core.responses import get_region

    client = _client.get()
    context["domainName"] = f"{api}.execute-api.{get_region()}.amazonaws.com" if client is None else client.domain
    if client is not None and client.certificate is not None:
        context["identity"] = {**context.get("identity", {}), "clientCert": client_certificate(client.certificate)}


def client_certificate(certificate: x509.Certificate) -> dict[str, Any]:
    """The fields of a client certificate in `requestContext.identity.clientCert` of API Gateway."""
    serial = f"{certificate.serial_number:x}"
    serial = serial.zfill(len(serial) + len(serial) % 2)
    return {
        "clientCertPem": certificate.public_bytes(Encoding.PEM).decode(),
        "subjectDN": certificate.subject.rfc4514_string(),
        "issuerDN": certificate.issuer.rfc4514_string(),
        "serialNumber": ":".join(serial[start : start + 2] for start in range(0, len(serial), 2)),
        "validity": {
            "notBefore": f"{certificate.not_valid_before_utc:%b %e %H:%M:%S %Y} GMT",
            "notAfter": f"{certificate.not_valid_after_utc:%b %e %H:%M:%S %Y} GMT",
        },
    }


def _keep_truststores() -> None:
    """Make CreateDomainName read the truststore, and refuse an unreadable one, as API Gateway does."""
    from ministack.services import apigateway_v1

    create = apigateway_v1._create_domain_name  # noqa: SLF001

    def create_domain_name(data: Mapping[str, Any]) -> Any:
        mutual = data.get("mutualTlsAuthentication") or {}
        pem = None
        if mutual.get("truststoreUri"):
            try:
                pem = _read_truststore(mutual["truststoreUri"], mutual.get("truststoreVersion"))
            except ValueError as error:
                return apigateway_v1._v1_error("BadRequestException", str(error), 400)  # noqa: SLF001
        answer = create(data)
        if pem is not None and answer[0] < 400:
            apigateway_v1._domain_names[data["domainName"]][_TRUSTSTORE] = pem  # noqa: SLF001
        return answer

    apigateway_v1._create_domain_name = create_domain_name  # noqa: SLF001


def _read_truststore(uri: str, version: str | None) -> str:
    from ministack.services import s3

    parts = urlsplit(uri)
    content = s3._get_object_data(parts.netloc, parts.path.lstrip("/"), version)  # noqa: SLF001
    if content is None:
        raise ValueError(f"the truststore {uri} cannot be read")
    try:
        x509.load_pem_x509_certificates(content)
    except ValueError:
        raise ValueError(f"the truststore {uri} has no certificates in PEM") from None
    return str(content.decode("ascii"))
