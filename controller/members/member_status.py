"""The status of the TTL check that makes this controller a member of its fleet.

Members are the passing instances. So the check is `warning` while the controller joins, and `critical` while a thread
hangs. A controller that is not ready, or whose threads wait for a slow Consul, stays a member: the reason is the output
of its check.

**Cut off from Consul.** If no renewal was taken for the TTL, the agent has made the check critical, and the other
members probe our nodes. What happens depends on the reason:

* The agent did not answer, or this process stood still: this controller checks nothing until it has read the members
  again, so that no pod is probed twice.
* The connection was refused: the agent's process is dead, and with it the timer of our TTL. Probes go on, as they do
  without a fleet.
* The agent answered with an error: the members can be read, or the whole of Consul has a problem. Probes go on until a
  view says otherwise.

Afterwards nothing is sent until the members are read, and for a moment longer, see `reconcilers.membership`.
"""

from collections.abc import Callable, Collection, Sequence

from controller.consul.client import ConsulError, ConsulUnavailable
from controller.consul.registration import Complaints
from controller.members.membership_watch import MembershipWatch
from controller.runtime.boottime import boottime
from reconcilers.membership import JOINING, TTL, Membership

PERIOD = 1.0
PERIOD_UNKNOWN = 0.2
"""Seconds between two renewals, while the members are not known, and after a renewal without an answer."""


class MemberStatus:
    """Implements `CheckStatus` for the member `member`. One thread calls it."""

    def __init__(
        self,
        watch: MembershipWatch,
        member: str,
        healthy: Complaints,
        ready: Complaints,
        clock: Callable[[], float] = boottime,
    ) -> None:
        self._watch = watch
        self._member = member
        self._healthy = healthy
        self._ready = ready
        self._clock = clock
        self._membership = Membership()
        self._sent = 0.0
        self._is_unanswered = True
        """Whether the agent has not answered since the last renewal, or nothing was sent."""

    @property
    def ttl(self) -> float:
        return TTL

    @property
    def period(self) -> float:
        """See `CheckStatus`."""
        is_settled = self._membership.since is not None and self._watch.view() is not None
        return PERIOD if is_settled and self._clock() - self._membership.renewed < PERIOD else PERIOD_UNKNOWN

    def is_silent(self) -> bool:
        """See `CheckStatus`."""
        now = self._clock()
        self._notice_break(now)
        if not (forced := self._healthy() or self._watch.other_fleets()):
            self._membership = self._membership.considered(self._member, self._members(), now)
        self._confirm(now)
        return not forced and self._membership.is_silent(now)

    def current(self) -> tuple[str, str]:
        """See `CheckStatus`."""
        self._sent = self._clock()
        self._notice_break(self._sent)
        if stuck := self._healthy():
            self._membership = Membership()
            return "critical", "\n".join(stuck)
        if (others := self._watch.other_fleets()) and not self._membership.is_admitted:
            return "warning", others
        members = self._members()
        self._membership = self._membership.considered(self._member, members, self._sent)
        has_nodes = members is None or (self._member in members and not self._watch.is_waiting())
        return self._status(self._ready(), has_nodes=has_nodes)

    def _members(self) -> Collection[str] | None:
        view = self._watch.view()
        return view.members if view else None

    def _status(self, unready: Sequence[str], *, has_nodes: bool) -> tuple[str, str]:
        """The first passing output does not say that this controller is not a member yet: Consul's catalog takes the
        next output only minutes later, because the status stays the same."""
        if not self._membership.is_admitted:
            return "warning", f"joining the fleet, which takes {JOINING:g} s"
        outdated = "" if has_nodes else self._watch.complaint()
        return "passing", "\n".join(each for each in unready if each != outdated) or "ok"

    def renewed(self) -> None:
        """See `CheckStatus`."""
        self._membership = self._membership.after(self._sent)
        self._is_unanswered = True
        self._confirm(self._sent)

    def failed(self, error: ConsulError) -> None:
        """See `CheckStatus`."""
        self._is_unanswered = isinstance(error, ConsulUnavailable) and error.sent and not error.answered
        self._notice_break(self._clock())

    def _notice_break(self, now: float) -> None:
        if self._membership.is_broken(now):
            self._membership = Membership(has_lapsed=True)
            self._watch.distrust(stop=self._is_unanswered)

    def _confirm(self, now: float) -> None:
        """Confirms the share as of the last renewal. It is confirmed as of `now` where the nodes are kept without a
        renewal."""
        is_kept = not (self._is_unanswered and self._watch.has_others())
        self._watch.confirm(now if is_kept else self._membership.renewed)
