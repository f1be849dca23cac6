"""Names and values that the construct, the runtime and the command line share; standard library only.

The construct writes them into a template; the runtime and the command line read them there. No other module repeats a
name, so a change here changes every side.
"""

from enum import IntEnum, StrEnum
from typing import Final

METRIC_NAMESPACE: Final = "SecretFree"
"""The CloudWatch namespace of every `Metric`."""

ISSUER_NAME_FORM: Final = r"[a-z][a-z0-9-]{0,31}"
"""The form of an issuer's name, a regular expression. The name is a part of ledger records, metrics and tokens."""

CSR_BODY_SEGMENT: Final = "csr"
"""Below an issuer's path: the resource that accepts the CSR as the body, `POST {base}/new/csr`."""

FLEET_THING_NAME: Final = "ThingName"
"""The parameter of the fleet provisioning template that names the thing."""

FLEET_THING_TYPE: Final = "ThingTypeName"
"""The property of a thing in a provisioning template that names its type (AWS IoT Core, provisioning templates)."""

EST_BASE_PATH: Final = ".well-known/est"
EST_LABEL: Final = "label"
"""EST (RFC 7030 section 3.2.2): the path below the API's base, and the parameter of its label, an issuer's path."""

LOCAL_CONTEXT: Final = "secretfree:local"
"""The context key, `true`, by which `secretfree local deploy` names an emulator on this machine as the target."""


class Variable(StrEnum):
    """An environment variable of the runtime's functions."""

    PRODUCT = "SECRETFREE_PRODUCT"
    DEVICE_PROFILE = "SECRETFREE_DEVICE_PROFILE"
    LOG_LEVEL = "SECRETFREE_LOG_LEVEL"
    MATCH_POLICY = "SECRETFREE_MATCH_POLICY"
    REGISTRY_TABLE = "SECRETFREE_REGISTRY_TABLE"
    REGISTRY_KEY_INDEX = "SECRETFREE_REGISTRY_KEY_INDEX"
    LEDGER_TABLE = "SECRETFREE_LEDGER_TABLE"
    DEPLOYMENT = "SECRETFREE_DEPLOYMENT"
    """Distinguishes the deployments of an account: the ARN of the ledger's table."""
    ISSUER = "SECRETFREE_ISSUER"
    """The name of a function's one issuer."""
    POLICY_NAME = "SECRETFREE_POLICY_NAME"
    THING_TYPE = "SECRETFREE_THING_TYPE"
    THING_GROUPS = "SECRETFREE_THING_GROUPS"
    THING_ATTRIBUTES = "SECRETFREE_THING_ATTRIBUTES"
    IOT_ENDPOINT = "SECRETFREE_IOT_ENDPOINT"
    SUBJECT = "SECRETFREE_SUBJECT"
    RENEWAL_WINDOW_HOURS = "SECRETFREE_RENEWAL_WINDOW_HOURS"
    ISSUERS = "SECRETFREE_ISSUERS"
    """The settings of a function's issuers by their names: see `IssuerSetting`."""
    ISSUANCE_RATE = "SECRETFREE_ISSUANCE_RATE"
    """Devices per second that the account's quotas allow."""
    IMPORT_BUCKET = "SECRETFREE_IMPORT_BUCKET"
    ISSUER_FUNCTIONS = "SECRETFREE_ISSUER_FUNCTIONS"
    """The function that answers for each issuer, by the issuer's path, a JSON object."""
    RETRY_AFTER_SECONDS = "SECRETFREE_RETRY_AFTER_SECONDS"
    EST_ISSUER = "SECRETFREE_EST_ISSUER"
    """The path of the issuer that answers EST without a label."""
    EST_AUTHORITIES = "SECRETFREE_EST_AUTHORITIES"
    """The CAs of each issuer that has any, by the issuer's path: a JSON object of comma-separated ARNs."""
    EST_REENROLL_DOMAIN = "SECRETFREE_EST_REENROLL_DOMAIN"
    REVOKING_AUTHORITIES = "SECRETFREE_REVOKING_AUTHORITIES"
    """The ARNs of the CAs that accept revocations, a JSON array."""
    REGION = "AWS_REGION"
    """The function's own Region: Lambda sets it."""
    ANNOUNCEMENTS_TABLE = "SECRETFREE_ANNOUNCEMENTS_TABLE"
    """The table of announcements, by which a Region informs the others of what it issued; absent with one Region."""
    REGIONS = "SECRETFREE_REGIONS"
    """The Regions of such a product line, a JSON array."""
    LATER_QUEUE_URL = "SECRETFREE_LATER_QUEUE_URL"
    """The follower's queue for later tries."""


