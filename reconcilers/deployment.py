"""Is this version of a pod still being deployed? Then its failures do not make the pod critical.

p2 writes a new manifest into intent. The preparer of the node then installs it, stops the old version, launches the new
one, and writes the manifest into reality. A manifest that is not in reality when it is first read is being deployed.
The deployment ends with the first success of the new version. While reality has another version, that version answers
the probes. So the start of the pod after the change of reality is part of the deployment. Where nobody writes reality,
the first success ends the deployment.

A record with the reason `deploying` continues a deployment that an earlier run, or another controller, has seen begin.

Versions are distinguished by p2's SHA, as in the preparer. The SHA ignores fields that p2 does not know, such as
`interval` or `expect_status` below `status:`. A change of these is no deployment: the preparer does not restart
the pod.

Source: pkg/preparer of square/p2, for the order of the steps.
"""

from dataclasses import dataclass, replace
from enum import Enum

from reconcilers.health import HealthState, Reason
from reconcilers.record import HealthRecord


class Reality(Enum):
    """How the manifest of a pod in reality compares with its manifest in intent."""

    UNREAD = "unread"
    ABSENT = "absent"
    OTHER = "other"
    SAME = "same"


@dataclass(frozen=True, slots=True)
class Deployment:
    """The deployment of one version of a pod. It began when the version was first `seen` (seconds since the epoch)."""

    seen: float
    reality: Reality

    @classmethod
    def begun(cls, reality: Reality, published: HealthRecord | None, now: float) -> "Deployment | None":
        """Returns the deployment of a manifest that is read for the first time at `now`, None if there is none.

        There is none if the version runs already. `published` is the record of this version, by an earlier run or by
        another controller: it was critical after its grace, or passing or warning after its first success. While it is
        deploying, its grace counts from the first failure, also if p2 has launched it by now.
        """
        if published and published.reason is Reason.DEPLOYING:
            return cls(min(now, published.since), Reality.ABSENT if reality is Reality.UNREAD else reality)
        status = published.status if published else None
        if reality is Reality.SAME or status is HealthState.CRITICAL:
            return None
        if status and status.is_up and reality is not Reality.OTHER:
            return None
        return cls(now, reality)

    def with_reality(self, reality: Reality) -> "Deployment | None":
        """Returns the deployment after reality was read, None if the version already ran before."""
        if self.reality is Reality.UNREAD and reality is Reality.SAME:
            return None
        return replace(self, reality=reality)

    def after_success(self) -> "Deployment | None":
        """Returns the deployment after a success, None if that ended it. Another version may have answered."""
        return self if self.reality is Reality.OTHER else None

    def excuses(self, started: float, grace: float) -> bool:
        """Whether a failure of a probe that `started` then does not count against the pod.

        It counts after `grace` seconds, and when the clock was set back to before the deployment.
        """
        return 0 <= started - self.seen < grace
