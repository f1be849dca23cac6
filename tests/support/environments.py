"""The environments of the runtime's functions, as the construct sets them; tests pass their differences."""

import json
from collections.abc import Mapping

from secretfree.contract import IssuerSetting, Variable
from support.fake_cloud import CA_ARN, POLICY, TEMPLATE, THING_TYPE

_NOTHING: Mapping[Variable, str] = {}
_EVERY_FUNCTION = {Variable.PRODUCT: "widget", Variable.DEVICE_PROFILE: "STANDARD"}
_REGISTRY = {
    Variable.MATCH_POLICY: "UDID_AND_PUBLIC_KEY",
    Variable.REGISTRY_TABLE: "registry",
    Variable.REGISTRY_KEY_INDEX: "key-fingerprint-index",
}
_ISSUER = {
    Variable.REGISTRY_TABLE: "registry",
    Variable.LEDGER_TABLE: "ledger",
    Variable.DEPLOYMENT: "arn:aws:dynamodb:eu-central-1:111122223333:table/ledger",
    Variable.IOT_ENDPOINT: "abc-ats.iot.example",
    Variable.RENEWAL_WINDOW_HOURS: "720",
    Variable.ISSUANCE_RATE: "10",
    Variable.MATCH_POLICY: "UDID_AND_PUBLIC_KEY",
    Variable.POLICY_NAME: POLICY,
    Variable.THING_TYPE: THING_TYPE,
    Variable.THING_GROUPS: "[]",
    Variable.THING_ATTRIBUTES: "{}",
    Variable.SUBJECT: '{"organization": "Example"}',
}


def private_ca_settings(changes: Mapping[IssuerSetting, str] = {}) -> dict[str, str]:
    """Those of an issuer of the kind PRIVATE_CA."""
    settings = {
        IssuerSetting.KIND: "private-ca",
        IssuerSetting.AUTHORITY_ARN: CA_ARN,
        IssuerSetting.SIGNING_ALGORITHM: "SHA256WITHECDSA",
        IssuerSetting.TEMPLATE_ARN: TEMPLATE,
        IssuerSetting.VALIDITY_DAYS: "365",
        IssuerSetting.REGISTERED: "true",
    }
    return {setting.value: value for setting, value in (settings | dict(changes)).items()}


_ISSUERS = {"private-ca": private_ca_settings(), "iot-core": {"kind": "iot-core"}}


def authorizer_environment(changes: Mapping[Variable, str] = _NOTHING) -> dict[str, str]:
    """That of the authorizer. An empty text in `changes` stands for a variable that is not set."""
    return _plain(_EVERY_FUNCTION | _REGISTRY | {Variable.LEDGER_TABLE: "ledger"} | dict(changes))


def csr_front_environment(changes: Mapping[Variable, str] = _NOTHING) -> dict[str, str]:
    """That of the function that takes a CSR as the body."""
    functions = {"new": "issuer-new", "proto": "issuer-proto"}
    own = {Variable.ISSUER_FUNCTIONS: json.dumps(functions), Variable.RETRY_AFTER_SECONDS: "5"}
    return authorizer_environment(own | dict(changes))


def est_environment(changes: Mapping[Variable, str] = _NOTHING) -> dict[str, str]:
    """That of the function that answers EST."""
    own = {
        Variable.EST_ISSUER: "new",
        Variable.EST_AUTHORITIES: json.dumps({"new": CA_ARN}),
        Variable.EST_REENROLL_DOMAIN: "renew.example.com",
    }
    return csr_front_environment(own | dict(changes))


def import_environment(changes: Mapping[Variable, str] = _NOTHING) -> dict[str, str]:
    """That of the manifest import."""
    return _plain(_EVERY_FUNCTION | _REGISTRY | {Variable.IMPORT_BUCKET: "manifests"} | dict(changes))


def issuer_environment(*names: str, changes: Mapping[Variable, str] = _NOTHING) -> dict[str, str]:
    """That of the function of one issuer, and of the sweeper for several; by default of `private-ca`."""
    issuers = {name: _ISSUERS[name] for name in names or ("private-ca",)}
    function = {} if len(issuers) > 1 else {Variable.ISSUER: next(iter(issuers))}
    return _plain(_EVERY_FUNCTION | _ISSUER | function | {Variable.ISSUERS: json.dumps(issuers)} | dict(changes))


def revoker_environment(changes: Mapping[Variable, str] = _NOTHING) -> dict[str, str]:
    """That of the revoker."""
    authorities = {Variable.LEDGER_TABLE: "ledger", Variable.REVOKING_AUTHORITIES: json.dumps([CA_ARN])}
    return _plain(_EVERY_FUNCTION | _REGISTRY | authorities | dict(changes))


def audit_environment() -> dict[str, str]:
    """That of the audit trail's transformation."""
    return _plain(_EVERY_FUNCTION)


def retirer_environment(changes: Mapping[Variable, str] = _NOTHING) -> dict[str, str]:
    """That of the retirer."""
    things = {Variable.POLICY_NAME: POLICY, Variable.THING_TYPE: THING_TYPE}
    return _plain(_EVERY_FUNCTION | things | {Variable.LEDGER_TABLE: "ledger"} | dict(changes))


def follower_environment(changes: Mapping[Variable, str] = _NOTHING) -> dict[str, str]:
    """That of the follower, in a Region of several."""
    regional = {
        Variable.ANNOUNCEMENTS_TABLE: "announcements",
        Variable.REGION: "us-east-1",
        Variable.REGIONS: '["eu-central-1", "us-east-1"]',
        Variable.LATER_QUEUE_URL: "https://sqs.example/later",
    }
    return issuer_environment(changes=regional | dict(changes))


def every_environment() -> dict[str, str]:
    """The variables of all functions together: each handler can be configured from them."""
    return (
        est_environment()
        | import_environment()
        | issuer_environment()
        | revoker_environment()
        | retirer_environment()
        | follower_environment()
    )


def _plain(environment: Mapping[Variable, str]) -> dict[str, str]:
    return {variable.value: value for variable, value in environment.items()}
