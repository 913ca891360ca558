"""Follows who the members of the fleet are, and puts each view in force as the share of this controller.

The view is what Consul shows, except that a member that has just joined counts a TTL later, see
`reconcilers.members_in_effect`. While the members cannot be read, the last view stays in force, with one exception:
this controller may have lost its membership without a way to notice, see `distrust`.

An agent that answers but reaches no server cannot tell whether it is cut off or all servers are lost. If it is cut off,
the other members check our nodes too as soon as Consul misses the agent. If all servers are lost, nobody else checks
them. So the probes go on in both cases. Nothing is published twice, because no server takes our writes. Our probes end
with the first view, which is read within `RETRY` after the agent has found a server.

A view without any member would give the nodes to nobody, so the members of the view before count as its members: Consul
has forgotten them, and they register again within seconds.

If several controllers have the same id, the one that started first is the member, and the others own nothing.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence

from controller.consul.client import ConsulClient, ConsulError
from controller.members.current_share import CurrentShare
from controller.members.instances import Member, Members, read_members
from controller.runtime.background_thread import BackgroundThread
from controller.runtime.boottime import boottime
from controller.runtime.heartbeat import Heartbeat
from controller.runtime.log.once import LogOnce
from reconcilers.members_in_effect import MembersInEffect
from reconcilers.membership import TTL
from reconcilers.share import FleetView

log = logging.getLogger(__name__)

WAIT = 10.0
MIN_GAP = 0.05
"""Seconds between two reads."""
RETRY = 0.5
"""Seconds until the next read after an error."""
IDLE = 10.0
"""Seconds between two turns of the timer while no member waits."""
UNREAD = 10.0
"""Seconds of errors after which this controller says that it is not ready."""


class MembershipWatch:
    """Runs in the thread "members", which closes the client, and in "members-count", which lets members count when
    their time has come. Any thread may call the public methods. `started` is the start of this controller, as in the
    meta of its service. `clock` is in seconds."""

    def __init__(
        self,
        client: ConsulClient,
        fleet: str,
        share: CurrentShare,
        heartbeat: Heartbeat,
        timer: Heartbeat,
        *,
        started: str = "",
        clock: Callable[[], float] = boottime,
    ) -> None:
        self._client = client
        self._fleet = fleet
        self._share = share
        self._member = share.current().member
        self.started = started
        self._clock = clock
        self._changed = threading.Condition()
        self._known: Members | None = None
        self._seen: tuple[Member, ...] = ()
        self._effect = MembersInEffect()
        self._passed: Collection[int] = ()
        """Since which index this controller is a member, as it was read last."""
        self._owns_nothing = False
        """Whether the share is empty until the members are read."""
        self._others: tuple[str, ...] = ()
        self._index = 0
        self._went_back = False
        self._interrupted = False
        self._reads = 0
        self._problem = LogOnce(log)
        self._unread_since: float | None = None
        self._thread = BackgroundThread(self._turn, heartbeat, at_end=client.close, interrupt=client.cancel)
        self._timer = BackgroundThread(self._let_count, timer)

    def start(self) -> None:
        self._thread.start()
        self._timer.start()

    def stop(self, timeout: float) -> None:
        self._timer.stop(0.0)
        self._thread.stop(timeout)

    def view(self) -> FleetView | None:
        """Returns the last view. None before the first one, and after `distrust` until the members are read again."""
        known = self._known
        return known.view() if known else None

    def reads(self) -> int:
        """Returns how many times the members were read."""
        return self._reads

    def members(self) -> Sequence[Member]:
        """Returns the members of the last view, also after `distrust`."""
        return self._seen

    def is_stopped(self) -> bool:
        """Whether this controller checks nothing until it has read the members again."""
        return self._owns_nothing

    def is_waiting(self) -> bool:
        """Whether this controller is a member that does not count yet, so it has no nodes."""
        return self._member in self._effect.waiting

    def has_others(self) -> bool:
        """Whether the last view has a member besides this controller."""
        return any(each.id != self._member for each in self._seen)

    def other_fleets(self) -> str:
        """Returns why no controller may join: another fleet has members; "" if there is none."""
        if not self._others:
            return ""
        names = " and ".join(self._others)
        return f"another fleet checks the same pods: {names}; all controllers of an intent/ tree need the same fleet"

    def complaint(self) -> str:
        """Returns why this controller is not, or should not be, a member of the fleet; "" if it is one."""
        ours = [each for each in self._seen if each.id == self._member]
        if problem := self.other_fleets() or self._unread():
            return problem
        if not self._seen:
            return (
                f"fleet {self._fleet} has no members: this controller is about to join, or its token may not read the "
                "service podpulse or the nodes"
            )
        if not ours or self.is_waiting():
            return f"this controller, {self._member}, is not a member of fleet {self._fleet} yet"
        pages = " and ".join(each.page for each in ours)
        if len(ours) > 1:
            return f"fleet {self._fleet} has {len(ours)} controllers with the id {self._member}: {pages}"
        return f"another controller with the id {self._member} is the member: {pages}" if self._is_twin(ours) else ""

    def _unread(self) -> str:
        """Returns why the members are not known, or have not been read for a while; "" if they are known."""
        if self._known is None:
            return self._problem.text or f"the members of fleet {self._fleet} are not known: they are being read"
        since = self._unread_since
        return self._problem.text if since is not None and time.monotonic() - since > UNREAD else ""

    def _is_twin(self, members: Sequence[Member]) -> bool:
        """Whether the member with our id is another controller, which started first."""
        ours = [(each.started, each.page) for each in members if each.id == self._member]
        return bool(ours) and min(ours)[0] != self.started

    def hurry(self) -> None:
        """Let the members be read now, without waiting for a change."""
        with self._changed:
            self._interrupted = True
            self._index = 0
        self._client.cancel()
        self._thread.wake()

    def distrust(self, *, stop: bool) -> None:
        """Forget the view until the members are read again. With `stop`, this controller owns nothing until then,
        unless it is the only member: the other members may check its nodes by now."""
        with self._changed:
            self._known = None
            if stop and self.has_others():
                log.warning(
                    "this controller may not be a member any more: it checks nothing until the members are read"
                )
                self._owns_nothing = True
                self._share.apply(FleetView(self._share.current().index))
        self.hurry()

    def settle(self, index: int) -> None:
        """Another member has written with the view of `index`: if it is the newest one, all its members count now."""
        with self._changed:
            self._put_in_force(self._effect.reaching(index))

    def confirm(self, moment: float) -> None:
        """See `CurrentShare.confirm`."""
        self._share.confirm(moment)

    def wait_until_left(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for a view without this controller."""

        def has_left() -> bool:
            return self._known is not None and all(each.id != self._member for each in self._known.members)

        with self._changed:
            return self._changed.wait_for(has_left, timeout)

    def _turn(self) -> float | None:
        self._client.reopen()
        if self._thread.stopped.is_set():
            return None
        with self._changed:
            since, self._interrupted = self._index, False
        try:
            members = read_members(self._client, self._fleet, since, WAIT)
        except ConsulError as error:
            return self._on_error(error)
        self._on_members(members, since)
        return MIN_GAP

    def _on_error(self, error: ConsulError) -> float:
        with self._changed:
            self._index = 0
            if self._interrupted:
                return MIN_GAP
        if not self._thread.stopped.is_set():
            meanwhile = "the last known ones count, and another member may check the same pods"
            if self._owns_nothing or not self._seen:
                meanwhile = "this controller checks nothing"
            self._unread_since = self._unread_since or time.monotonic()
            self._problem.warn(
                f"the members of fleet {self._fleet} cannot be read, so {meanwhile}: {error}", type(error)
            )
        return RETRY

    def _on_members(self, members: Members, since: int) -> None:
        """A server that has just restarted may answer from an old state. So a first view with a lower index than the
        one in force is read again; a second one is put in force, as after a restored backup."""
        self._reads += 1
        self._unread_since = None
        if self._problem.clear():
            log.info("the members of fleet %s can be read again", self._fleet)
        if members.index < self._newest_index() and not self._went_back:
            self._went_back, self._index = True, 0
            return
        self._went_back = False
        with self._changed:
            if self._interrupted:
                return
            self._index = members.index if members.index >= since else 0
            before, self._seen, self._others = self._seen, members.members, members.others
            effect = self._effect_before(members).after(members.view(), members.first, self._clock())
            self._known, self._owns_nothing = members, False
            self._put_in_force(effect)
            self._changed.notify_all()
        self._timer.wake()
        if {each.id for each in before} != {each.id for each in members.members}:
            log.info("fleet %s now has these members: %s", self._fleet, _named(members.members, effect.waiting))

    def _newest_index(self) -> int:
        return self._effect.newest.index if self._effect.newest else 0

    def _effect_before(self, members: Members) -> MembersInEffect:
        """Returns the members in effect so far. After `distrust`, this controller does not count if its check has
        changed: the others may have missed it, and wait until it counts again."""
        before, self._passed = self._passed, {each.passed for each in members.members if each.id == self._member}
        return self._effect.without(self._member) if self._known is None and self._passed != before else self._effect

    def _put_in_force(self, effect: MembersInEffect) -> None:
        self._effect = effect
        if self._owns_nothing:
            return
        view, newest = effect.view(), self._known
        if newest and (self._is_twin(newest.members) or (self._share.current().is_leaving and not newest.members)):
            view = FleetView(newest.index)
        self._share.apply(view)

    def _let_count(self) -> float:
        """Lets those members count whose time has come. Returns the seconds until the next one counts."""
        with self._changed:
            if self._effect.waiting:
                self._put_in_force(self._effect.at(self._clock()))
            due = self._effect.due
        return IDLE if due is None else max(0.0, due - self._clock())


def _named(members: Sequence[Member], waiting: Collection[str]) -> str:
    ids = sorted({each.id for each in members})
    return ", ".join(f"{each} (in {TTL:g} s)" if each in waiting else each for each in ids) or "none"
