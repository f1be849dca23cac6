"""The runtime's metrics of one product line, as CloudWatch metrics for alarms and dashboards."""

from abc import abstractmethod
from collections.abc import Mapping

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from secretfree.contract import METRIC_NAMESPACE, Dimension, Metric

from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.validation import refuse


@checks_arguments
class ProductLineMetrics:
    """The `metric_*` methods of `SecretFreeProvisioning`."""

    @property
    @abstractmethod
    def product(self) -> str:
        """The product line."""

    @property
    @abstractmethod
    def issuer_functions(self) -> Mapping[str, lambda_.Function]:
        """The functions behind the API by the issuer's name."""

    def metric_allowed(self, *, statistic: str = "Sum", period: Duration | None = None) -> cloudwatch.Metric:
        """Requests that the authorizer let through."""
        return self._metric(Metric.ALLOWED, {}, statistic, period)

    def metric_denied(
        self, *, reason: str | None = None, statistic: str = "Sum", period: Duration | None = None
    ) -> cloudwatch.Metric:
        """Requests refused: all, or for one reason, as in `unknown-device`, `key-mismatch`, `bad-signature`."""
        return self._metric(Metric.DENIED, {} if reason is None else {Dimension.REASON: reason}, statistic, period)

    def metric_issued(
        self, *, issuer: str | None = None, statistic: str = "Sum", period: Duration | None = None
    ) -> cloudwatch.Metric:
        """New certificates: of all issuers, or of one."""
        return self._metric(Metric.ISSUED, self._issuer_dimension(issuer), statistic, period)

    def metric_reused(
        self, *, issuer: str | None = None, statistic: str = "Sum", period: Duration | None = None
    ) -> cloudwatch.Metric:
        """Answers that repeat a certificate which the device already has."""
        return self._metric(Metric.REUSED, self._issuer_dimension(issuer), statistic, period)

    def metric_pending(
        self, *, issuer: str | None = None, statistic: str = "Sum", period: Duration | None = None
    ) -> cloudwatch.Metric:
        """Answers 202: accepted, not ready."""
        return self._metric(Metric.PENDING, self._issuer_dimension(issuer), statistic, period)

    def metric_failed(
        self, *, issuer: str | None = None, statistic: str = "Sum", period: Duration | None = None
    ) -> cloudwatch.Metric:
        """Issuances that failed."""
        return self._metric(Metric.FAILED, self._issuer_dimension(issuer), statistic, period)

    def metric_throttled(
        self, *, issuer: str | None = None, statistic: str = "Sum", period: Duration | None = None
    ) -> cloudwatch.Metric:
        """Requests of devices that send too many: answers 429."""
        return self._metric(Metric.THROTTLED, self._issuer_dimension(issuer), statistic, period)

    def metric_stage_latency(
        self, stage: str, *, statistic: str = "p99", period: Duration | None = None
    ) -> cloudwatch.Metric:
        """Milliseconds that one stage of the runtime took."""
        return self._metric(Metric.STAGE_LATENCY, {Dimension.STAGE: stage}, statistic, period)

    def metric_connected(self, *, statistic: str = "Sum", period: Duration | None = None) -> cloudwatch.Metric:
        """Connects of the product line's devices; empty with `Retirement.AT_END`, which watches no connects."""
        return self._metric(Metric.CONNECTED, {}, statistic, period)

    def metric_certificates_ending(
        self, *, statistic: str = "Maximum", period: Duration | None = None
    ) -> cloudwatch.Metric:
        """Devices that are late to renew: their certificate ends within a quarter of the renewal window.

        At each run the sweeper counts up to 16,000 for each issuer. The maximum belongs to the issuer with the most.
        """
        return self._metric(Metric.CERTIFICATES_ENDING, {}, statistic, period or Duration.hours(1))

    def metric_revoked(self, *, statistic: str = "Sum", period: Duration | None = None) -> cloudwatch.Metric:
        """Certificates revoked because the registry withdrew the device or its key."""
        return self._metric(Metric.REVOKED, {}, statistic, period)

    def metric_revocation_failed(self, *, statistic: str = "Sum", period: Duration | None = None) -> cloudwatch.Metric:
        """Changes of the registry that the revoker could not process; each is delivered again."""
        return self._metric(Metric.REVOCATION_FAILED, {}, statistic, period)

    def metric_retired(self, *, statistic: str = "Sum", period: Duration | None = None) -> cloudwatch.Metric:
        """Certificates retired because the device connected with a later one; empty with `Retirement.AT_END`."""
        return self._metric(Metric.RETIRED, {}, statistic, period)

    def metric_retirement_failed(self, *, statistic: str = "Sum", period: Duration | None = None) -> cloudwatch.Metric:
        """Connects whose older certificates were not retired; each is delivered again."""
        return self._metric(Metric.RETIREMENT_FAILED, {}, statistic, period)

    def metric_followed(self, *, statistic: str = "Sum", period: Duration | None = None) -> cloudwatch.Metric:
        """Certificates of other Regions that this Region registered or revoked; empty with one Region."""
        return self._metric(Metric.FOLLOWED, {}, statistic, period)

    def metric_follow_failed(self, *, statistic: str = "Sum", period: Duration | None = None) -> cloudwatch.Metric:
        """Announcements of other Regions that the follower could not process; each is tried again."""
        return self._metric(Metric.FOLLOW_FAILED, {}, statistic, period)

    def metric_replication_lag(self, *, statistic: str = "p99", period: Duration | None = None) -> cloudwatch.Metric:
        """Milliseconds from the issuance in another Region to the registration in this one."""
        return self._metric(Metric.REPLICATION_LAG, {}, statistic, period)

    def metric_authority_days_left(
        self, *, statistic: str = "Minimum", period: Duration | None = None
    ) -> cloudwatch.Metric:
        """Days until the Private CA can no longer sign, as the sweeper measures them."""
        return self._metric(Metric.AUTHORITY_DAYS_LEFT, {}, statistic, period or Duration.hours(1))

    def metric_calls(self, call: str, *, statistic: str = "Sum", period: Duration | None = None) -> cloudwatch.Metric:
        """Calls of one AWS operation, as in `RegisterCertificate`."""
        return self._metric(Metric.CALLS, {Dimension.CALL: call}, statistic, period)

    def metric_calls_throttled(
        self, call: str, *, statistic: str = "Sum", period: Duration | None = None
    ) -> cloudwatch.Metric:
        """Calls of one AWS operation that AWS throttled."""
        return self._metric(Metric.CALLS_THROTTLED, {Dimension.CALL: call}, statistic, period)

    def _metric(
        self, metric: Metric, dimensions: Mapping[Dimension, str], statistic: str, period: Duration | None
    ) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace=METRIC_NAMESPACE,
            metric_name=metric.value,
            dimensions_map={
                Dimension.PRODUCT.value: self.product,
                **{dimension.value: value for dimension, value in dimensions.items()},
            },
            statistic=statistic,
            period=period,  # five minutes, if none is given
        )

    def _issuer_dimension(self, issuer: str | None) -> Mapping[Dimension, str]:
        if issuer is None:
            return {}
        if issuer not in self.issuer_functions:
            refuse("issuer", issuer, ", ".join(self.issuer_functions))
        return {Dimension.ISSUER: issuer}
