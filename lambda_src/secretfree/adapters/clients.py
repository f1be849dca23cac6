"""AWS clients: one of each service per process, made on first use.

They come from botocore: boto3 makes the same ones, and would load 60 modules more for its resources and transfers.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol

import botocore.session
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_acm_pca import ACMPCAClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_iot import IoTClient

    from secretfree.adapters.iot_connections import DataPlane

# Seconds. A table read takes milliseconds, so a slow one is retried early. The two control planes are slower.
# All the tries together stay below the 29 s that API Gateway waits.
_CONNECT_TIMEOUT: Final = 1.0
_READ_TIMEOUTS: Final = {"dynamodb": 1.5, "iot": 6.0, "acm-pca": 6.0}
_DEFAULT_READ_TIMEOUT: Final = 5.0
_ATTEMPTS: Final = 3
_TOO_MANY_REQUESTS: Final = 429


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


def acm_pca() -> "ACMPCAClient":
    """The client of AWS Private CA."""
    return client("acm-pca")  # type: ignore[no-any-return]


def observe_calls(observer: "CallObserver") -> None:
    """Let `observer` see every answer of IoT Core and Private CA, on clients that are made after this call."""
    # The authorizer observes nothing, and does not load the issuing rules for it.
    from secretfree.adapters.aws_errors import THROTTLES

    def observe(**event: Any) -> None:
        code = str(event["parsed"].get("Error", {}).get("Code", ""))
        status = event["http_response"].status_code
        observer(event["model"].name, throttled=code in THROTTLES or status == _TOO_MANY_REQUESTS)

    for service in ("iot", "acm-pca"):
        _session().register(f"after-call.{service}", observe, unique_id=f"secretfree-calls-{service}")


@cache
def client(service: str) -> Any:
    """The process's one client of `service`, in the Region and with the credentials of the environment.

    Safe to share between threads. Connections are kept alive, so that a warm function skips the TLS handshake.
    """
    settings = Config(
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=_READ_TIMEOUTS.get(service, _DEFAULT_READ_TIMEOUT),
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        tcp_keepalive=True,
    )
    return _session().create_client(service, config=settings)


@cache
def _session() -> botocore.session.Session:
    return botocore.session.get_session()
