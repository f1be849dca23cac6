"""The device's HTTP exchange: it posts the CSR, obeys Retry-After, and takes the certificate or the refusal."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from secretfree.contract import CSR_BODY_SEGMENT

HTTP_OK = 200
HTTP_ACCEPTED = 202
_RETRYABLE = frozenset({202, 429, *range(500, 600)})
"""Statuses after which a device posts again (the wire contract, "Retrying")."""
_FORBIDDEN = 403
_LONGEST_RETRY_AFTER = 86_400.0
_MAXIMUM_RETRY_AFTER_DIGITS = 10
_MAXIMUM_ANSWER_BYTES = 256 * 1024
"""A chain of a few certificates is some 10 KB."""


class IssuerPath(StrEnum):
    """The issuer, by the last segment of the path."""

    PRIVATE_CA = "new"
    IOT_CORE = "proto"


@dataclass(frozen=True)
class Answer:
    """One HTTP response, read to its end."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before asking again, or None where the server named none (RFC 9110, section 10.2.3).

        The wire contract has whole seconds only: a date or garbage counts as absent, more than an hour as an hour.
        """
        value = self.headers.get("retry-after", "")
        if not (value.isascii() and value.isdigit() and len(value) < _MAXIMUM_RETRY_AFTER_DIGITS):
            return None
        return min(float(value), _LONGEST_RETRY_AFTER)

    @property
    def is_retryable(self) -> bool:
        """Whether the device posts again soon. A 403 without `code` comes from API Gateway, not from the service."""
        return self.status in _RETRYABLE or (self.status == _FORBIDDEN and not self.problem_code)

    @property
    def request_id(self) -> str | None:
        """API Gateway's id of the request: `requestId` of a problem document, or the header of any answer."""
        return self._problem_member("requestId") or self.headers.get("x-amzn-requestid")

    @property
    def problem_code(self) -> str | None:
        """`code` of a problem document (RFC 9457), or None for any other body."""
        return self._problem_member("code")

    def _problem_member(self, name: str) -> str | None:
        with contextlib.suppress(ValueError):
            document = json.loads(self.body)
            if isinstance(document, dict) and isinstance(document.get(name), str):
                return str(document[name])
        return None


@dataclass(frozen=True)
class Identity:
    """What a device gets by provisioning. All of it is public."""

    certificate_pem: str
    chain_pem: str | None
    """Issuer first; None from IoT Core's own CA."""
    endpoint: str
    thing_name: str
    certificate_id: str
    not_after: str
    """RFC 3339, UTC."""
    renew_after: str | None = None
    """RFC 3339, UTC: the start of the renewal window. None: the service does not name it yet."""
    request_id: str | None = field(default=None, compare=False)
    """API Gateway's id of the request that was answered: what to look for in the log."""


class ProvisioningError(Exception):
    """There is no certificate; the message says why."""


class ProvisioningRefusedError(ProvisioningError):
    """The service refuses, and will again: a 4xx, or an answer outside the wire contract."""

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer


class ProvisioningUnavailableError(ProvisioningError):
    """The service was not reachable or not ready within the device's time."""


@dataclass(frozen=True)
class Patience:
    """How long a device tries. Times are in seconds."""

    total: float = 60.0
    first_pause: float = 1.0
    """Pause after the first failure if the server gives none; doubled at each further one."""
    longest_pause: float = 300.0
    longest_doubled: float = 3_600.0
    """The longest pause that follows from doubling the server's."""
    spread: float = 0.5
    """Random share added to a pause, so that devices that were refused together spread out."""
    spread_of_turns: float = 10.0
    """The most that is added to the time that a 202 names."""

    def pause(self, failures: int, retry_after: float | None, uniform: Callable[[float, float], float]) -> float:
        """Return the pause after so many failures in a row, never shorter than the server's."""
        doublings = float(2 ** min(failures - 1, 16))
        if retry_after is None:
            base = min(self.first_pause * doublings, self.longest_pause)
        else:
            base = max(retry_after, min(max(retry_after, 0.1) * doublings, self.longest_doubled))
        return base + uniform(0.0, base * self.spread)

    def until_turn(self, retry_after: float, uniform: Callable[[float, float], float]) -> float:
        """Return the pause after a 202, which names the device's own time."""
        base = max(retry_after, 0.1)
        return base + uniform(0.0, min(base * self.spread, self.spread_of_turns))


