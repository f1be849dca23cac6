"""Environment variables as configuration."""

import json
from datetime import timedelta

import pytest
from secretfree.config import (
    AuthorizerConfig,
    ConfigurationError,
    ImportConfig,
    IssuerConfig,
    SubjectConfig,
)
from secretfree.contract import IssuerKind, LogLevel, MatchPolicy
from secretfree.request.device_profile import DeviceProfile
from support.environments import private_ca_settings

FUNCTION = {"SECRETFREE_PRODUCT": "widget", "SECRETFREE_DEVICE_PROFILE": "STANDARD"}
AUTHORIZER = FUNCTION | {
    "SECRETFREE_REGISTRY_TABLE": "registry",
    "SECRETFREE_REGISTRY_KEY_INDEX": "key-fingerprint-index",
    "SECRETFREE_MATCH_POLICY": "PUBLIC_KEY",
}
IOT_CORE = FUNCTION | {
    "SECRETFREE_ISSUERS": '{"iot-core": {"kind": "iot-core"}}',
    "SECRETFREE_MATCH_POLICY": "UDID_AND_PUBLIC_KEY",
    "SECRETFREE_REGISTRY_TABLE": "registry",
    "SECRETFREE_DEPLOYMENT": "arn:aws:dynamodb:eu-central-1:111122223333:table/ledger",
    "SECRETFREE_LEDGER_TABLE": "ledger",
    "SECRETFREE_POLICY_NAME": "widget-policy",
    "SECRETFREE_THING_TYPE": "widget",
    "SECRETFREE_THING_GROUPS": '["fleet"]',
    "SECRETFREE_THING_ATTRIBUTES": '{"line": "1"}',
    "SECRETFREE_IOT_ENDPOINT": "data.example",
    "SECRETFREE_SUBJECT": '{"organization": "Widgets", "country": "DE"}',
    "SECRETFREE_RENEWAL_WINDOW_HOURS": "720",
}
PRIVATE_CA = IOT_CORE | {"SECRETFREE_ISSUERS": json.dumps({"next-ca": private_ca_settings()})}


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


def test_an_issuer_has_a_name_a_kind_and_the_kind_s_own_settings() -> None:
    config = IssuerConfig.from_environment(PRIVATE_CA)
    assert (config.issuer.name, config.issuer.kind) == ("next-ca", IssuerKind.PRIVATE_CA)
    assert config.issuer.values == private_ca_settings()


def test_what_a_product_line_decides_is_read_for_every_issuer() -> None:
    config = IssuerConfig.from_environment(IOT_CORE)
    assert (config.thing_groups, config.thing_attributes) == (("fleet",), {"line": "1"})
    assert config.subject == SubjectConfig(organization="Widgets", country="DE")
    assert config.renewal_window == timedelta(days=30)


def test_the_sweeper_has_all_issuers_two_of_one_kind_among_them_and_therefore_no_single_one() -> None:
    issuers = {"old-ca": private_ca_settings(), "new-ca": private_ca_settings(), "iot-core": {"kind": "iot-core"}}
    config = IssuerConfig.from_environment(PRIVATE_CA | {"SECRETFREE_ISSUERS": json.dumps(issuers)})
    assert [issuer.name for issuer in config.issuers] == list(issuers)
    with pytest.raises(ConfigurationError, match="SECRETFREE_ISSUERS"):
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
        ("SECRETFREE_ISSUERS", '{"acme": {"kind": "acme"}}', "a kind of private-ca, iot-core"),
        ("SECRETFREE_ISSUERS", '{"acme": {}}', "a kind of private-ca, iot-core"),
        ("SECRETFREE_ISSUERS", '{"Acme CA": {"kind": "iot-core"}}', "an issuer's name of the form"),
        ("SECRETFREE_ISSUERS", '{"a#b": {"kind": "iot-core"}}', "an issuer's name of the form"),
        ("SECRETFREE_ISSUERS", '{"acme": {"kind": 1}}', "a JSON object of issuers"),
        ("SECRETFREE_ISSUERS", "{}", "a JSON object of issuers"),
        ("SECRETFREE_ISSUERS", "[]", "a JSON object of issuers"),
        ("SECRETFREE_THING_GROUPS", "{}", "a JSON array"),
        ("SECRETFREE_THING_GROUPS", "[1]", "a JSON array"),
        ("SECRETFREE_THING_GROUPS", "[", "JSON"),
        ("SECRETFREE_THING_ATTRIBUTES", "[]", "a JSON object of strings"),
        ("SECRETFREE_THING_ATTRIBUTES", '{"a": 1}', "a JSON object of strings"),
        ("SECRETFREE_SUBJECT", '{"common_name": "x"}', "any of organization"),
        ("SECRETFREE_RENEWAL_WINDOW_HOURS", "-1", "whole hours, 0 or more"),
    ],
)
def test_a_value_of_another_form_is_named_with_what_is_accepted(name: str, value: str, accepted: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        IssuerConfig.from_environment(PRIVATE_CA | {name: value})
    assert name in str(caught.value)
    assert accepted in str(caught.value)
