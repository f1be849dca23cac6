"""One DNS name for a product line of several Regions: latency records of Route 53 with health checks."""

from typing import Final

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_route53 as route53
from constructs import Construct

from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.provisioning import SecretFreeProvisioning
from cdk_iot_secretfree.validation import is_token, refuse, require_match


@checks_arguments
class LatencyRecord(Construct):
    """The record of one Region: Route 53 answers a device with the nearest Region that is healthy.

    A Region is healthy while its endpoint accepts connections, and while the API answers less than half of the
    requests with a 5xx. The API's answer names its Region's IoT endpoint, so a device connects where it provisioned.

    Args:
        scope: the stack of the Region.
        id: the construct's id.
        provisioning: the Region's product line. Its API has a custom domain, of the same name in every Region
            (`ApiOptions(domain=ApiDomain(...))`).
        hosted_zone_id: of the zone that the name belongs to, as in `Z0123456789ABCDEFGHIJ`.

    Raises:
        InvalidArgumentError: for an API without a custom domain, a stack without a known Region, and anything but a
            hosted zone's id.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        provisioning: SecretFreeProvisioning,
        *,
        hosted_zone_id: str,
    ) -> None:
        super().__init__(scope, id)
        require_match("hosted_zone_id", hosted_zone_id, r"Z[A-Z0-9]{1,31}", "a hosted zone's id, as in Z0123456789")
        domain = provisioning.api.domain_name
        if domain is None:
            refuse("provisioning", provisioning.node.path, "a product line with ApiOptions(domain=ApiDomain(...))")
        region = Stack.of(self).region
        if is_token(region):
            refuse("scope", Stack.of(self).node.path, "a stack whose env names its Region")
        endpoint = domain.domain_name_alias_domain_name
        self._errors = cloudwatch.Alarm(
            self,
            "Errors",
            # The average of 5XXError is the share of requests. Route 53 takes no alarm on metric math.
            metric=provisioning.api.metric_server_error(statistic="Average", period=_PERIOD),
            threshold=_UNHEALTHY_SHARE,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            evaluation_periods=_PERIODS,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            alarm_description=f"Half of the requests to {provisioning.product} fail: Route 53 passes over this Region",
        )
        checks = [
            self._check("Reachable", type="TCP", fully_qualified_domain_name=endpoint, port=443),
            self._check(
                "Answering",
                type="CLOUDWATCH_METRIC",
                alarm_identifier=route53.CfnHealthCheck.AlarmIdentifierProperty(
                    name=self._errors.alarm_name, region=region
                ),
                insufficient_data_health_status="Healthy",
            ),
        ]
        healthy = self._check(
            "Healthy",
            type="CALCULATED",
            child_health_checks=[one.attr_health_check_id for one in checks],
            health_threshold=len(checks),
        )
        route53.CfnRecordSet(
            self,
            "Record",
            hosted_zone_id=hosted_zone_id,
            name=domain.domain_name,
            type="A",
            region=region,
            set_identifier=region,
            health_check_id=healthy.attr_health_check_id,
            alias_target=route53.CfnRecordSet.AliasTargetProperty(
                dns_name=endpoint,
                hosted_zone_id=domain.domain_name_alias_hosted_zone_id,
                evaluate_target_health=True,
            ),
        )

    @property
    def alarm(self) -> cloudwatch.Alarm:
        """The alarm on the API's errors. While it fires, Route 53 does not answer with this Region."""
        return self._errors

    def _check(self, id: str, **settings: object) -> route53.CfnHealthCheck:  # noqa: A002
        config = route53.CfnHealthCheck.HealthCheckConfigProperty(**settings)  # type: ignore[arg-type]
        return route53.CfnHealthCheck(self, id, health_check_config=config)


_PERIOD: Final = Duration.minutes(1)
_PERIODS: Final = 3
_UNHEALTHY_SHARE: Final = 0.5
