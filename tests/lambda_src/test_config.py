"""Environment variables as configuration."""

from datetime import timedelta

import pytest
from secretfree.config import (
    AuthorizerConfig,
    ConfigurationError,
    ImportConfig,
    IssuerConfig,
    PrivateCaConfig,
    SubjectConfig,
)
from secretfree.contract import IssuerKind, LogLevel, MatchPolicy
from secretfree.request.device_profile import DeviceProfile

FUNCTION = {"SECRETFREE_PRODUCT": "widget", "SECRETFREE_DEVICE_PROFILE": "STANDARD"}
AUTHORIZER = FUNCTION | {
    "SECRETFREE_REGISTRY_TABLE": "registry",
    "SECRETFREE_REGISTRY_KEY_INDEX": "key-fingerprint-index",
    "SECRETFREE_MATCH_POLICY": "PUBLIC_KEY",
}
IOT_CORE = FUNCTION | {
    "SECRETFREE_ISSUER": "iot-core",
    "SECRETFREE_MATCH_POLICY": "UDID_AND_PUBLIC_KEY",
    "SECRETFREE_LEDGER_TABLE": "ledger",
    "SECRETFREE_POLICY_NAME": "widget-policy",
    "SECRETFREE_THING_TYPE": "widget",
    "SECRETFREE_THING_GROUPS": '["fleet"]',
    "SECRETFREE_THING_ATTRIBUTES": '{"line": "1"}',
    "SECRETFREE_IOT_ENDPOINT": "data.example",
    "SECRETFREE_SUBJECT": '{"organization": "Widgets", "country": "DE"}',
    "SECRETFREE_RENEWAL_WINDOW_DAYS": "30",
}
PRIVATE_CA = IOT_CORE | {
    "SECRETFREE_ISSUER": "private-ca",
    "SECRETFREE_CA_ARN": "arn:ca",
    "SECRETFREE_CA_SIGNING_ALGORITHM": "SHA256WITHECDSA",
    "SECRETFREE_CA_TEMPLATE_ARN": "arn:template",
    "SECRETFREE_CERTIFICATE_VALIDITY_DAYS": "365",
    "SECRETFREE_CA_REGISTERED": "true",
}


def test_the_level_of_the_log_is_info_unless_told() -> None:
    assert AuthorizerConfig.from_environment(AUTHORIZER).log_level is LogLevel.INFO
    louder = AuthorizerConfig.from_environment(AUTHORIZER | {"SECRETFREE_LOG_LEVEL": "DEBUG"})
    assert (louder.log_level, louder.device_profile) == (LogLevel.DEBUG, DeviceProfile.STANDARD)


def test_the_import_has_a_registry_and_a_bucket() -> None:
    config = ImportConfig.from_environment(AUTHORIZER | {"SECRETFREE_IMPORT_BUCKET": "manifests"})
    assert (config.registry_table, config.bucket, config.match) == ("registry", "manifests", MatchPolicy.PUBLIC_KEY)


def test_the_authorizer_reads_the_ledger_for_bindings_alone() -> None:
    with_ledger = AUTHORIZER | {"SECRETFREE_LEDGER_TABLE": "ledger"}
    assert AuthorizerConfig.from_environment(with_ledger).ledger_table is None
    by_udid = AuthorizerConfig.from_environment(with_ledger | {"SECRETFREE_MATCH_POLICY": "UDID"})
    assert (by_udid.ledger_table, by_udid.match, by_udid.registry_table) == ("ledger", MatchPolicy.UDID, "registry")


def test_the_issuer_of_iot_core_has_no_private_ca() -> None:
    config = IssuerConfig.from_environment(IOT_CORE)
    assert (config.issuer, config.private_ca) == (IssuerKind.IOT_CORE, None)
    assert (config.thing_groups, config.thing_attributes) == (("fleet",), {"line": "1"})
    assert config.subject == SubjectConfig(organization="Widgets", country="DE")
    assert config.renewal_window == timedelta(days=30)


def test_the_issuer_of_a_private_ca_has_one() -> None:
    expected = PrivateCaConfig("arn:ca", "SHA256WITHECDSA", "arn:template", timedelta(days=365), registered=True)
    assert IssuerConfig.from_environment(PRIVATE_CA).private_ca == expected


def test_the_sweeper_has_all_issuers_and_therefore_no_single_one() -> None:
    config = IssuerConfig.from_environment(PRIVATE_CA | {"SECRETFREE_ISSUER": "private-ca, iot-core"})
    assert config.issuers == (IssuerKind.PRIVATE_CA, IssuerKind.IOT_CORE)
    with pytest.raises(ConfigurationError, match="SECRETFREE_ISSUER"):
        _ = config.issuer


@pytest.mark.parametrize("name", sorted(PRIVATE_CA))
@pytest.mark.parametrize("value", [None, ""], ids=["missing", "empty"])
def test_what_an_issuer_lacks_is_named(name: str, value: str | None) -> None:
    environment = {key: item for key, item in PRIVATE_CA.items() if key != name} | (
        {} if value is None else {name: value}
    )
    with pytest.raises(ConfigurationError, match=f"{name} is missing or empty"):
        IssuerConfig.from_environment(environment)


@pytest.mark.parametrize("name", sorted([*AUTHORIZER, "SECRETFREE_LEDGER_TABLE"]))
def test_what_the_authorizer_lacks_is_named(name: str) -> None:
    environment = AUTHORIZER | {"SECRETFREE_MATCH_POLICY": "UDID", "SECRETFREE_LEDGER_TABLE": "ledger"}
    del environment[name]
    with pytest.raises(ConfigurationError, match=f"{name} is missing"):
        AuthorizerConfig.from_environment(environment)


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("SECRETFREE_LOG_LEVEL", "LOUD", "one of DEBUG, INFO"),
        ("SECRETFREE_DEVICE_PROFILE", "standard", "one of STANDARD, TI_CC32XX"),
        ("SECRETFREE_MATCH_POLICY", "NONE", "one of UDID_AND_PUBLIC_KEY"),
        ("SECRETFREE_ISSUER", "acme", "one of private-ca, iot-core"),
        ("SECRETFREE_ISSUER", "iot-core,iot-core", "one of private-ca, iot-core"),
        ("SECRETFREE_THING_GROUPS", "{}", "a JSON array"),
        ("SECRETFREE_THING_GROUPS", "[1]", "a JSON array"),
        ("SECRETFREE_THING_GROUPS", "[", "JSON"),
        ("SECRETFREE_THING_ATTRIBUTES", "[]", "a JSON object of strings"),
        ("SECRETFREE_THING_ATTRIBUTES", '{"a": 1}', "a JSON object of strings"),
        ("SECRETFREE_SUBJECT", '{"common_name": "x"}', "any of organization"),
        ("SECRETFREE_RENEWAL_WINDOW_DAYS", "-1", "whole days, 0 or more"),
        ("SECRETFREE_CERTIFICATE_VALIDITY_DAYS", "0", "whole days, 1 or more"),
        ("SECRETFREE_CERTIFICATE_VALIDITY_DAYS", "1.5", "whole days, 1 or more"),
        ("SECRETFREE_CA_REGISTERED", "True", "true or false"),
    ],
)
def test_a_value_of_another_form_is_named_with_what_is_accepted(name: str, value: str, accepted: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        IssuerConfig.from_environment(PRIVATE_CA | {name: value})
    assert name in str(caught.value)
    assert accepted in str(caught.value)
