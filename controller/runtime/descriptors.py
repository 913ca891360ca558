"""How many descriptors this process may have, and so how many probes may be in flight."""

import logging
import resource

log = logging.getLogger(__name__)

SPARE = 128
"""What everything but the probes needs. Half of it is for connections to the page; `controller.web.listener` accepts
no more."""


def affordable(wanted: int) -> int:
    """How many transfers the descriptors of this process allow, after its limit was raised as far as it goes."""
    limit = _raised(wanted + SPARE)
    possible = max(1, min(wanted, limit - SPARE))
    if possible < wanted:
        log.warning("max_in_flight is %d, and %d descriptors allow %d", wanted, limit, possible)
    return possible


def keepable(checks: int, max_in_flight: int) -> int:
    """How many connections of these checks may stand, the idle ones and those in use, when one is kept.

    Whatever is kept leaves a descriptor to every transfer that may be in flight: a check has one at most. The limit is
    raised for it as far as it goes.
    """
    in_flight = min(checks, max_in_flight)
    wanted = checks + in_flight
    return max(1, min(wanted, _raised(wanted + in_flight + SPARE) - in_flight - SPARE))


def _raised(goal: int) -> int:
    """The limit of descriptors, or `goal` where there is none, after it was raised to `goal` as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return goal
    limit = goal if hard == resource.RLIM_INFINITY else min(goal, hard)
    if soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(soft, limit)
