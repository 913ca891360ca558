"""Decides from when on a new member of a fleet counts: one TTL after it was seen. A member that is lost does not count
from that moment on.

A member that is cut off from Consul cannot see that another one joins. It probes its nodes until its check expires. So
the one that joins gets its nodes only after that time. All members that see the same views agree.

While members wait, the view in effect is that of just before the newest index. So what is published then yields to what
is published after the wait.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from reconcilers.membership import TTL
from reconcilers.share import FleetView


@dataclass(frozen=True, slots=True)
class MembersInEffect:
    """The newest view, None before the first one, and the times from which its members count that do not count yet.

    Times are seconds of a clock that continues while the machine is suspended.
    """

    newest: FleetView | None = None
    waiting: Mapping[str, float] = field(default_factory=dict)

    def after(self, newest: FleetView, first: str, now: float) -> "MembersInEffect":
        """Returns the members after a view that was seen at `now`. `first` is its member that is passing for longest.

        All members of the first view count: whoever reads it has no share yet. A view without a member leaves the
        members as they are. If no member would count, the first one does: a fleet starts, or all others were lost. All
        members see which one that is, also if they start at the same time.
        """
        if self.newest is None:
            return MembersInEffect(newest)
        if not newest.members:
            return replace(self, newest=replace(newest, members=self.newest.members))
        known = self.newest.members
        waiting = {
            member: self.waiting.get(member, now + TTL)
            for member in newest.members
            if member in self.waiting or member not in known
        }
        if len(waiting) == len(newest.members):
            waiting.pop(first)
        return MembersInEffect(newest, waiting)

    def at(self, now: float) -> "MembersInEffect":
        """Returns the members at `now`, without another view."""
        return replace(self, waiting={member: since for member, since in self.waiting.items() if since > now})

    def reaching(self, index: int) -> "MembersInEffect":
        """Returns the members after another member has written with the view of `index`. For that member nobody waits
        any more. If the newest view is older, nothing changes."""
        return replace(self, waiting={}) if self.newest and index == self.newest.index else self

    def without(self, member: str) -> "MembersInEffect":
        """Returns the members as if this one was not seen yet."""
        if self.newest is None:
            return self
        members = tuple(each for each in self.newest.members if each != member)
        waiting = {each: since for each, since in self.waiting.items() if each != member}
        return MembersInEffect(replace(self.newest, members=members), waiting)

    def view(self) -> FleetView:
        """Returns the view in effect. Members that wait are joining."""
        if self.newest is None:
            return FleetView()
        members = tuple(member for member in self.newest.members if member not in self.waiting)
        joining = tuple(sorted({*self.newest.joining, *self.waiting}.difference(members)))
        return FleetView(self.newest.index - bool(self.waiting), members, joining)

    @property
    def due(self) -> float | None:
        """The time when the next member counts; None if no member waits."""
        return min(self.waiting.values(), default=None)
