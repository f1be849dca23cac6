"""EST (RFC 7030): the CA certificates, enrolment and re-enrolment. It issues nothing itself.

Enrolment is the wire contract's request in another form: the same rules decide, and the same issuer answers.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from secretfree import clock as time
from secretfree.adapters import clients, single_try_clients
from secretfree.adapters.authority_certificates import AuthorityCertificates
from secretfree.adapters.dynamodb.issued_certificates import DynamoDbIssuedCertificates
from secretfree.adapters.iot_core import IotCoreCertificates
from secretfree.clock import Clock
from secretfree.config.est import EstConfig, ReenrollmentConfig
from secretfree.contract import EST_LABEL, EstOperation
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.handlers import reports
from secretfree.handlers.csr_bodies import CsrBodies
from secretfree.handlers.entry import LambdaHandler, lambda_handler
from secretfree.handlers.http import est_answers
from secretfree.handlers.http.answers import PEM_TYPE
from secretfree.handlers.http.problem import problem_response
from secretfree.handlers.http.request import client_certificate, domain_name, request_id, request_ids
from secretfree.issuance.reenrollment import require_own_certificate
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.telemetry import Telemetry


def build(environment: Mapping[str, str]) -> LambdaHandler:
    """The handler for a configuration; raises ConfigurationError."""
    return _Est(EstConfig.from_environment(environment), time.SystemClock())


class _Est:
    """Answers `/.well-known/est/OPERATION` and `/.well-known/est/LABEL/OPERATION`, LABEL being an issuer's path."""

    def __init__(self, config: EstConfig, clock: Clock) -> None:
        self._telemetry = Telemetry(config.front.authorizer.product, level=config.front.authorizer.log_level)
        self._default = config.default_path
        self._paths = frozenset(config.front.issuer_functions)
        self._authorities = config.authorities
        self._bodies = CsrBodies(config.front, self._telemetry)
        self._certificates = AuthorityCertificates(clock, retry_after=config.front.retry_after)
        self._reenrollment = None if config.reenrollment is None else _Reenrollment(config.reenrollment, clock)

    def __call__(self, event: dict[str, Any], _context: object) -> dict[str, Any]:
        try:
            return self._answer(event)
        except Exception as error:  # noqa: BLE001 - whatever fails, the device gets a problem document, no traceback
            # No metric counts an unknown path, as with API Gateway's own 404.
            if not (isinstance(error, SecretFreeError) and error.code is ErrorCode.NOT_FOUND):
                reports.failure(self._telemetry, error, ids=request_ids(event))
            return problem_response(error, request_id(event))
        finally:
            self._telemetry.flush()

    def _answer(self, event: dict[str, Any]) -> dict[str, Any]:
        path = self._path(event)
        match _operation(event):
            case EstOperation.CA_CERTIFICATES:
                if path not in self._authorities:
                    raise _not_found("an issuer without a CA of its own")
                return est_answers.ca_certificates(self._certificates.of(self._authorities[path]))
            case EstOperation.CSR_ATTRIBUTES:
                return est_answers.no_csr_attributes()
            case EstOperation.SIMPLE_ENROLL:
                return est_answers.enrolled(self._bodies.answer(event, path=path, accepted=[PEM_TYPE]))
            case EstOperation.SIMPLE_REENROLL:
                if self._reenrollment is None or not self._reenrollment.is_at(event):
                    raise _not_found("re-enrolment is available only at the domain with mutual TLS")
                also = partial(self._reenrollment.require, event)
                return est_answers.enrolled(self._bodies.answer(event, path=path, accepted=[PEM_TYPE], also=also))

    def _path(self, event: Mapping[str, Any]) -> str:
        label = (event.get("pathParameters") or {}).get(EST_LABEL)
        if label is None:
            return self._default
        if label not in self._paths:
            raise _not_found("an unknown label; accepted: an issuer's path")
        return str(label)


class _Reenrollment:
    """Requires a client certificate of the CSR's device."""

    def __init__(self, config: ReenrollmentConfig, clock: Clock) -> None:
        self._domain = config.domain
        self._issued = DynamoDbIssuedCertificates(clients.dynamodb(), table=config.ledger_table)
        self._registered = IotCoreCertificates(single_try_clients.iot())
        self._clock = clock

    def is_at(self, event: Mapping[str, Any]) -> bool:
        """Whether the request came through the domain with mutual TLS."""
        return domain_name(event) == self._domain

    def require(self, event: Mapping[str, Any], device: AuthorizedDevice) -> None:
        """Raise SecretFreeError unless the client certificate is a valid one of `device`."""
        require_own_certificate(
            device,
            client_certificate(event),
            issued=self._issued,
            registered=self._registered,
            clock=self._clock,
        )


def _operation(event: Mapping[str, Any]) -> EstOperation:
    return EstOperation(str(event["resource"]).rpartition("/")[2])


def _not_found(detail: str) -> SecretFreeError:
    return SecretFreeError(ErrorCode.NOT_FOUND, detail, reason=Reason.NO_SUCH_PATH)


handler: Final = lambda_handler(build)
