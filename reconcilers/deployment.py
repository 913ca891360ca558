"""Is this version of a pod still being deployed? Then its failures are no verdict yet.

p2 writes a new manifest into intent; the node's preparer then installs it, stops what ran before, launches it, and
writes it into reality. A manifest that is not in reality when it is first seen is being deployed. That ends with the
first success, of the new version: while reality names another one, it is that one that answers. So the start of the
pod, after reality followed, is still part of it; and where nobody writes reality, the first success is its end as well.

Versions are told apart by p2's SHA, as its preparer does it. The SHA ignores what p2 does not know, such as `interval`
or `expect_status` below `status:`, so a change of those is no deployment: the preparer does not touch the pod either.

Source: pkg/preparer of square/p2, for the order of the steps.
"""

from dataclasses import dataclass, replace
from enum import Enum

from reconcilers.health import HealthState


class Reality(Enum):
    """What the tree of what really runs says of a pod, beside the manifest that is intended."""

    UNREAD = "unread"
    ABSENT = "absent"
    OTHER = "other"
    SAME = "same"


@dataclass(frozen=True, slots=True)
class Deployment:
    """One version of a pod on its way. Times are seconds since the epoch; it began when it was first `seen`."""

    seen: float
    reality: Reality

    @classmethod
    def begun(cls, reality: Reality, told: HealthState | None, seen: float) -> "Deployment | None":
        """For a manifest that is seen for the first time. None when it runs already, or when an earlier run of ours
        `told` the world how it is: it was critical after its grace, or had its first success."""
        if reality is Reality.SAME or told is HealthState.CRITICAL:
            return None
        if told is HealthState.PASSING and reality is not Reality.OTHER:
            return None
        return cls(seen, reality)

    def looked_at(self, reality: Reality) -> "Deployment | None":
        """What is left of it now that reality was read; None when it had been over before anybody looked."""
        if self.reality is Reality.UNREAD and reality is Reality.SAME:
            return None
        return replace(self, reality=reality)

    def after_success(self) -> "Deployment | None":
        """None: over; unless it was another version that answered."""
        return self if self.reality is Reality.OTHER else None

    def excuses(self, started: float, grace: float) -> bool:
        """Whether a failure that `started` then is no verdict yet; never for longer than `grace` seconds.

        A clock that was set back since excuses nothing.
        """
        return 0 <= started - self.seen < grace
