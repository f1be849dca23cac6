"""The settings of the issuers, and the subject of the certificates."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from secretfree.config.environment import ConfigurationError, is_string_map, json_value, refused, string_map
from secretfree.contract import ISSUER_NAME_FORM, IssuerKind, IssuerSetting, Variable


@dataclass(frozen=True, slots=True)
class SubjectConfig:
    """The parts of a certificate's subject that policy adds to the CN; `country` is ISO 3166 alpha-2."""

    organization: str | None = None
    organizational_unit: str | None = None
    country: str | None = None


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """One issuer's settings, read by the module of its kind. `name` is unique in a product line."""

    name: str
    kind: IssuerKind
    values: Mapping[str, str]

    def require(self, *settings: IssuerSetting, optional: Collection[IssuerSetting] = ()) -> None:
        """Raise ConfigurationError unless all of these settings are present, and no others but the optional ones."""
        accepted = {IssuerSetting.KIND, *settings}
        if set(self.values) - set(optional) != accepted:
            raise self._refused("settings", sorted(self.values), f"exactly {', '.join(sorted(accepted))}")

    @property
    def authorities(self) -> tuple[str, ...]:
        """The ARNs of the CAs whose certificates are valid: the one that signs, then the previous ones.

        Empty for a kind without CAs of its own.
        """
        if IssuerSetting.AUTHORITY_ARN not in self.values:
            return ()
        return self.text(IssuerSetting.AUTHORITY_ARN), *self.texts(IssuerSetting.PREVIOUS_AUTHORITY_ARNS)

    def texts(self, setting: IssuerSetting) -> tuple[str, ...]:
        """The comma-separated texts, none of them empty; empty if the setting is absent."""
        if setting not in self.values:
            return ()
        found = tuple(self.values[setting].split(","))
        if not all(found):
            raise self._refused(setting, self.values[setting], "comma-separated texts")
        return found

    def text(self, setting: IssuerSetting) -> str:
        """A text that is not empty."""
        value = self.values.get(setting, "")
        if not value:
            raise self._refused(setting, value, "a text")
        return value

    def days(self, setting: IssuerSetting) -> timedelta:
        """Whole days, 1 or more."""
        value = self.text(setting)
        if _DAYS.fullmatch(value) is None or int(value) < 1:
            raise self._refused(setting, value, "whole days, 1 or more")
        return timedelta(days=int(value))

    def boolean(self, setting: IssuerSetting) -> bool:
        """`true` or `false`."""
        value = self.text(setting)
        if value not in {"true", "false"}:
            raise self._refused(setting, value, "true or false")
        return value == "true"

    def _refused(self, setting: str, given: object, accepted: str) -> ConfigurationError:
        return refused(Variable.ISSUERS, f"{self.name}: {setting} {given}", accepted)


def issuers_of(environment: Mapping[str, str]) -> tuple[IssuerSettings, ...]:
    """The issuers of a function; raises ConfigurationError."""
    name = Variable.ISSUERS
    issuers = json_value(environment, name)
    accepted = f"a JSON object of issuers by name, each an object of texts with a kind of {', '.join(IssuerKind)}"
    if not isinstance(issuers, dict) or not issuers or not all(map(is_string_map, issuers.values())):
        raise refused(name, environment[name], accepted)
    if not {values.get(IssuerSetting.KIND) for values in issuers.values()} <= set(IssuerKind):
        raise refused(name, environment[name], accepted)
    return tuple(
        IssuerSettings(_issuer_name(issuer, name), IssuerKind(values[IssuerSetting.KIND]), values)
        for issuer, values in issuers.items()
    )


def _issuer_name(text: str, variable: Variable) -> str:
    if _ISSUER_NAME.fullmatch(text) is None:
        raise refused(variable, text, f"an issuer's name of the form {ISSUER_NAME_FORM}")
    return text


def subject_of(environment: Mapping[str, str]) -> SubjectConfig:
    """The subject of a function; raises ConfigurationError."""
    name = Variable.SUBJECT
    parts = string_map(environment, name)
    try:
        return SubjectConfig(**parts)
    except TypeError:
        accepted = "a JSON object with any of organization, organizational_unit, country"
        raise refused(name, environment[name], accepted) from None


_DAYS: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
_ISSUER_NAME: Final = re.compile(ISSUER_NAME_FORM, re.ASCII)
