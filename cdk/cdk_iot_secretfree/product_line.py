"""The shared values of one product line's parts, and the environment of its functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import RemovalPolicy, Stack
from secretfree.contract import DeviceProfile, MatchPolicy, Variable

from cdk_iot_secretfree.device_policy import BoundDevicePolicy
from cdk_iot_secretfree.function_options import FunctionOptions
from cdk_iot_secretfree.issuers.issuer import Issuer
from cdk_iot_secretfree.ledger import IIssuanceLedger
from cdk_iot_secretfree.options import CertificateSubject
from cdk_iot_secretfree.registry import IDeviceRegistry


@dataclass(frozen=True, kw_only=True)
class ProductLine:
    """The checked arguments of `SecretFreeProvisioning`, and the resources that were made or looked up for them.

    `renewal_window_hours`: how long before its end a certificate may be renewed. `iot_endpoint`: the account's IoT data
    endpoint (ATS).
    """

    product: str
    match: MatchPolicy
    device_profile: DeviceProfile
    issuers: Sequence[Issuer]
    issuance_rate: int
    registry: IDeviceRegistry
    ledger: IIssuanceLedger
    device_policy: BoundDevicePolicy
    subject: CertificateSubject
    thing_type_name: str
    thing_groups: Sequence[str]
    thing_attributes: Mapping[str, str]
    renewal_window_hours: int
    iot_endpoint: str
    functions: FunctionOptions
    removal_policy: RemovalPolicy

    @property
    def environment(self) -> Mapping[Variable, str]:
        """The environment of every function of the product line."""
        return {Variable.PRODUCT: self.product, Variable.DEVICE_PROFILE: self.device_profile.value}

    def issuing_environment(self, stack: Stack) -> Mapping[Variable, str]:
        """The environment of every function that issues or finishes issuances, without its issuers."""
        return {
            **self.environment,
            Variable.MATCH_POLICY: self.match.value,
            Variable.REGISTRY_TABLE: self.registry.table_name,
            Variable.LEDGER_TABLE: self.ledger.table_name,
            Variable.DEPLOYMENT: self.ledger.deployment_id,
            **self.ledger.environment,
            Variable.POLICY_NAME: self.device_policy.policy_name,
            Variable.THING_TYPE: self.thing_type_name,
            Variable.THING_GROUPS: stack.to_json_string(list(self.thing_groups)),
            Variable.THING_ATTRIBUTES: stack.to_json_string(_sorted(self.thing_attributes)),
            Variable.IOT_ENDPOINT: self.iot_endpoint,
            Variable.SUBJECT: stack.to_json_string(_sorted(self.subject.as_environment())),
            Variable.RENEWAL_WINDOW_HOURS: str(self.renewal_window_hours),
            Variable.ISSUANCE_RATE: str(self.issuance_rate),
        }


def _sorted(values: Mapping[str, str]) -> Mapping[str, str]:
    return dict(sorted(values.items()))
