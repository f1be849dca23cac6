"""Metrics that dashboard and alarms share, in addition to the construct's `metric_*` methods."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from secretfree.contract import METRIC_NAMESPACE, Dimension, Metric

if TYPE_CHECKING:
    from cdk_iot_secretfree.issuers.issuer import Issuer

DEFAULT_QUOTAS: Final[Mapping[str, int]] = {
    "IssueCertificate": 25,
    "GetCertificate": 75,
    "RegisterCertificate": 10,
    "RegisterCertificateWithoutCA": 10,
    "CreateCertificateFromCsr": 15,
    "UpdateCertificate": 10,
    "AttachPolicy": 15,
    "AttachThingPrincipal": 100,
    "CreateThing": 100,
}
"""Calls a second that a new account may make (AWS IoT Core and AWS Private CA quotas)."""

_BY_ALL: Final = ("AttachPolicy", "AttachThingPrincipal", "CreateThing")


def quota_calls(issuers: Sequence["Issuer"]) -> Sequence[str]:
    """The AWS operations that an issuance of the product line uses, each once."""
    return list(dict.fromkeys([*(call for issuer in issuers for call in issuer.quota_calls), *_BY_ALL]))


def calls(product: str, call: str, *, period: Duration | None = None) -> cloudwatch.Metric:
    """Calls of one AWS operation."""
    return _of_call(product, Metric.CALLS, call, period)


def calls_throttled(product: str, call: str, *, period: Duration | None = None) -> cloudwatch.Metric:
    """Calls of one AWS operation that AWS throttled."""
    return _of_call(product, Metric.CALLS_THROTTLED, call, period)


def authority_days_left(product: str) -> cloudwatch.Metric:
    """Days until the Private CA can no longer sign, as the sweeper measures them."""
    return cloudwatch.Metric(
        namespace=METRIC_NAMESPACE,
        metric_name=Metric.AUTHORITY_DAYS_LEFT.value,
        dimensions_map={Dimension.PRODUCT.value: product},
        statistic="Minimum",
        period=Duration.hours(1),
    )


def table_throttles(table_name: str, kind: str) -> cloudwatch.Metric:
    """Reads or writes of a table that DynamoDB throttled; `kind` is `Read` or `Write`."""
    return cloudwatch.Metric(
        namespace="AWS/DynamoDB",
        metric_name=f"{kind}ThrottleEvents",
        dimensions_map={"TableName": table_name},
        statistic="Sum",
    )


def of_product(product: str, metric: Metric) -> cloudwatch.Metric:
    """A counter of the product line, its sum over five minutes."""
    return cloudwatch.Metric(
        namespace=METRIC_NAMESPACE,
        metric_name=metric.value,
        dimensions_map={Dimension.PRODUCT.value: product},
        statistic="Sum",
        period=Duration.minutes(5),
    )


def _of_call(product: str, metric: Metric, call: str, period: Duration | None) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=METRIC_NAMESPACE,
        metric_name=metric.value,
        dimensions_map={Dimension.PRODUCT.value: product, Dimension.CALL.value: call},
        statistic="Sum",
        period=period,  # five minutes, if none is given
    )
