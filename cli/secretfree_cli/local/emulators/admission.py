"""Decides which requests a server on loopback accepts: none from web pages, and none for a foreign host name.

A page in a browser on the same machine can reach loopback in two ways. It sends a simple cross-origin request, which a
browser marks with `Origin` or `Sec-Fetch-*`. Or its own host name resolves to 127.0.0.1 (DNS rebinding); the name is
then in `Host`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")

Header = tuple[bytes, bytes]


def refusal_of(headers: Iterable[Header], *, is_deployed: Callable[[str], bool] = lambda _name: False) -> str | None:
    """Return why a request is refused, or None if it is accepted.

    `headers` are unchanged. `is_deployed`: whether a host name, in lower case, belongs to a deployed endpoint.
    """
    hosts = []
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name == "origin" or name.startswith("sec-fetch-"):
            return "requests from web pages are refused"
        if name == "host":
            hosts.append(value)
    named = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if named is None:
        return "a request needs exactly one Host header"
    host = named["name"].lower()
    return None if _is_loopback(host) or is_deployed(host) else "the Host does not name this machine"


def _is_loopback(host: str) -> bool:
    """Whether a name always means this machine: RFC 6761 section 6.3 reserves `localhost` and the names below it."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