@dataclass(frozen=True)
class ProvisioningClient:
    """Client of one provisioning API. It opens a connection for each request, as a device after a reset does."""

    base_url: str
    """Output `ProvisioningUrl` of the stack; `/new` and `/proto` are below it."""
    ca_file: Path | None = None
    """PEM of the server's CA; None means the system's roots."""
    timeout: float = 35.0
    """Seconds for one exchange; API Gateway's own limit is 29."""
    patience: Patience = field(default_factory=Patience)
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    uniform: Callable[[float, float], float] = random.SystemRandom().uniform
    csr_in_body: bool = False
    """Whether the CSR is sent as the body, where the deployment takes it so."""

    def __post_init__(self) -> None:
        _checked_url(self.base_url)

    def provision(self, issuer: IssuerPath, signing_request: Callable[[], bytes]) -> Identity:
        """Repeat the request until there is a certificate, the service refuses, or the device's time is over.

        It calls `signing_request` at each attempt, as a device signs a new CSR at each start.

        Raises: ProvisioningRefusedError, ProvisioningUnavailableError.
        """
        deadline = self.monotonic() + self.patience.total
        attempt = failures = 0
        while True:
            attempt += 1
            failures += 1
            accepted = False
            retry_after: float | None = None
            try:
                answer = self.post(issuer, signing_request())
            except ssl.SSLCertVerificationError as error:
                # A repeated request would meet the same server.
                raise ProvisioningUnavailableError(
                    f"the certificate of {self.base_url} could not be verified: {error.verify_message}"
                ) from error
            except (OSError, http.client.HTTPException) as error:
                trouble = f"{type(error).__name__}: {error}"
            else:
                if answer.status == HTTP_OK:
                    return identity_of(answer)
                if not answer.is_retryable:
                    raise ProvisioningRefusedError(_refusal(answer), answer)
                trouble = f"answered {answer.status}{_request(answer)}"
                retry_after = answer.retry_after
                accepted = answer.status == HTTP_ACCEPTED
            if accepted and retry_after is not None:
                failures = 0
                pause = self.patience.until_turn(retry_after, self.uniform)
            else:
                pause = self.patience.pause(failures, retry_after, self.uniform)
            if self.monotonic() + pause > deadline:
                raise ProvisioningUnavailableError(
                    f"no certificate after {attempt} attempts within {self.patience.total:g} s; the last one: {trouble}"
                )
            self.sleep(pause)

    def post(self, issuer: IssuerPath, signing_request: bytes, *, accept: str = "application/json") -> Answer:
        """Send one CSR, in the header `device-csr` or as the body, and return the answer of any status.

        Raises: OSError (ssl.SSLError is one) and http.client.HTTPException if there is no answer.
        """
        encoded = base64.b64encode(signing_request).decode("ascii")
        if self.csr_in_body:
            headers = {"content-type": "application/pkcs10", "accept": accept}
            return self._exchange(f"{issuer.value}/{CSR_BODY_SEGMENT}", headers, encoded)
        headers = {"device-csr": encoded, "accept": accept, "content-length": "0"}
        return self._exchange(issuer.value, headers)

    def _exchange(self, path: str, headers: Mapping[str, str], body: str | None = None) -> Answer:
        url = _checked_url(self.base_url)
        connection = self._connection(url)
        try:
            connection.request("POST", f"{url.path.rstrip('/')}/{path}", body, dict(headers))
            response = connection.getresponse()
            answered = response.read(_MAXIMUM_ANSWER_BYTES + 1)
            if len(answered) > _MAXIMUM_ANSWER_BYTES:
                raise http.client.HTTPException(f"the answer is longer than {_MAXIMUM_ANSWER_BYTES} bytes")
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, answered)
        finally:
            connection.close()

    def _connection(self, url: SplitResult) -> http.client.HTTPConnection:
        host = url.hostname or ""
        if url.scheme == "http":
            return http.client.HTTPConnection(host, url.port, timeout=self.timeout)
        context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return http.client.HTTPSConnection(host, url.port, timeout=self.timeout, context=context)


def identity_of(answer: Answer) -> Identity:
    """Read a 200's JSON (the wire contract). Raises ProvisioningRefusedError where a field is missing."""
    try:
        document = json.loads(answer.body)
        chain = document.get("certificateChain")
        return Identity(
            certificate_pem=_text(document, "certificate"),
            chain_pem=chain if isinstance(chain, str) else None,
            endpoint=_text(document, "endpoint"),
            thing_name=_text(document, "thingName"),
            certificate_id=_text(document, "certificateId"),
            not_after=_text(document, "notAfter"),
            renew_after=_text(document, "renewAfter") if "renewAfter" in document else None,
            request_id=answer.request_id,
        )
    except (ValueError, KeyError, AttributeError) as error:
        raise ProvisioningRefusedError(f"the answer 200 is not that of the wire contract: {error}", answer) from error


def _text(document: Mapping[str, object], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise KeyError(f"{name} is missing")
    return value


def _refusal(answer: Answer) -> str:
    code = answer.problem_code
    return f"the service answered {answer.status}" + (f", {code}" if code else "") + _request(answer)


def _request(answer: Answer) -> str:
    return f" (request {answer.request_id})" if answer.request_id else ""


def _checked_url(base_url: str) -> SplitResult:
    """Return the parts of the URL. Plain HTTP is accepted on loopback only, where the local cloud is."""
    url = urlsplit(base_url)
    if url.scheme == "https" and url.hostname:
        return url
    if url.scheme == "http" and url.hostname and _is_loopback(url.hostname):
        return url
    raise ValueError(f"url is {base_url!r}; accepted are https://HOST/STAGE, and http:// on loopback only")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
