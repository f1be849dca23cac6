"""The errors of AWS Private CA's API, in the form that botocore maps to its exception classes.

The codes are those of the service model, and two that AWS sends although the model lacks them: `ThrottlingException`
and `ValidationException`. AWS does not document its code for each invalid argument; a client must not rely on it.
"""

from __future__ import annotations

from moto.core.exceptions import JsonRESTError


class PrivateCaError(JsonRESTError):
    """An error answer: HTTP 400 with `__type` and `message`."""

    code = 400
    error_code = "InvalidRequestException"

    def __init__(self, message: str) -> None:
        super().__init__(self.error_code, message)


class InvalidArgsError(PrivateCaError):
    """An argument is invalid for the operation."""

    error_code = "InvalidArgsException"


class InvalidTagError(PrivateCaError):
    """A tag is invalid for a CA."""

    error_code = "InvalidTagException"


class InvalidArnError(PrivateCaError):
    """An ARN does not have the form of its kind."""

    error_code = "InvalidArnException"


class InvalidRequestError(PrivateCaError):
    """The request cannot be carried out."""

    error_code = "InvalidRequestException"


class InvalidStateError(PrivateCaError):
    """The CA's state does not allow the operation."""

    error_code = "InvalidStateException"


class ResourceNotFoundError(PrivateCaError):
    """There is no such CA or certificate."""

    error_code = "ResourceNotFoundException"


class MalformedCsrError(PrivateCaError):
    """The CSR cannot be read, or its signature is not by its key."""

    error_code = "MalformedCSRException"


class MalformedCertificateError(PrivateCaError):
    """A certificate to be imported cannot be read."""

    error_code = "MalformedCertificateException"


class CertificateMismatchError(PrivateCaError):
    """An imported certificate is not for this CA's key, or its chain is wrong."""

    error_code = "CertificateMismatchException"


class RequestInProgressError(PrivateCaError):
    """The certificate is not issued yet."""

    error_code = "RequestInProgressException"


class RequestAlreadyProcessedError(PrivateCaError):
    """The certificate is revoked already."""

    error_code = "RequestAlreadyProcessedException"


class ThrottlingError(PrivateCaError):
    """More requests per second than the quota."""

    error_code = "ThrottlingException"


class ValidationError(PrivateCaError):
    """A value is outside what the API allows, such as a validity beyond the CA's own."""

    error_code = "ValidationException"
