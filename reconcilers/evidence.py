"""Is the evidence for a state recent enough to publish the state? Only records that must be written again need this.

A published record stays published between two probes, also if probes are late. But a record may be lost while this
process is frozen: its session or its TTL expires. Readers then know that the state is unknown. Results from before the
freeze are no reason to tell them anything else, and the next probe is due at once.
"""

from reconcilers.health import CheckHealth
from reconcilers.spec import CheckSpec, Unprobed

LATENESS = 1.0
"""Seconds that a probe and its result may be late. A target that fails may be passing for as much too long."""


def is_proven(spec: CheckSpec, health: CheckHealth, last_success: float, now: float) -> bool:
    """Whether the state may be published at `now` where it is not published. Only `passing` and `warning` need proof.

    A success or warning that started at `last_success` is proof until more probes were due than are known to have
    missed. The probe that is under way has its timeout. So a miss after a long silence proves nothing, whatever the
    threshold is. Times are seconds since the epoch. A success in the future is from before the clock was set back and
    proves nothing.
    """
    if not health.state.is_up or isinstance(spec.probe, Unprobed):
        return True
    next_is_known_within = (health.misses + 1) * spec.interval + spec.timeout + LATENESS
    return -LATENESS <= now - last_success <= next_is_known_within