class EstOperation(StrEnum):
    """An operation of EST (RFC 7030), the last segment of its path."""

    CA_CERTIFICATES = "cacerts"
    SIMPLE_ENROLL = "simpleenroll"
    SIMPLE_REENROLL = "simplereenroll"
    CSR_ATTRIBUTES = "csrattrs"


class Output(StrEnum):
    """A key of the stack outputs that `secretfree --stack NAME` reads."""

    PROVISIONING_URL = "ProvisioningUrl"
    REGISTRY_TABLE = "RegistryTable"
    LEDGER_TABLE = "LedgerTable"
    IOT_ENDPOINT = "IotEndpoint"
    DEVICE_POLICY_NAME = "DevicePolicyName"
    THING_TYPE_NAME = "ThingTypeName"
    PRODUCT = "Product"
    MATCH_POLICY = "MatchPolicy"
    DEVICE_PROFILE = "DeviceProfile"
    AUTHORITY_ARN = "AuthorityArn"
    CERTIFICATE_VALIDITY_DAYS = "CertificateValidityDays"
    REVOKER = "RevokerFunction"
    """Name of the function on the registry's stream; absent where the registry has no known stream."""
    AUTHORITIES = "Authorities"
    """The CAs of each issuer, JSON: see `AuthorityField`."""
    MANIFEST_BUCKET = "ManifestBucket"
    LOG_GROUPS = "LogGroups"
    AUDIT_BUCKET = "AuditBucket"
    EST_REENROLL_URL = "EstReenrollUrl"


class AuthorityField(StrEnum):
    """A field of `Output.AUTHORITIES`: a JSON object for each issuer with a CA, by the issuer's name."""

    CURRENT = "current"
    """The ARN of the CA that signs."""
    PREVIOUS = "previous"
    """The ARNs of the previous CAs whose certificates stay valid, an array."""
    VALIDITY_DAYS = "validityDays"
    """Validity of a device's certificate in days, a number."""


class Metric(StrEnum):
    """A metric of `METRIC_NAMESPACE`. Each has the dimension `PRODUCT` and at most one more."""

    ALLOWED = "Allowed"
    DENIED = "Denied"
    ISSUED = "Issued"
    REUSED = "Reused"
    PENDING = "Pending"
    FAILED = "Failed"
    THROTTLED = "Throttled"
    STAGE_LATENCY = "StageLatency"
    CALLS = "Calls"
    """Calls of IoT Core and Private CA by operation, which use the account's quotas."""
    CALLS_THROTTLED = "CallsThrottled"
    """Calls of IoT Core and Private CA that AWS throttled."""
    REVOKED = "Revoked"
    """Certificates revoked because the registry withdrew the device or its key."""
    REVOCATION_FAILED = "RevocationFailed"
    """Changes of the registry that were not processed; each is delivered again."""
    CONNECTED = "Connected"
    """Connects of devices with a certificate of this product line; each connect counts, and one may count twice."""
    RETIRED = "Retired"
    """Certificates retired because the device connected with a later one."""
    RETIREMENT_FAILED = "RetirementFailed"
    """Connects whose older certificates were not retired; each is delivered again."""
    FOLLOWED = "Followed"
    """Certificates of other Regions that this Region registered or revoked."""
    FOLLOW_FAILED = "FollowFailed"
    """Announcements of other Regions that were not processed; each is tried again."""
    REPLICATION_LAG = "ReplicationLag"
    """Milliseconds from the issuance in one Region to the registration in another."""
    AUTHORITY_DAYS_LEFT = "AuthorityDaysLeft"
    """Days until the Private CA can no longer sign certificates of the configured validity."""
    CERTIFICATES_ENDING = "CertificatesEnding"
    """Devices whose certificate ends soon and that have not renewed in most of their renewal window."""


