"""How many descriptors this process may have, and so how many probes may be in flight."""

import logging
import resource

log = logging.getLogger(__name__)

SPARE = 64
"""What everything but the probes needs."""


def affordable(wanted: int) -> int:
    """How many transfers the descriptors of this process allow, after its limit was raised as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    goal = wanted + SPARE
    limit = goal if hard == resource.RLIM_INFINITY else min(goal, hard)
    if soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    possible = max(1, min(wanted, max(soft, limit) - SPARE))
    if possible < wanted:
        log.warning("max_in_flight is %d, and %d descriptors allow %d", wanted, limit, possible)
    return possible
