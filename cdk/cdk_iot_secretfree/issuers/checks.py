"""Checks of a product line's issuers together, and values that follow from all of them."""

import json
import re
from collections.abc import Sequence
from typing import Final

from aws_cdk import Duration, Stack
from secretfree.contract import MatchPolicy

from cdk_iot_secretfree.issuers.issuer import Issuer
from cdk_iot_secretfree.validation import is_token, refuse, require_whole_hours


def check_issuers(issuers: Sequence[Issuer]) -> None:
    accepted = "one or several of what Issuer makes, as Issuer.private_ca(authority)"
    if not issuers:
        refuse("issuers", "none", accepted)
    # Names that differ only in hyphens give the same id in the construct tree.
    if len({issuer.construct_id for issuer in issuers}) < len(issuers):
        names = ", ".join(issuer.name for issuer in issuers)
        refuse("issuers", f"the names {names}", "names that differ in letters or digits: Issuer.private_ca(..., name=)")
    if len({issuer.path for issuer in issuers}) < len(issuers):
        paths = ", ".join(issuer.path for issuer in issuers)
        refuse("issuers", f"the paths {paths}", "each path once: Issuer.private_ca(..., path=)")


def check_subject_variables(document: object, issuers: Sequence[Issuer], match: MatchPolicy) -> None:
    """Refuse a device policy that relies on a certificate's subject where the requester may choose the subject.

    IoT Core's own CA, for example, may copy the subject of the request. The runtime checks only the common name, and
    only where it must be the device id.
    """
    copying = [issuer.name for issuer in issuers if not issuer.subject_is_ours]
    if not copying:
        return
    for variable in re.findall(r"iot:Certificate\.Subject\.[A-Za-z0-9.]+", json.dumps(document)):
        if variable == "iot:Certificate.Subject.CommonName" and match is not MatchPolicy.PUBLIC_KEY:
            continue
        refuse(
            "device_policy",
            f"${{{variable}}} with the issuer {copying[0]}, where the requester chooses it",
            "the variables of iot:Connection.Thing, or Issuer.private_ca(authority) alone",
        )


def check_region(stack: Stack, issuers: Sequence[Issuer]) -> None:
    """Refuse a CA of another Region: the functions register certificates with AWS IoT Core in their own Region."""
    for authority in (authority for issuer in issuers for authority in issuer.authorities):
        region = Stack.of(authority).region
        if not is_token(region) and not is_token(stack.region) and region != stack.region:
            refuse("issuers", f"an authority in {region}", f"one of a stack in the Region of this one, {stack.region}")


def renewal_window_hours(window: Duration | None, issuers: Sequence[Issuer]) -> int:
    """The renewal window in hours: how long before its end a certificate may be renewed.

    It is at most half of the validity, so a device has at most two good certificates at a time.
    """
    validities = [issuer.validity_days for issuer in issuers if issuer.validity_days is not None]
    shortest = min(validities, default=None)
    if window is None:
        return _LONGEST_DEFAULT_WINDOW_HOURS if shortest is None else min(shortest * 8, _LONGEST_DEFAULT_WINDOW_HOURS)
    return require_whole_hours("renewal_window", window, 0, (shortest or 36_500) * 12)


_LONGEST_DEFAULT_WINDOW_HOURS: Final = 720
