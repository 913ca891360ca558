"""The limit of file descriptors, and the number of concurrent probes that it allows."""

import logging
import resource

log = logging.getLogger(__name__)

SPARE = 128
"""Descriptors for everything except probes. Half of them are for connections to the web server, and
`controller.web.listener` accepts no more than that."""


def affordable(wanted: int) -> int:
    """The number of concurrent probes, up to `wanted`, that the descriptors allow. Raises the limit if needed."""
    limit = _raised(wanted + SPARE)
    possible = max(1, min(wanted, limit - SPARE))
    if possible < wanted:
        log.warning("max_in_flight is %d, and %d descriptors allow %d", wanted, limit, possible)
    return possible


def keepable(checks: int, max_in_flight: int) -> int:
    """The number of connections, idle ones and those in use, that checks with kept connections may have open.

    It leaves a descriptor for every probe that may be in flight, at most one for each check. Raises the limit of
    descriptors if needed.
    """
    in_flight = min(checks, max_in_flight)
    wanted = checks + in_flight
    return max(1, min(wanted, _raised(wanted + in_flight + SPARE) - in_flight - SPARE))


def _raised(goal: int) -> int:
    """Raise the limit of descriptors to `goal`, or as far as possible. Returns the limit, or `goal` if unlimited."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return goal
    limit = goal if hard == resource.RLIM_INFINITY else min(goal, hard)
    if soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(soft, limit)
