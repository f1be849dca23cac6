"""Environment variables as configuration."""

import json
from datetime import timedelta

import pytest
from secretfree.config.authorizer import AuthorizerConfig
from secretfree.config.environment import ConfigurationError
from secretfree.config.issuer import IssuerConfig
from secretfree.config.issuers import SubjectConfig
from secretfree.config.manifest_import import ImportConfig
from secretfree.contract import IssuerKind, LogLevel, MatchPolicy, Variable
from secretfree.request.device_profile import DeviceProfile
from support.environments import authorizer_environment, import_environment, issuer_environment, private_ca_settings

AUTHORIZER = authorizer_environment({Variable.MATCH_POLICY: "PUBLIC_KEY"})
ISSUER = issuer_environment()


def test_the_level_of_the_log_is_info_by_default() -> None:
    assert AuthorizerConfig.from_environment(AUTHORIZER).log_level is LogLevel.INFO
    louder = AuthorizerConfig.from_environment(AUTHORIZER | {Variable.LOG_LEVEL: "DEBUG"})
    assert (louder.log_level, louder.device_profile) == (LogLevel.DEBUG, DeviceProfile.STANDARD)


def test_the_import_has_a_registry_and_a_bucket() -> None:
    config = ImportConfig.from_environment(import_environment({Variable.MATCH_POLICY: "PUBLIC_KEY"}))
    assert (config.registry_table, config.bucket, config.match) == ("registry", "manifests", MatchPolicy.PUBLIC_KEY)


def test_the_authorizer_reads_the_ledger_for_bindings_alone() -> None:
    assert AuthorizerConfig.from_environment(AUTHORIZER).ledger_table is None
    by_udid = AuthorizerConfig.from_environment(AUTHORIZER | {Variable.MATCH_POLICY: "UDID"})
    assert (by_udid.ledger_table, by_udid.match, by_udid.registry_table) == ("ledger", MatchPolicy.UDID, "registry")


def test_an_issuer_has_a_name_a_kind_and_the_kind_s_own_settings() -> None:
    issuers = json.dumps({"next-ca": private_ca_settings()})
    config = IssuerConfig.from_environment(ISSUER | {Variable.ISSUERS: issuers})
    assert (config.issuer.name, config.issuer.kind) == ("next-ca", IssuerKind.PRIVATE_CA)
    assert config.issuer.values == private_ca_settings()


def test_what_a_product_line_decides_is_read_for_every_issuer() -> None:
    decided = {
        Variable.THING_GROUPS: '["fleet"]',
        Variable.THING_ATTRIBUTES: '{"line": "1"}',
        Variable.SUBJECT: '{"organization": "Widgets", "country": "DE"}',
    }
    config = IssuerConfig.from_environment(issuer_environment("iot-core", changes=decided))
    assert (config.thing_groups, config.thing_attributes) == (("fleet",), {"line": "1"})
    assert config.subject == SubjectConfig(organization="Widgets", country="DE")
    assert config.renewal_window == timedelta(days=30)


def test_the_sweeper_has_all_issuers_two_of_one_kind_among_them_and_therefore_no_single_one() -> None:
    issuers = {"old-ca": private_ca_settings(), "new-ca": private_ca_settings(), "iot-core": {"kind": "iot-core"}}
    config = IssuerConfig.from_environment(ISSUER | {Variable.ISSUERS: json.dumps(issuers)})
    assert [issuer.name for issuer in config.issuers] == list(issuers)
    with pytest.raises(ConfigurationError, match="SECRETFREE_ISSUERS"):
        _ = config.issuer


@pytest.mark.parametrize("name", sorted(set(ISSUER) - {Variable.ISSUER}))
@pytest.mark.parametrize("value", [None, ""], ids=["missing", "empty"])
def test_what_an_issuer_lacks_is_named(name: str, value: str | None) -> None:
    environment = {key: item for key, item in ISSUER.items() if key != name} | ({} if value is None else {name: value})
    with pytest.raises(ConfigurationError, match=f"{name} is missing or empty"):
        IssuerConfig.from_environment(environment)


@pytest.mark.parametrize("name", sorted(AUTHORIZER))
def test_what_the_authorizer_lacks_is_named(name: str) -> None:
    environment = AUTHORIZER | {Variable.MATCH_POLICY: "UDID"}
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
        IssuerConfig.from_environment(ISSUER | {name: value})
    assert name in str(caught.value)
    assert accepted in str(caught.value)
