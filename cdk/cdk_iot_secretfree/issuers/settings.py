"""The issuers' settings as the runtime reads them from its environment."""

from collections.abc import Sequence

from aws_cdk import Stack
from secretfree.contract import IssuerSetting

from cdk_iot_secretfree.issuers.issuer import Issuer


def runtime_settings(stack: Stack, issuers: Sequence[Issuer]) -> str:
    """The value of `Variable.ISSUERS`: JSON of each issuer's kind and settings, by the issuer's name."""
    return stack.to_json_string(
        {
            issuer.name: {
                IssuerSetting.KIND.value: issuer.kind.value,
                **{setting.value: value for setting, value in issuer.settings(stack).items()},
            }
            for issuer in issuers
        }
    )