class Dimension(StrEnum):
    """A dimension of a metric."""

    PRODUCT = "Product"
    ISSUER = "Issuer"
    REASON = "Reason"
    STAGE = "Stage"
    CALL = "Call"
    """An operation of AWS, such as `RegisterCertificate`."""


class AlarmName(StrEnum):
    """An alarm of `add_alarms()`. Its runbook is `docs/runbooks/` and its value."""

    FAILURES = "failures"
    CLONES = "clones"
    UNKNOWN_DEVICES = "unknown-devices"
    UNREADABLE_RECORDS = "unreadable-records"
    PENDING = "pending"
    SLOW = "slow"
    QUOTA = "quota"
    TABLE_THROTTLED = "table-throttled"
    SWEEPER = "sweeper"
    AUTHORITY_ENDS = "authority-ends"
    CERTIFICATES_END = "certificates-end"
    BLOCKING = "blocking"
    RETIREMENT = "retirement"
    REPLICATION = "replication"


class Severity(StrEnum):
    """How soon a person must act on an alarm."""

    PAGE = "page"
    """At once: devices are refused or wait because of the service."""
    TICKET = "ticket"
    """Within a working day."""


class LogLevel(IntEnum):
    """Value of `Variable.LOG_LEVEL`, by name. The runtime writes no log line below it."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class RegistryAttribute(StrEnum):
    """An attribute of the registry's items that an index or another package names."""

    DEVICE_ID = "device-id"
    PUBLIC_KEY = "pubkey"
    KEY_FINGERPRINT = "key-fingerprint"
    STATUS = "status"
    BATCH = "batch"


class RegistryIndex(StrEnum):
    """An index of a registry that the construct made."""

    KEY = "key-fingerprint-index"
    BATCH = "batch-index"


class LedgerAttribute(StrEnum):
    """An attribute of the ledger's items that a key, an index, the time to live or another package names."""

    DEVICE_ID = "device-id"
    RECORD = "record"
    PENDING = "pending"
    LEASE_EXPIRES = "lease-expires"
    ENDING = "ending"
    """The issuer and a shard, where the device has a certificate to connect with."""
    ENDS_AT = "ends-at"
    """When that certificate ends."""
    EXPIRES_AT = "expires-at"
    LAST_REASON = "last-reason"
    """Why the last request for a certificate did not finish: a reason's code."""


class LedgerRecord(StrEnum):
    """The beginning of a ledger item's sort key. The name of an issuer or a certificate's id follows it."""

    ISSUANCE = "issuance#"
    CERTIFICATE = "certificate#"
    TICKETS = "tickets#"
    """The counter of an issuer's tickets. It is also that item's partition key, because no device has that id."""
    CHAIN = "chain#"
    """A CA's chain. With the chain's digest it is that item's partition key, because no device has that id."""
    REISSUE = "reissue#"
    """Who allowed a device a new certificate at an issuer, when and why."""
    RENEWAL = "renewal#"
    """Who last requested a renewal by the device at an issuer, when, why and by which job."""


class AnnouncementAttribute(StrEnum):
    """An attribute of the announcements' items that a key, a filter, the time to live or another package names."""

    DEVICE_ID = "device-id"
    RECORD = "record"
    """The issuing Region and the issuer's name, `REGION#ISSUER`."""
    REGION = "region"
    EXPIRES_AT = "expires-at"


class LedgerIndex(StrEnum):
    """An index of the ledger."""

    PENDING = "pending-index"
    ENDING = "ending-index"


RENEWAL_OPERATION: Final = "secretfree-renew"
RENEWAL_VERSION: Final = 1
"""The `operation` and the `version` of an AWS IoT Job's document that asks a device to renew its certificate."""


