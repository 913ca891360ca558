"""Times and durations as text for people, and as values for the API."""

import time
from datetime import UTC, datetime

WARNING_WITHIN, CRITICAL_WITHIN = 14 * 86_400.0, 2 * 86_400.0
"""Seconds before the end of a certificate. The first is also the bound of the alert."""


def span(seconds: float) -> str:
    """Returns a duration: `0.4 ms`, `4 ms`, `2.5 s`, `12 s`."""
    if seconds < 0.001:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else age(seconds)


def age(seconds: float) -> str:
    """Returns an age in one whole unit: `12 s`, `3 min`, `5 h`, `2 d`; `0 s` for a time in the future."""
    seconds = max(0.0, seconds)
    for limit, size, unit in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds // 86_400:.0f} d"


def urgency(seconds: float) -> str:
    """Returns the class of a certificate that ends in `seconds`: `critical`, `warning`, or "" if it lasts for long."""
    if seconds < CRITICAL_WITHIN:
        return "critical"
    return "warning" if seconds < WARNING_WITHIN else ""


def moment(seconds: float) -> str:
    """Returns a time (seconds since the epoch) in UTC, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def iso(seconds: float) -> str:
    """Returns a time in the format of RFC 3339."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def instant(seconds: float) -> datetime | None:
    """Returns a time as a datetime; None for 0, which means never."""
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
