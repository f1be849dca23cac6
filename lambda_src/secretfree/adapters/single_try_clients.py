"""AWS clients without retries: IoT Core and Private CA for issuers, Lambda for the functions that invoke issuers.

The pipeline retries instead: it considers the remaining time, the throttling, and which calls are idempotent.
CreateCertificateFromCsr makes another certificate each time. DynamoDB keeps the SDK's own retries.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from secretfree.adapters import clients

if TYPE_CHECKING:
    from mypy_boto3_acm_pca import ACMPCAClient
    from mypy_boto3_iot import IoTClient
    from mypy_boto3_lambda import LambdaClient

# Seconds. Well below API Gateway's 29 s, so that an unanswered call can be tried again in the same invocation.
_READ_TIMEOUT: Final = 5.0
# API Gateway waits 29 s. A function that calls an issuer waits a little less, so that it can still answer.
_INVOCATION_READ_TIMEOUT: Final = 27.0


def iot() -> "IoTClient":
    """The client of IoT Core's control plane, without retries."""
    return _client("iot")  # type: ignore[no-any-return]


def acm_pca(authority_arn: str | None = None) -> "ACMPCAClient":
    """The client of AWS Private CA, without retries, in the Region of a CA where its ARN is given."""
    return _client("acm-pca", clients.region_of(authority_arn))  # type: ignore[no-any-return]


def functions() -> "LambdaClient":
    """The client of Lambda. Its read timeout is the longest time that an issuer may need."""
    return _client("lambda", read_timeout=_INVOCATION_READ_TIMEOUT)  # type: ignore[no-any-return]


@cache
def _client(service: str, region: str | None = None, *, read_timeout: float = _READ_TIMEOUT) -> Any:
    return clients.made(service, region, attempts=1, read_timeout=read_timeout)
