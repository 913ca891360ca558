"""Decides whether a controller may count as a member of its fleet, by the renewals of its own TTL check.

A new member takes nodes from the others, so it must have shown first that it stays: only after a while of unbroken
renewals its check is passing. The view of all others is then a function of Consul's index alone.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

TTL = 5.0
"""Seconds after the last renewal in which the check stays as it was set."""
SETTLING = 10.0
"""Seconds of unbroken renewals that a fleet with members demands of a new one."""


@dataclass(frozen=True, slots=True)
class Membership:
    """Since when this controller renews without a break, and when it last did; None before the first renewal.

    Times are seconds of a clock that continues while the machine is suspended. A renewal counts from its sending.
    """

    since: float | None = None
    renewed: float = 0.0
    is_admitted: bool = False

    def is_broken(self, now: float) -> bool:
        """Whether the check may have expired since the last renewal: the others may have taken the nodes over."""
        return self.since is not None and now - self.renewed > TTL

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
        return replace(self, is_admitted=self.is_admitted or admitted)
