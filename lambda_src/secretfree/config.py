"""The functions' configuration: parsed once, from environment variables that the construct sets."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Final, Self, TypeGuard, TypeVar

from secretfree.contract import ISSUER_NAME_FORM, IssuerKind, IssuerSetting, LogLevel, MatchPolicy, Variable
from secretfree.request.device_profile import DeviceProfile

_Choice = TypeVar("_Choice", bound=Enum)


class ConfigurationError(Exception):
    """An environment variable that is missing or not of its form. The message names it and what is accepted."""


@dataclass(frozen=True, slots=True)
class AuthorizerConfig:
    """Of the authorizer. `ledger_table` is set only for MatchPolicy.UDID."""

    product: str
    device_profile: DeviceProfile
    log_level: LogLevel
    registry_table: str
    registry_key_index: str
    match: MatchPolicy
    ledger_table: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError."""
        match = _choice(environment, Variable.MATCH_POLICY, MatchPolicy)
        return cls(
            **_function_settings(environment),  # type: ignore[arg-type]
            registry_table=_text(environment, Variable.REGISTRY_TABLE),
            registry_key_index=_text(environment, Variable.REGISTRY_KEY_INDEX),
            match=match,
            ledger_table=_text(environment, Variable.LEDGER_TABLE) if match is MatchPolicy.UDID else None,
        )


@dataclass(frozen=True, slots=True)
class CsrFrontConfig:
    """That of the way in for a CSR in the body.

    `issuer_functions`: the function that answers for each issuer, by the issuer's path. `retry_after`: whole seconds,
    what the API tells a device to wait where it answers 5xx itself.
    """

    authorizer: AuthorizerConfig
    issuer_functions: Mapping[str, str]
    retry_after: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError."""
        return cls(
            AuthorizerConfig.from_environment(environment),
            _string_map(environment, Variable.ISSUER_FUNCTIONS),
            _number(environment, Variable.RETRY_AFTER_SECONDS, least=1),
        )


@dataclass(frozen=True, slots=True)
class ImportConfig:
    """Of the manifest import: the bucket with the manifests, and the registry."""

    product: str
    device_profile: DeviceProfile
    log_level: LogLevel
    match: MatchPolicy
    registry_table: str
    registry_key_index: str
    bucket: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError."""
        return cls(
            **_function_settings(environment),  # type: ignore[arg-type]
            match=_choice(environment, Variable.MATCH_POLICY, MatchPolicy),
            registry_table=_text(environment, Variable.REGISTRY_TABLE),
            registry_key_index=_text(environment, Variable.REGISTRY_KEY_INDEX),
            bucket=_text(environment, Variable.IMPORT_BUCKET),
        )


@dataclass(frozen=True, slots=True)
class SubjectConfig:
    """The parts of a certificate's subject that policy gives beside the CN; `country` is ISO 3166 alpha-2."""

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
        """Raise ConfigurationError unless the kind is given exactly these settings, and any of the optional ones."""
        accepted = {IssuerSetting.KIND, *settings}
        if set(self.values) - set(optional) != accepted:
            raise self._refused("settings", sorted(self.values), f"exactly {', '.join(sorted(accepted))}")

    @property
    def authorities(self) -> tuple[str, ...]:
        """The ARNs of the CAs whose certificates are good: the one that signs, then those before it.

        Empty for a kind without CAs of its own.
        """
        if IssuerSetting.AUTHORITY_ARN not in self.values:
            return ()
        return self.text(IssuerSetting.AUTHORITY_ARN), *self.texts(IssuerSetting.PREVIOUS_AUTHORITY_ARNS)

    def texts(self, setting: IssuerSetting) -> tuple[str, ...]:
        """The texts between commas, none of them empty; none where the setting is absent."""
        if setting not in self.values:
            return ()
        found = tuple(self.values[setting].split(","))
        if not all(found):
            raise self._refused(setting, self.values[setting], "texts by commas")
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
        return _refused(Variable.ISSUERS, f"{self.name}: {setting} {given}", accepted)


