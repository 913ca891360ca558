"""Is a verdict still proven? A record that has to be written anew is asked this, one that stands never is.

A check that is passing stays so between two probes, and what stands published for it stays too, also where probes are
late: that takes nothing back from anybody. Another matter is a record that went while this process was frozen, with its
session or its TTL. Readers have been told that nothing is known; what was found before the freeze is no reason to tell
them otherwise, and the next probe is due at once.
"""

from reconcilers.health import CheckHealth, HealthState
from reconcilers.spec import CheckSpec, Unprobed

LATENESS = 1.0
"""Seconds that a probe and its result may be late; as much as a target that turned bad may be passing too long."""


def is_proven(spec: CheckSpec, health: CheckHealth, succeeded: float, now: float) -> bool:
    """Whether the verdict may be published at `now` where it does not stand; only `passing` needs a proof.

    It is proven by a success that started at `succeeded`, for as long as no more probes were due since than have been
    seen to miss, and the one that is under way has its timeout. So a miss that comes after a long silence proves
    nothing, whatever the threshold. Times are seconds since the epoch; a success in the future is from before the clock
    was set back, and of unknown age.
    """
    if health.state is not HealthState.PASSING or isinstance(spec.probe, Unprobed):
        return True
    next_is_known_within = (health.misses + 1) * spec.interval + spec.timeout + LATENESS
    return -LATENESS <= now - succeeded <= next_is_known_within
