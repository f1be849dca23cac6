"""The environments of the runtime's functions, as the construct sets them; each test says what it has otherwise."""

from collections.abc import Mapping

from secretfree.contract import Variable
from support.fake_cloud import CA_ARN, POLICY, TEMPLATE, THING_TYPE

_NOTHING: Mapping[Variable, str] = {}
_EVERY_FUNCTION = {Variable.PRODUCT: "widget", Variable.DEVICE_PROFILE: "STANDARD"}
_REGISTRY = {
    Variable.MATCH_POLICY: "UDID_AND_PUBLIC_KEY",
    Variable.REGISTRY_TABLE: "registry",
    Variable.REGISTRY_KEY_INDEX: "key-fingerprint-index",
}
_ISSUER = {
    Variable.ISSUER: "private-ca",
    Variable.LEDGER_TABLE: "ledger",
    Variable.IOT_ENDPOINT: "abc-ats.iot.example",
    Variable.RENEWAL_WINDOW_DAYS: "30",
    Variable.MATCH_POLICY: "UDID_AND_PUBLIC_KEY",
    Variable.POLICY_NAME: POLICY,
    Variable.THING_TYPE: THING_TYPE,
    Variable.THING_GROUPS: "[]",
    Variable.THING_ATTRIBUTES: "{}",
    Variable.SUBJECT: '{"organization": "Example"}',
    Variable.CA_ARN: CA_ARN,
    Variable.CA_SIGNING_ALGORITHM: "SHA256WITHECDSA",
    Variable.CA_TEMPLATE_ARN: TEMPLATE,
    Variable.CERTIFICATE_VALIDITY_DAYS: "365",
    Variable.CA_REGISTERED: "true",
}
_QUEUE = {
    Variable.QUEUE_URL: "https://sqs.example/queue",
    Variable.QUEUE_RETENTION_SECONDS: "345600",
    Variable.QUEUE_MOST_RECEIVES: "3",
    Variable.ISSUANCE_INTERVAL_MILLISECONDS: "500",
}


def authorizer_environment(changes: Mapping[Variable, str] = _NOTHING) -> dict[str, str]:
    """That of the authorizer. An empty text in `changes` stands for a variable that is not set."""
    return _plain(_EVERY_FUNCTION | _REGISTRY | {Variable.LEDGER_TABLE: "ledger"} | dict(changes))


def import_environment(changes: Mapping[Variable, str] = _NOTHING) -> dict[str, str]:
    """That of the manifest import."""
    return _plain(_EVERY_FUNCTION | _REGISTRY | {Variable.IMPORT_BUCKET: "manifests"} | dict(changes))


def issuer_environment(changes: Mapping[Variable, str] = _NOTHING) -> dict[str, str]:
    """That of an issuer's function, and of the sweeper's with several names in SECRETFREE_ISSUER."""
    return _plain(_EVERY_FUNCTION | _ISSUER | dict(changes))


def queue_environment(changes: Mapping[Variable, str] = _NOTHING) -> dict[str, str]:
    """That of an issuer's front and worker in queue mode, both."""
    return _plain(_EVERY_FUNCTION | _ISSUER | _QUEUE | dict(changes))


def _plain(environment: Mapping[Variable, str]) -> dict[str, str]:
    return {variable.value: value for variable, value in environment.items()}
