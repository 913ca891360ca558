"""A clock that also goes on while the machine is suspended, which the monotonic clock does not.

It is for what others measure too: a session's TTL, a check's, a lease's. While a machine is paused by what runs it, no
clock of its own goes on; whether a TTL ran out meanwhile only whoever keeps it can say.
"""

import time


def boottime() -> float:
    """Seconds since the machine was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