class MatchPolicy(StrEnum):
    """How a device is found in the registry. In each, the CSR's signature must verify with the key it carries."""

    UDID_AND_PUBLIC_KEY = "UDID_AND_PUBLIC_KEY"
    """Look up by the CSR's common name, compare the key: the default, and the strongest."""

    PUBLIC_KEY = "PUBLIC_KEY"
    """Look up by the key; the registry's device id names the thing, whatever the CSR's common name says."""

    UDID = "UDID"
    """Look up by common name alone and bind the first key seen: weak, for tables that hold no keys."""


class DeviceProfile(StrEnum):
    """A family of devices, and the rules that are relaxed for it."""

    STANDARD = "STANDARD"
    """No rule relaxed."""
    TI_CC32XX = "TI_CC32XX"
    """TI SimpleLink CC32xx: SHA-1 proof of possession, e-mail in the subject, UDIDs in any spelling."""


class IssuerKind(StrEnum):
    """A kind of issuer: AWS Private CA, or AWS IoT Core's own CA."""

    PRIVATE_CA = "private-ca"
    IOT_CORE = "iot-core"


class IssuerSetting(StrEnum):
    """A setting of an issuer in `Variable.ISSUERS`: a JSON object of texts for each issuer, by its name."""

    KIND = "kind"
    """An `IssuerKind`; the only setting that every kind has."""
    AUTHORITY_ARN = "authorityArn"
    SIGNING_ALGORITHM = "signingAlgorithm"
    TEMPLATE_ARN = "templateArn"
    VALIDITY_DAYS = "validityDays"
    REGISTERED = "registered"
    """`true` where IoT Core knows the CA, else `false`."""
    PREVIOUS_AUTHORITY_ARNS = "previousAuthorityArns"
    """The ARNs of the previous CAs whose certificates stay valid, comma-separated; absent where there are none."""


class IotRegistration(StrEnum):
    """How a CA is registered with AWS IoT Core in the stack's Region (`RegisterCACertificate`)."""

    DEFAULT = "DEFAULT"
    """With a verification certificate; only one account in a Region may register the CA."""

    SNI_ONLY = "SNI_ONLY"
    """Without a verification certificate; several accounts may register the CA, and devices must send SNI."""

    NONE = "NONE"
    """Not registered: device certificates are registered without a CA, and devices must send SNI."""


class ManifestFolder(StrEnum):
    """A key prefix of the manifest import's bucket."""

    MANIFESTS = "manifests/"
    """Where manifests are put: `manifests/NAME.csv`, `.jsonl` or `.ndjson`."""

    RESULTS = "results/"
    """Where the results of each import are written: `results/BATCH/summary.json` and `refused.jsonl`."""


class AuditFolder(StrEnum):
    """A key prefix of the audit trail's bucket."""

    EVENTS = "events/"
    """Events as lines of JSON: `events/SHARD/YYYY/MM/DD/...`, SHARD of two hex digits by the device id."""

    UNREADABLE = "unreadable/"
    """Records that could not be transformed, unchanged: `unreadable/KIND/...`."""


class AuditEventName(StrEnum):
    """The names of the audit trail's events."""

    ENROLLED = "enrolled"
    BLOCKED = "blocked"
    UNBLOCKED = "unblocked"
    STATUS_CHANGED = "status-changed"
    KEY_REPLACED = "key-replaced"
    RECORD_CHANGED = "record-changed"
    REMOVED = "removed"
    RETIRED = "retired"
    KEY_BOUND = "key-bound"
    """`MatchPolicy.UDID`: the first key that a device id presents."""
    ISSUED = "issued"
    SUPERSEDED = "superseded"
    """A newer certificate replaced this one."""
    REVOKED = "revoked"
    REISSUE_ALLOWED = "reissue-allowed"
    RENEWAL_REQUESTED = "renewal-requested"
    ISSUANCE_REFUSED = "issuance-refused"
    """An allowed request ended without a certificate, for `reason`."""
    LEDGER_RECORD_REMOVED = "ledger-record-removed"
    """A record of the ledger was deleted other than by its time to live."""
