"""The one error type of the runtime, with its closed sets of codes (for devices) and reasons (for operators)."""

from enum import StrEnum
from typing import Final


class ErrorCode(StrEnum):
    """The code in an answer. Each has one HTTP status (docs/reference/wire-contract.md)."""

    MISSING_CSR = "missing-csr"
    MALFORMED_REQUEST = "malformed-request"
    NOT_AUTHORIZED = "not-authorized"
    INVALID_REQUEST = "invalid-request"
    NOT_FOUND = "not-found"
    CONFLICT = "conflict"
    TOO_MANY_REQUESTS = "too-many-requests"
    NOT_READY = "not-ready"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"

    @property
    def status(self) -> int:
        """HTTP status code."""
        return _STATUS[self]


class Reason(StrEnum):
    """The true reason: for the log and the `Reason` dimension of a metric, never for the requester."""

    # The request's form.
    MISSING_HEADER = "missing-header"
    MULTIPLE_HEADERS = "multiple-headers"
    MISSING_BODY = "missing-body"
    CONTENT_TYPE = "content-type"
    HEADER_AND_BODY = "header-and-body"
    NO_SUCH_PATH = "no-such-path"
    OVERSIZED = "oversized"
    NOT_BASE64 = "not-base64"
    NOT_A_CSR = "not-a-csr"
    NOT_DER = "not-der"
    CSR_STRUCTURE = "csr-structure"
    CSR_VERSION = "csr-version"
    TEXT_BEFORE_PEM = "text-before-pem"
    TRAILING_BYTES = "trailing-bytes"
    # The content of the CSR.
    SUBJECT = "subject"
    STRING_TYPE = "string-type"
    DEVICE_ID = "device-id"
    REQUESTED_EXTENSION = "requested-extension"
    KEY_KIND = "key-kind"
    WEAK_KEY = "weak-key"
    SIGNATURE_ALGORITHM = "signature-algorithm"
    SIGNATURE_ENCODING = "signature-encoding"
    # The device.
    BAD_SIGNATURE = "bad-signature"
    UNKNOWN_DEVICE = "unknown-device"
    BLOCKED_DEVICE = "blocked-device"
    NOT_YET_ALLOWED = "not-yet-allowed"
    KEY_MISMATCH = "key-mismatch"
    AMBIGUOUS_KEY = "ambiguous-key"
    REGISTRY_RECORD = "registry-record"
    DIGEST_MISMATCH = "digest-mismatch"
    CLIENT_CERTIFICATE = "client-certificate"
    # AWS, or the service itself.
    REGISTRY_UNAVAILABLE = "registry-unavailable"
    LEDGER_UNAVAILABLE = "ledger-unavailable"
    LEASE_HELD = "lease-held"
    QUEUED = "queued"
    CERTIFICATE_PENDING = "certificate-pending"
    DEADLINE = "deadline"
    THROTTLED = "throttled"
    UPSTREAM_REFUSED = "upstream-refused"
    UPSTREAM_UNAVAILABLE = "upstream-unavailable"
    CONFLICTING_THING = "conflicting-thing"
    FOREIGN_CERTIFICATE = "foreign-certificate"
    CERTIFICATE_MISSING = "certificate-missing"
    LEDGER_RECORD = "ledger-record"
    CONFIGURATION = "configuration"
    UNEXPECTED = "unexpected"


class SecretFreeError(Exception):
    """A refusal or a failure with a code and a reason.

    `detail` is for the log and the operator's terminal; it never reaches a requester, and holds no CSR, header or
    key. `retry_after` is in whole seconds.
    """

    def __init__(self, code: ErrorCode, detail: str, *, reason: Reason, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.reason = reason
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """HTTP status code of `code`."""
        return self.code.status


def malformed(detail: str, *, reason: Reason) -> SecretFreeError:
    """Whether the refusal depends on the request alone, so that it reveals nothing about devices."""
    return SecretFreeError(ErrorCode.MALFORMED_REQUEST, detail, reason=reason)


def not_authorized(detail: str, *, reason: Reason) -> SecretFreeError:
    """A refusal whose answer is the same for every reason."""
    return SecretFreeError(ErrorCode.NOT_AUTHORIZED, detail, reason=reason)


_STATUS: Final = {
    ErrorCode.MISSING_CSR: 401,
    ErrorCode.MALFORMED_REQUEST: 403,
    ErrorCode.NOT_AUTHORIZED: 403,
    ErrorCode.INVALID_REQUEST: 400,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.CONFLICT: 409,
    ErrorCode.TOO_MANY_REQUESTS: 429,
    ErrorCode.NOT_READY: 202,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.INTERNAL: 500,
}
