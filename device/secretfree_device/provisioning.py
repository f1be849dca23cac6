"""The device's HTTP exchange: it posts the CSR, follows Retry-After, and returns the certificate or the refusal."""

from __future__ import annotations

import base64
import http.client
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from secretfree.contract import CSR_BODY_SEGMENT

from secretfree_device.answer import HTTP_ACCEPTED, HTTP_OK, Answer, AskAgain, IssuerPath
from secretfree_device.identity import Identity
from secretfree_device.patience import Patience

_MAXIMUM_ANSWER_BYTES = 256 * 1024
"""Maximum size of an answer; a chain of a few certificates has some 10 KB."""


class ProvisioningError(Exception):
    """Provisioning failed; the message has the reason."""


class ProvisioningRefusedError(ProvisioningError):
    """The service refused, or returned an answer outside the wire contract."""

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer


class ProvisioningUnavailableError(ProvisioningError):
    """The service was not reachable or not ready within the device's time limit."""


@dataclass(frozen=True)
class ProvisioningClient:
    """Client of one provisioning API. It opens a connection for each request, like a device after a reset."""

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
    """Whether the CSR is sent as the body, if the deployment accepts that."""

    def __post_init__(self) -> None:
        _checked_url(self.base_url)

    def provision(self, issuer: IssuerPath, signing_request: Callable[[], bytes]) -> Identity:
        """Repeat the request until there is a certificate, the service refuses, or the time limit is reached.

        It calls `signing_request` at each attempt, as a device signs a new CSR at each start.

        Raises: ProvisioningRefusedError, ProvisioningUnavailableError.
        """
        deadline = self.monotonic() + self.patience.total
        attempt = failures = 0
        while True:
            attempt += 1
            failures += 1
            answer: Answer | None = None
            try:
                answer = self.post(issuer, signing_request())
            except ssl.SSLCertVerificationError as error:
                # A retry would reach the same server.
                raise ProvisioningUnavailableError(
                    f"the certificate of {self.base_url} could not be verified: {error.verify_message}"
                ) from error
            except (OSError, http.client.HTTPException) as error:
                trouble = f"{type(error).__name__}: {error}"
            else:
                if answer.status == HTTP_OK:
                    return _identity_of(answer)
                trouble = f"answered {answer.status}{_request(answer)}"
            if answer is not None and self._is_final(answer):
                raise ProvisioningRefusedError(_refusal(answer), answer)
            if answer is not None and answer.status == HTTP_ACCEPTED and answer.retry_after is not None:
                failures = 0
            pause = self._pause(answer, failures)
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

    def _is_final(self, answer: Answer) -> bool:
        again = answer.ask_again
        return again is AskAgain.NEVER or (again is AskAgain.RARELY and not self.patience.after_refusals)

    def _pause(self, answer: Answer | None, failures: int) -> float:
        """Return the pause after an answer or its absence. Without failures, a 202 named the device's turn."""
        retry_after = None if answer is None else answer.retry_after
        if failures == 0 and retry_after is not None:
            return self.patience.until_turn(retry_after, self.uniform)
        if answer is not None and answer.ask_again is AskAgain.RARELY:
            return self.patience.rare_pause(failures, self.uniform)
        return self.patience.pause(failures, retry_after, self.uniform)

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


def _identity_of(answer: Answer) -> Identity:
    try:
        return Identity.of_answer(answer)
    except ValueError as error:
        raise ProvisioningRefusedError(f"the answer 200 is not that of the wire contract: {error}", answer) from error


def _refusal(answer: Answer) -> str:
    code = answer.problem_code
    return f"the service answered {answer.status}" + (f", {code}" if code else "") + _request(answer)


def _request(answer: Answer) -> str:
    return f" (request {answer.request_id})" if answer.request_id else ""


def _checked_url(base_url: str) -> SplitResult:
    """Return the parts of the URL. Plain HTTP is accepted only on loopback, for the local cloud."""
    url = urlsplit(base_url)
    if url.scheme == "https" and url.hostname:
        return url
    if url.scheme == "http" and url.hostname and _is_loopback(url.hostname):
        return url
    raise ValueError(f"url is {base_url!r}; accepted: https://HOST/STAGE, and http:// on loopback only")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
