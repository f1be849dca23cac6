"""AWS clients: one of each service per process, made on first use.

They come from botocore. boto3 makes the same clients, but loads 60 more modules for its resources and transfers.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol

import botocore.session
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_acm_pca import ACMPCAClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_iot import IoTClient
    from mypy_boto3_sqs import SQSClient

    from secretfree.adapters.iot_connections import DataPlane

# Seconds. A table read takes milliseconds, so a slow one is retried early. The two control planes are slower.
# All the tries together stay below the 29 s that API Gateway waits.
_CONNECT_TIMEOUT: Final = 1.0
_READ_TIMEOUTS: Final = {"dynamodb": 1.5, "iot": 6.0, "acm-pca": 6.0}
_DEFAULT_READ_TIMEOUT: Final = 5.0
_ATTEMPTS: Final = 3
_TOO_MANY_REQUESTS: Final = 429

USER_AGENT: Final = "cdk-iot-secretfree"
"""The runtime, as CloudTrail shows it."""


class CallObserver(Protocol):
    """Observes each call's answer."""

    def __call__(self, operation: str, *, throttled: bool) -> None:
        """`operation`: AWS's name, such as `RegisterCertificate`."""
        ...


def dynamodb() -> "DynamoDBClient":
    """The low-level DynamoDB client."""
    return client("dynamodb")  # type: ignore[no-any-return]


def iot() -> "IoTClient":
    """The client of IoT Core's control plane."""
    return client("iot")  # type: ignore[no-any-return]


def iot_data() -> "DataPlane":
    """The client of IoT Core's data plane."""
    return client("iot-data")  # type: ignore[no-any-return]


def acm_pca(authority_arn: str | None = None) -> "ACMPCAClient":
    """The client of AWS Private CA, in the Region of a CA where its ARN is given."""
    return client("acm-pca", region_of(authority_arn))  # type: ignore[no-any-return]


def sqs() -> "SQSClient":
    """The client of SQS."""
    return client("sqs")  # type: ignore[no-any-return]


def observe_calls(observer: "CallObserver") -> None:
    """Let `observer` see every answer of IoT Core and Private CA, on clients that are made after this call."""
    # Imported here, so that the authorizer, which observes nothing, does not load the issuing rules.
    from secretfree.adapters.aws_errors import THROTTLES

    def observe(**event: Any) -> None:
        code = str(event["parsed"].get("Error", {}).get("Code", ""))
        status = event["http_response"].status_code
        observer(event["model"].name, throttled=code in THROTTLES or status == _TOO_MANY_REQUESTS)

    for service in ("iot", "acm-pca"):
        _session().register(f"after-call.{service}", observe, unique_id=f"secretfree-calls-{service}")


def region_of(arn: str | None) -> str | None:
    """The Region that an ARN names; None, for the environment's own, without one."""
    parts = (arn or "").split(":")
    return parts[3] or None if len(parts) > 3 else None


@cache
def client(service: str, region: str | None = None) -> Any:
    """The process's one client of `service` in a Region, by default the environment's, with its credentials.

    Safe to share between threads. Connections are kept alive, so that a warm function skips the TLS handshake.
    """
    return made(service, region, attempts=_ATTEMPTS, read_timeout=_READ_TIMEOUTS.get(service, _DEFAULT_READ_TIMEOUT))


def made(service: str, region: str | None, *, attempts: int, read_timeout: float) -> Any:
    """Make a client from the process's only session, because a second session would load the data again.

    The client omits two tasks of botocore for each call: it does not build a `User-Agent`, and does not check the
    parameters against the service's model. The tests check the parameters of each call that they make.
    """
    settings = Config(
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": attempts},
        tcp_keepalive=True,
        user_agent=USER_AGENT,
        parameter_validation=False,
    )
    return _session().create_client(service, region_name=region, config=settings)


@cache
def _session() -> botocore.session.Session:
    return botocore.session.get_session()
