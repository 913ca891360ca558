"""Decides whether a controller may count as a member of its fleet, by the renewals of its own TTL check.

A new member takes nodes from the others, so it must have shown first that it stays: only after a while of unbroken
renewals its check is passing. From then on all others see it as a member. It gets its nodes a TTL later, see
`members_in_effect`.

A renewal that the agent did not answer may still be in the network, and reach the agent when the line works again. Then
the check is passing, and Consul shows a member. If the controller set the check to `warning` at that moment, its nodes
would move back to it, away from it, and back again. So a controller whose check has expired is silent first. If Consul
shows it as a member, it is one at once.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

TTL = 5.0
"""Seconds after the last renewal in which the check stays as it was set."""
SETTLING = 5.0
"""Seconds of unbroken renewals that a fleet with members demands of a new one."""
JOINING = SETTLING + TTL
"""Seconds that a new member needs to get its nodes."""
LATE = 2.0
"""Seconds after the members can be read again in which a renewal from before may reach the agent."""


@dataclass(frozen=True, slots=True)
class Membership:
    """Since when this controller renews without a break, and when it last did; None before the first renewal.

    Times are seconds of a clock that continues while the machine is suspended. A renewal counts from its sending. With
    `has_lapsed`, the check has expired before, and `since` is the time when the members could be read again.
    """

    since: float | None = None
    renewed: float = 0.0
    is_admitted: bool = False
    has_lapsed: bool = False

    def is_broken(self, now: float) -> bool:
        """Whether the check may have expired since the last renewal: the others may have taken the nodes over."""
        return self.since is not None and now - self.renewed > TTL

    def is_silent(self, now: float) -> bool:
        """Whether nothing may be sent, because a renewal from before the break may still arrive."""
        if not self.has_lapsed or self.is_admitted:
            return False
        return self.since is None or now - self.since < LATE

    def after(self, sent: float) -> "Membership":
        """Returns the membership after a renewal."""
        return replace(self, since=sent if self.since is None else self.since, renewed=sent)

    def considered(self, member: str, members: Collection[str] | None, now: float) -> "Membership":
        """Returns the membership, admitted if nothing speaks against it. `members` are those that Consul shows, None if
        they are not known.

        Without another member, nobody's nodes are taken. A controller that Consul shows as a member still has its
        nodes: its last run ended a moment ago.
        """
        settled = self.since is not None and now - self.since >= SETTLING
        admitted = members is not None and (settled or not members or member in members)
        considered = replace(self, is_admitted=self.is_admitted or admitted)
        if self.has_lapsed and self.since is None and members is not None:
            return considered.after(now)
        return considered
