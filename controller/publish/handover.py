"""Passes health keys from one member of a fleet to another. Readers always see them held by a living session.

A key that another session holds is taken over in one transaction: `unlock` for its holder, `lock` for us.

Every write begins with `check-index`, or with `check-not-exists` where no key is known. So it fails if somebody has
written the key in the meantime, and the key is read again. A write that arrives late, because its member was cut off
from Consul, fails too when an heir has written the key. Only a key that an heir has written and deleted may be created
by such a write: nothing is left of that key by which Consul could refuse the write. A write that changes nothing does
not change the index, but each record has the time when it was written.

The Flags of a key are the index of the view that its writer had of the fleet. A key whose Flags are higher than the
index of our view is not taken over, see `fences`.

Without a fleet nothing is checked or fenced, the Flags are 0, and only keys are taken over that a fleet has given up.
"""

import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from controller.consul.client import KvPair, Operation
from controller.members.current_share import CurrentShare
from controller.publish.fences import Fences, Membership
from controller.publish.given_up import GIVEN_UP
from controller.runtime.boottime import boottime
from reconcilers.keys import health_key
from reconcilers.record import HealthRecord
from reconcilers.share import Share
from reconcilers.spec import PodKey

log = logging.getLogger(__name__)

RACE = re.compile(r"already held|index check|check index|isn't held|exists$")
"""Consul's errors where the key was written in the meantime."""


@dataclass(frozen=True, slots=True)
class Change:
    """The record of one pod to put, None to delete it."""

    key: PodKey
    record: HealthRecord | None


@dataclass(frozen=True, slots=True)
class _Seen:
    """A key as of its `modify_index`, and its holder; "" if no session holds it."""

    session: str
    modify_index: int
    flags: int


class Handover:
    """What is known of the keys in the share of this controller. Without a fleet, only of keys that were given up.

    Only the thread that has the lock of the `KvSink` calls it. `share` calls its listeners in this thread: they must
    not call the sink. `taken` is the number of keys that were taken over. `clock` is in seconds.
    """

    def __init__(
        self, share: CurrentShare, membership: Membership | None = None, *, clock: Callable[[], float] = boottime
    ) -> None:
        self._share = share
        self._fences = Fences(share, membership, clock=clock)
        self._seen: dict[PodKey, _Seen] = {}
        self._repeated: set[Change] = set()
        self._to_repeat: list[Change] = []
        self._strangers: set[str] = set()
        """The sessions without a fleet from which keys were taken over."""
        self.taken = 0

    @classmethod
    def without_fleet(cls) -> "Handover":
        return cls(CurrentShare(Share.of_node("any")))

    @property
    def is_fleet(self) -> bool:
        return not self._share.current().only

    def owned(self, keys: Collection[PodKey]) -> list[PodKey]:
        """Returns those of the keys whose pods this controller checks. Without a fleet, it checks all."""
        return [key for key in keys if self._share.owns(key.node)] if self.is_fleet else [*keys]

    def note(self, keys: Collection[PodKey], pairs: Mapping[PodKey, KvPair]) -> None:
        """Records what is known of these keys, whose `pairs` were just read."""
        self.forget(keys)
        for key, pair in pairs.items():
            if self.is_fleet or (pair.session and pair.flags == GIVEN_UP):
                self._seen[key] = _Seen(pair.session, pair.modify_index, pair.flags)

    def forget(self, keys: Iterable[PodKey]) -> None:
        """Forgets these keys."""
        for key in keys if self._seen else ():
            self._seen.pop(key, None)

    def forget_session(self, session: str) -> None:
        """Forgets the keys of a session that was ours."""
        self.forget([key for key, seen in self._seen.items() if seen.session == session])

    def begin(self) -> None:
        """Records that a write begins. Each of its changes is repeated at most once."""
        self._repeated.clear()
        self._to_repeat.clear()

    def not_to_repeat(self, refused: Mapping[Change, str]) -> Mapping[Change, str]:
        """Returns the refused changes that have failed. The others are repeated: another member has written their keys
        since these were read."""
        if not self.is_fleet:
            self.forget(change.key for change in refused)
            return refused
        again = [change for change, error in refused.items() if change not in self._repeated and RACE.search(error)]
        self._repeated.update(again)
        self._to_repeat += again
        return {change: error for change, error in refused.items() if change not in again}

    def to_repeat(self) -> list[Change]:
        """Returns the changes to repeat now. The caller reads their keys first."""
        changes, self._to_repeat = self._to_repeat, []
        return changes

    def settle(self, changes: Collection[Change], session: str, pairs: Sequence[KvPair]) -> None:
        """Records that `session` has written these changes. `pairs` are those that Consul has returned."""
        taken = {key: held for key in (change.key for change in changes) if (held := self._holder(key, session))}
        self.taken += len(taken)
        self._warn_of_strangers(taken)
        written = {pair.key: pair for pair in pairs}
        for change in changes:
            self._seen.pop(change.key, None)
            if change.record and self.is_fleet:
                pair = written[health_key(change.key)]
                self._seen[change.key] = _Seen(session, pair.modify_index, pair.flags)

    def _warn_of_strangers(self, taken: Mapping[PodKey, _Seen]) -> None:
        """Logs once for each session that a controller without a fleet may check nodes of this fleet."""
        strangers = {held.session: key.node for key, held in taken.items() if not held.flags}
        for session in strangers.keys() - self._strangers:
            log.warning(
                "took over health keys of node %s from session %s, which no member of a fleet has written: if a "
                "controller of node %s runs, stop it, because it probes the same pods as this fleet",
                *(strangers[session], session, strangers[session]),
            )
        self._strangers.update(strangers)

    def operations(self, change: Change, session: str, now: float, flags: int = 0) -> list[Operation]:
        """Returns the operations of a change that `session` writes at `now` (seconds since the epoch)."""
        key = health_key(change.key)
        value = change.record.encode(change.record.written or now) if change.record else b""
        lock, seen = Operation("lock", key, value, session, flags), self._seen.get(change.key)
        steps = [lock] if change.record else [lock, Operation("delete", key)]
        if held := self._holder(change.key, session):
            steps.insert(0, replace(lock, verb="unlock", session=held.session))
        if seen:
            return [Operation("check-index", key, index=seen.modify_index), *steps]
        return [Operation("check-not-exists", key), *steps] if self.is_fleet else steps

    def admit(self, changes: Sequence[Change], session: str) -> tuple[int, list[Change]]:
        """Returns the index to write with, and the changes that may be written: those of our nodes.

        Both are of the same share. So Flags never claim a newer view than the one that gave the node to us.
        """
        if not self.is_fleet:
            return 0, list(changes)
        self._fence(changes, session)
        share = self._share.current()
        ours = {node: share.owns(node) for node in {change.key.node for change in changes}}
        return share.index, [change for change in changes if ours[change.key.node]]

    def _fence(self, changes: Sequence[Change], session: str) -> None:
        """Fences the nodes of changes whose keys were written with a newer view than ours."""
        ahead: dict[str, int] = {}
        for change in changes:
            node, held = change.key.node, self._holder(change.key, session)
            if held and self._fences.is_ahead(node, held.flags):
                ahead[node] = max(held.flags, ahead.get(node, 0))
        self._fences.add(ahead)

    def review(self) -> None:
        """Ends the fences of Flags that stayed ahead although the membership was read again."""
        self._fences.review()

    def _holder(self, key: PodKey, session: str) -> _Seen | None:
        """Returns what is known of a key that another session holds."""
        seen = self._seen.get(key)
        return seen if seen and seen.session not in {"", session} else None
