"""A clock that continues while the machine is suspended. The monotonic clock does not.

It is for times that others measure too: the TTL of a session, of a check, or of a lease. While a hypervisor pauses the
machine, none of its clocks continues. Then only the other side knows whether a TTL has expired.
"""

import time


def boottime() -> float:
    """Seconds since the machine was booted."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
