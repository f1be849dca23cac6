"""The AWS calls and the tables that dashboard and alarms watch, in addition to the construct's metrics."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from aws_cdk import aws_cloudwatch as cloudwatch

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


def table_throttles(table_name: str, kind: str) -> cloudwatch.Metric:
    """Reads or writes of a table that DynamoDB throttled; `kind` is `Read` or `Write`."""
    return cloudwatch.Metric(
        namespace="AWS/DynamoDB",
        metric_name=f"{kind}ThrottleEvents",
        dimensions_map={"TableName": table_name},
        statistic="Sum",
    )
