"""The kinds of issuers: found by their name, each with settings of its own, strictly read."""

import pkgutil

import pytest
from secretfree.adapters import issuers
from secretfree.adapters.iot_core import IotCoreThings
from secretfree.adapters.issuers import IssuerSurroundings, make_issuer
from secretfree.config.environment import ConfigurationError
from secretfree.config.issuers import IssuerSettings, SubjectConfig
from secretfree.contract import IssuerKind, IssuerSetting
from support.environments import private_ca_settings
from support.fake_cloud import FakeCloud

SURROUNDINGS = IssuerSurroundings(
    things=IotCoreThings(FakeCloud().client("iot"), thing_type="widget", policy_name="widget"), subject=SubjectConfig()
)
VALUES = {IssuerKind.PRIVATE_CA: private_ca_settings(), IssuerKind.IOT_CORE: {"kind": "iot-core"}}


def test_every_kind_is_a_module_of_its_name_and_every_module_a_kind() -> None:
    modules = {module.name for module in pkgutil.iter_modules(issuers.__path__)}
    assert modules == {kind.value.replace("-", "_") for kind in IssuerKind}


@pytest.mark.parametrize("kind", list(IssuerKind))
def test_an_issuer_is_made_from_its_settings(kind: IssuerKind) -> None:
    assert make_issuer(IssuerSettings("any-name", kind, VALUES[kind]), SURROUNDINGS) is not None


@pytest.mark.parametrize("kind", list(IssuerKind))
def test_a_setting_that_the_kind_does_not_have_is_refused(kind: IssuerKind) -> None:
    with pytest.raises(ConfigurationError, match="exactly"):
        make_issuer(IssuerSettings("any-name", kind, VALUES[kind] | {"misspelt": "1"}), SURROUNDINGS)


@pytest.mark.parametrize(
    ("setting", "value", "accepted"),
    [
        (IssuerSetting.VALIDITY_DAYS, "0", "whole days, 1 or more"),
        (IssuerSetting.VALIDITY_DAYS, "1.5", "whole days, 1 or more"),
        (IssuerSetting.REGISTERED, "True", "true or false"),
        (IssuerSetting.AUTHORITY_ARN, "", "a text"),
    ],
)
def test_a_setting_of_another_form_is_named_with_its_issuer(setting: IssuerSetting, value: str, accepted: str) -> None:
    values = private_ca_settings({setting: value})
    with pytest.raises(ConfigurationError) as caught:
        make_issuer(IssuerSettings("next-ca", IssuerKind.PRIVATE_CA, values), SURROUNDINGS)
    assert f"next-ca: {setting}" in str(caught.value)
    assert accepted in str(caught.value)
