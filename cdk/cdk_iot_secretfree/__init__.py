"""Secret-free provisioning of IoT devices, as AWS CDK constructs."""

from secretfree.contract import AlarmName, DeviceProfile, IotRegistration, MatchPolicy, Severity

from cdk_iot_secretfree.account_resources import AccountResources
from cdk_iot_secretfree.alarms import AlarmThresholds, ProvisioningAlarms
from cdk_iot_secretfree.api_options import ApiDomain, ApiOptions, SharedApiDomain, TlsPolicy
from cdk_iot_secretfree.audit_trail import AuditTrail
from cdk_iot_secretfree.authority.device_authority import DeviceAuthority
from cdk_iot_secretfree.authority.revocation import Revocation, RevocationList
from cdk_iot_secretfree.authority.subject import AuthoritySubject
from cdk_iot_secretfree.bundling.bundle import Bundle, BundleTarget
from cdk_iot_secretfree.bundling.errors import BundlingError
from cdk_iot_secretfree.dashboard import ProvisioningDashboard
from cdk_iot_secretfree.device_policy import BoundDevicePolicy, DevicePolicy
from cdk_iot_secretfree.est_options import EstOptions, MutualTlsDomain
from cdk_iot_secretfree.fleet_provisioning import FleetProvisioning
from cdk_iot_secretfree.function_options import FunctionKind, FunctionNetwork, FunctionOptions, FunctionOverrides
from cdk_iot_secretfree.issuers.issuer import Issuer
from cdk_iot_secretfree.latency_record import LatencyRecord
from cdk_iot_secretfree.ledger import IIssuanceLedger, IssuanceLedger
from cdk_iot_secretfree.manifest_import import ManifestImport
from cdk_iot_secretfree.membership import RegionMembership
from cdk_iot_secretfree.options import CertificateSubject, KeyAlgorithm, Retirement, UsageMode
from cdk_iot_secretfree.provisioning import SecretFreeProvisioning
from cdk_iot_secretfree.regions import MultiRegionProvisioning, RegionStack
from cdk_iot_secretfree.registry import DeviceRegistry, IDeviceRegistry
from cdk_iot_secretfree.sample import SampleOptions, SecretFreeStack
from cdk_iot_secretfree.things import ThingGroup, ThingType
from cdk_iot_secretfree.validation import InvalidArgumentError

__all__ = [
    "AccountResources",
    "AlarmName",
    "AlarmThresholds",
    "ApiDomain",
    "ApiOptions",
    "AuditTrail",
    "AuthoritySubject",
    "BoundDevicePolicy",
    "Bundle",
    "BundleTarget",
    "BundlingError",
    "CertificateSubject",
    "DeviceAuthority",
    "DevicePolicy",
    "DeviceProfile",
    "DeviceRegistry",
    "EstOptions",
    "FleetProvisioning",
    "FunctionKind",
    "FunctionNetwork",
    "FunctionOptions",
    "FunctionOverrides",
    "IDeviceRegistry",
    "IIssuanceLedger",
    "InvalidArgumentError",
    "IotRegistration",
    "IssuanceLedger",
    "Issuer",
    "KeyAlgorithm",
    "LatencyRecord",
    "ManifestImport",
    "MatchPolicy",
    "MultiRegionProvisioning",
    "MutualTlsDomain",
    "ProvisioningAlarms",
    "ProvisioningDashboard",
    "RegionMembership",
    "RegionStack",
    "Retirement",
    "Revocation",
    "RevocationList",
    "SampleOptions",
    "SecretFreeProvisioning",
    "SecretFreeStack",
    "Severity",
    "SharedApiDomain",
    "ThingGroup",
    "ThingType",
    "TlsPolicy",
    "UsageMode",
]
