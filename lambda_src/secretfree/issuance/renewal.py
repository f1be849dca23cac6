"""When a device renews: its renewal window begins at a date of its own, so that a fleet does not renew on one day."""

from datetime import datetime, timedelta
from typing import Final

# The first characters of a fingerprint, which is a hash in hexadecimal, are a uniform number.
_DIGITS: Final = 8
# A device has at least half of its renewal window to renew. After half of that time, it is late.
_LATE_SHARE: Final = 4


def renewal_start(not_after: datetime, fingerprint: str, window: timedelta) -> datetime:
    """When the renewal window of the certificate of the key `fingerprint` begins, in whole seconds.

    `window`: how long before `not_after` the first device may renew. The start lies in its first half and depends
    only on the key, so every request gets the same start, and every device has the second half to renew in.
    """
    share = int(fingerprint[:_DIGITS], 16) / 16**_DIGITS
    return not_after - window + timedelta(seconds=int(window.total_seconds() / 2 * share))


def late_renewal(window: timedelta) -> timedelta:
    """How long before its certificate's end a device that has not renewed is late: a quarter of the renewal window."""
    return window / _LATE_SHARE
