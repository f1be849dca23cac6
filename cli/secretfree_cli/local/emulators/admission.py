"""Decides which requests a server on loopback accepts: none from a web page, and none under a foreign name.

A page in the browser of the same machine reaches loopback in two ways. It sends a simple cross-origin request, which a
browser marks with `Origin` or `Sec-Fetch-*`. Or its own name is made to resolve to 127.0.0.1 (DNS rebinding), and the
name stands in `Host`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")

Header = tuple[bytes, bytes]


def refusal_of(headers: Iterable[Header], *, is_deployed: Callable[[str], bool] = lambda _name: False) -> str | None:
    """Return why a request is refused, or None if it may come in.

    `headers` are as they arrived. `is_deployed` says whether a name, in lower case, belongs to something deployed here.
    """
    hosts = []
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name == "origin" or name.startswith("sec-fetch-"):
            return "requests of web pages are refused"
        if name == "host":
            hosts.append(value)
    named = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if named is None:
        return "a request needs one Host header"
    host = named["name"].lower()
    return None if _is_loopback(host) or is_deployed(host) else "the Host is not of this machine"


def _is_loopback(host: str) -> bool:
    """Whether a name always means this machine: RFC 6761 section 6.3 keeps `localhost` and the names below for it."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