@dataclass(frozen=True, slots=True)
class IssuerConfig:
    """Of an issuer or, with several `issuers`, of the sweeper."""

    product: str
    device_profile: DeviceProfile
    log_level: LogLevel
    issuers: tuple[IssuerSettings, ...]
    match: MatchPolicy
    registry_table: str
    ledger_table: str
    deployment: str
    policy_name: str
    thing_type: str
    thing_groups: tuple[str, ...]
    thing_attributes: Mapping[str, str]
    iot_endpoint: str
    subject: SubjectConfig
    renewal_window: timedelta
    issuance_rate: int
    announcements: "AnnouncementsConfig | None" = None

    @property
    def issuer(self) -> IssuerSettings:
        """The one issuer of an issuer function; raises ConfigurationError for the sweeper's several."""
        if len(self.issuers) != 1:
            raise ConfigurationError(f"{Variable.ISSUERS} has several issuers: accepted is one")
        return self.issuers[0]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError."""
        return cls(
            **_function_settings(environment),  # type: ignore[arg-type]
            issuers=_issuers(environment),
            match=_choice(environment, Variable.MATCH_POLICY, MatchPolicy),
            ledger_table=_text(environment, Variable.LEDGER_TABLE),
            registry_table=_text(environment, Variable.REGISTRY_TABLE),
            deployment=_text(environment, Variable.DEPLOYMENT),
            policy_name=_text(environment, Variable.POLICY_NAME),
            thing_type=_text(environment, Variable.THING_TYPE),
            thing_groups=_texts(environment, Variable.THING_GROUPS, "thing group names"),
            thing_attributes=_string_map(environment, Variable.THING_ATTRIBUTES),
            iot_endpoint=_text(environment, Variable.IOT_ENDPOINT),
            subject=_subject(environment),
            renewal_window=_hours(environment, Variable.RENEWAL_WINDOW_HOURS),
            issuance_rate=_number(environment, Variable.ISSUANCE_RATE, least=1),
            announcements=AnnouncementsConfig.from_environment(environment),
        )


@dataclass(frozen=True, slots=True)
class AnnouncementsConfig:
    """Where a Region of several announces what it issued; its own name, and those of all."""

    table: str
    region: str
    regions: tuple[str, ...]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self | None:
        """None for a product line of one Region; raises ConfigurationError."""
        if not environment.get(Variable.ANNOUNCEMENTS_TABLE):
            return None
        return cls(
            table=_text(environment, Variable.ANNOUNCEMENTS_TABLE),
            region=_text(environment, Variable.REGION),
            regions=_texts(environment, Variable.REGIONS, "names of Regions"),
        )

    def trusted(self, authorities: tuple[str, ...]) -> tuple[str, ...]:
        """`authorities`, and where they are this Region's own, those of the other Regions.

        What another Region's CA signs is followed here. Their ARNs are not known here, except for their beginning.
        """
        if not authorities or authorities[0].split(":")[3] != self.region:
            return authorities
        own = authorities[0].rpartition("/")[0]
        others = [region for region in self.regions if region != self.region]
        return (*authorities, *(own.replace(f":{self.region}:", f":{region}:", 1) for region in others))


@dataclass(frozen=True, slots=True)
class FollowerConfig:
    """The follower's. `region`: its own, whose announcements it does not follow."""

    issuing: IssuerConfig
    announcements_table: str
    region: str
    later_queue_url: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError."""
        return cls(
            issuing=IssuerConfig.from_environment(environment),
            announcements_table=_text(environment, Variable.ANNOUNCEMENTS_TABLE),
            region=_text(environment, Variable.REGION),
            later_queue_url=_text(environment, Variable.LATER_QUEUE_URL),
        )


@dataclass(frozen=True, slots=True)
class RevocationConfig:
    """Of the revoker. `revoking_authorities`: the ARNs of the CAs that take revocations."""

    product: str
    device_profile: DeviceProfile
    log_level: LogLevel
    match: MatchPolicy
    registry_table: str
    ledger_table: str
    revoking_authorities: tuple[str, ...]
    announcements: AnnouncementsConfig | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError."""
        return cls(
            **_function_settings(environment),  # type: ignore[arg-type]
            match=_choice(environment, Variable.MATCH_POLICY, MatchPolicy),
            registry_table=_text(environment, Variable.REGISTRY_TABLE),
            ledger_table=_text(environment, Variable.LEDGER_TABLE),
            revoking_authorities=_texts(environment, Variable.REVOKING_AUTHORITIES, "ARNs of certificate authorities"),
            announcements=AnnouncementsConfig.from_environment(environment),
        )


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """The audit trail's transformation: what every function has, and no more."""

    product: str
    device_profile: DeviceProfile
    log_level: LogLevel

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError."""
        return cls(**_function_settings(environment))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class RetirementConfig:
    """The retirer's."""

    product: str
    device_profile: DeviceProfile
    log_level: LogLevel
    ledger_table: str
    policy_name: str
    thing_type: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError."""
        return cls(
            **_function_settings(environment),  # type: ignore[arg-type]
            ledger_table=_text(environment, Variable.LEDGER_TABLE),
            policy_name=_text(environment, Variable.POLICY_NAME),
            thing_type=_text(environment, Variable.THING_TYPE),
        )


_DAYS: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
_HOURS: Final = re.compile(r"[0-9]{1,6}", re.ASCII)
_ISSUER_NAME: Final = re.compile(ISSUER_NAME_FORM, re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


def _function_settings(environment: Mapping[str, str]) -> dict[str, object]:
    level = environment.get(Variable.LOG_LEVEL, LogLevel.INFO.name)
    if level not in LogLevel.__members__:
        raise _refused(Variable.LOG_LEVEL, level, f"one of {', '.join(LogLevel.__members__)}")
    return {
        "product": _text(environment, Variable.PRODUCT),
        "device_profile": _choice(environment, Variable.DEVICE_PROFILE, DeviceProfile),
        "log_level": LogLevel[level],
    }


def _issuers(environment: Mapping[str, str]) -> tuple[IssuerSettings, ...]:
    name = Variable.ISSUERS
    issuers = _json(environment, name)
    accepted = f"a JSON object of issuers by name, each an object of texts with a kind of {', '.join(IssuerKind)}"
    if not isinstance(issuers, dict) or not issuers or not all(map(_is_string_map, issuers.values())):
        raise _refused(name, environment[name], accepted)
    if not {values.get(IssuerSetting.KIND) for values in issuers.values()} <= set(IssuerKind):
        raise _refused(name, environment[name], accepted)
    return tuple(
        IssuerSettings(_issuer_name(issuer, name), IssuerKind(values[IssuerSetting.KIND]), values)
        for issuer, values in issuers.items()
    )


def _issuer_name(text: str, variable: Variable) -> str:
    if _ISSUER_NAME.fullmatch(text) is None:
        raise _refused(variable, text, f"an issuer's name of the form {ISSUER_NAME_FORM}")
    return text


def _texts(environment: Mapping[str, str], name: Variable, of: str) -> tuple[str, ...]:
    texts = _json(environment, name)
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise _refused(name, environment[name], f"a JSON array of {of}")
    return tuple(texts)


def _subject(environment: Mapping[str, str]) -> SubjectConfig:
    name = Variable.SUBJECT
    parts = _string_map(environment, name)
    try:
        return SubjectConfig(**parts)
    except TypeError:
        accepted = "a JSON object with any of organization, organizational_unit, country"
        raise _refused(name, environment[name], accepted) from None


def _string_map(environment: Mapping[str, str], name: Variable) -> dict[str, str]:
    value = _json(environment, name)
    if not _is_string_map(value):
        raise _refused(name, environment[name], "a JSON object of strings")
    return value


def _is_string_map(value: object) -> TypeGuard[dict[str, str]]:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _json(environment: Mapping[str, str], name: Variable) -> object:
    text = _text(environment, name)
    try:
        value: object = json.loads(text)
    except ValueError:
        raise _refused(name, text, "JSON") from None
    return value


def _hours(environment: Mapping[str, str], name: Variable) -> timedelta:
    text = _text(environment, name)
    if _HOURS.fullmatch(text) is None:
        raise _refused(name, text, "whole hours, 0 or more")
    return timedelta(hours=int(text))


def _number(environment: Mapping[str, str], name: Variable, *, least: int) -> int:
    text = _text(environment, name)
    if _NUMBER.fullmatch(text) is None or int(text) < least:
        raise _refused(name, text, f"a whole number, {least} or more")
    return int(text)


def _choice(environment: Mapping[str, str], name: Variable, choices: type[_Choice]) -> _Choice:
    text = _text(environment, name)
    try:
        return choices(text)
    except ValueError:
        raise _refused(name, text, f"one of {', '.join(str(choice.value) for choice in choices)}") from None


def _text(environment: Mapping[str, str], name: Variable) -> str:
    text = environment.get(name, "")
    if not text:
        raise ConfigurationError(f"environment variable {name} is missing or empty")
    return text


def _refused(name: Variable, given: str, accepted: str) -> ConfigurationError:
    return ConfigurationError(f"environment variable {name} is {given[:200]!r}: accepted is {accepted}")
