"""Health as keys in Consul, `health/<pod>/<node>`, each held by our session: they vanish when we do.

Nothing is ever written without the session or with a dead one: every put is a `lock`, and every delete takes the lock
first, in the same transaction. So Consul itself refuses what comes too late, and what another session holds; a key that
nobody holds (an orphan) is taken over, or removed.

What is known to stand there is kept per session. Where a write may or may not have happened, nothing is known: the
record becomes `Unsettled`, which no record equals, so it is written or removed again.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from controller.consul.client import (
    MAX_OPERATIONS,
    ConsulClient,
    ConsulError,
    ConsulRefused,
    ConsulTooLarge,
    ConsulUnavailable,
    KvPair,
    Operation,
    TransactionResult,
)
from controller.consul.holders import HELD, Holders
from controller.publish.batches import SizeLimit, batches, body_size, halves
from controller.runtime.boottime import boottime
from controller.runtime.faults import Faults
from reconcilers.health import HealthState
from reconcilers.keys import HEALTH, health_key, parse_health_key
from reconcilers.record import HealthRecord, RecordError, Unsettled, decode
from reconcilers.spec import PodKey

log = logging.getLogger(__name__)

NO_SESSION = "there is no live session to publish under"
IN_DOUBT = "written, and once more in a while: an earlier write that was not answered may still arrive"
UNREADABLE = "the token may write health keys that it may not read, so nobody sees when others change them"
READABLE = "all health keys can be read again"
LATEST = 10.0
"""Seconds after which a request that Consul never answered is taken for dead, once it answers again."""
REFUSALS = 2
"""After so many single changes in a row were refused, and not for their size, no other is tried: it is not them."""
ANY_SESSION = "x" * 36


class CurrentSession(Protocol):
    """The session that we hold, if any."""

    def current(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class _Change:
    """One pod's record to put, or to delete when it is None."""

    key: PodKey
    record: HealthRecord | None

    def operations(self, session: str, now: float) -> list[Operation]:
        key = health_key(self.key)
        if self.record:
            return [Operation("lock", key, self.record.encode(now), session)]
        return [Operation("lock", key, session=session), Operation("delete", key)]


class KvSink:
    """Implements `HealthSink`. Any thread may call it; requests go one after the other.

    `scheduled` tells which pods have a manifest, whether or not it asks for a check: others may write into their keys.
    `holders` is told who holds keys that we may not write.
    """

    def __init__(
        self,
        client: ConsulClient,
        lease: CurrentSession,
        scheduled: Callable[[], Collection[PodKey]] = tuple,
        *,
        holders: Holders | None = None,
        clock: Callable[[], float] = boottime,
        wall_clock: Callable[[], float] = time.time,
        faults: Faults | None = None,
    ) -> None:
        self._faults = faults or Faults()
        self._client = client
        self._lease = lease
        self._scheduled = scheduled
        self._clock = clock
        self._wall_clock = wall_clock
        self._limit = SizeLimit(clock)
        self._holders = holders or Holders()
        self._refused: set[PodKey] = set()
        """What was refused by itself the last time: it is tried last, so that it keeps no other waiting."""
        self._lock = threading.Lock()
        self._session = ""
        self._known: dict[PodKey, HealthRecord] = {}
        self._unanswered: dict[PodKey, float | None] = {}
        self._left: frozenset[PodKey] = frozenset()
        self._unreadable: frozenset[PodKey] = frozenset()

    def published(self, key: PodKey) -> HealthRecord | None:
        """What stands there, as far as known. Under another session than it was written with it is `Unsettled`."""
        record, session = self._known.get(key), self._lease.current()
        return Unsettled.of_record(record) if record and session and session != self._session else record

    def published_without_break(self, key: PodKey) -> HealthRecord | None:
        """What an earlier run published under the session that is ours now, so that it has stood all the time."""
        record = self.published(key)
        return None if isinstance(record, Unsettled) else record

    def write(self, put: Collection[HealthRecord], delete: Collection[PodKey]) -> Mapping[PodKey, str]:
        """See `HealthSink`. What fails for reasons of its own does not keep the others from being written.

        A batch that is refused as a whole is written in halves, down to single changes. Where nobody answers, or even
        single changes are refused, the rest is not tried.
        """
        changes = [*(_Change(record.key, record) for record in put), *(_Change(key, None) for key in delete)]
        with self._lock:
            changes.sort(key=lambda change: change.key in self._refused)
            return self._write([*batches(changes, self._assumed, self._limit)][::-1])

    def _write(self, left: list[list[_Change]]) -> dict[PodKey, str]:
        """Write these batches, the last one first; the answer names the keys that failed, and why."""
        failed: dict[PodKey, str] = {}
        refusals = 0
        while left:
            batch = left.pop()
            try:
                failed |= self._commit(batch)
                self._refused.difference_update(change.key for change in batch)
                refusals = 0
            except ConsulUnavailable as error:
                failed |= self._lose(batch, str(error)) if error.sent else _all(batch, str(error))
                return failed | _all(itertools.chain(*left), str(error))
            except ConsulRefused as error:
                if len(batch) > 1:
                    left += halves(batch)
                    continue
                self._refused.add(batch[0].key)
                failed |= self._unsettle(batch, str(error))
                refusals += not isinstance(error, ConsulTooLarge)
                if refusals == REFUSALS:
                    return failed | _all(itertools.chain(*left), str(error))
        return failed

    def _assumed(self, change: "_Change") -> Sequence[Operation]:
        """What is sent for a change, under a session that is still to be looked up."""
        return change.operations(ANY_SESSION, self._wall_clock())

    def _send(self, operations: Sequence[Operation]) -> TransactionResult:
        """One transaction; what becomes of it says how large one may be."""
        size = body_size(operations)
        try:
            result = self._client.transaction(operations)
        except ConsulTooLarge:
            if len(operations) > 1:
                self._limit.refused(size)
            raise
        self._limit.passed(size)
        return result

    def leftovers(self, node: str) -> Collection[PodKey]:
        """Read what stands published for `node`, and remember it; the pods are to be looked at (again).

        Only a record that our session holds counts as published. The others (of an earlier run, of a session that is
        gone, of somebody who wrote into our keys) are written once more, or removed where no worker runs.

        Raises:
            ConsulError: nothing is remembered then.
        """
        with self._lock:
            session = self._current()
            keys = [
                key for text in self._client.list_keys(HEALTH) if (key := parse_health_key(text)) and key.node == node
            ]
            pairs, unread = self._read(keys)
            known = {key: self._record(key, pair, session) for key, pair in pairs.items()}
            known |= {key: Unsettled(key, HealthState.UNKNOWN, detail=UNREADABLE) for key in unread}
            self._left = frozenset(known)
            self._holders.forget_all_but(known)
            changed = self._known.keys() - known.keys()
            self._known = known
            return frozenset(known.keys() | changed)

    def look_again(self, beat: Callable[[], None] = lambda: None) -> Collection[PodKey]:
        """Read once more what is believed to stand published, what was left over, and what may stand where nothing was
        published of a pod that is scheduled; the answer names what differs.

        Between two requests others may write, and `beat` is called. Of a key that the token may not read the same is
        believed as before.

        Raises:
            ConsulError: what was known before is still known.
        """
        with self._lock:
            keys = sorted(self._known.keys() | self._left | frozenset(self._scheduled()))
        others: set[PodKey] = set()
        unreadable: set[PodKey] = set()
        for start in range(0, len(keys), MAX_OPERATIONS):
            beat()
            with self._lock:
                differing, unread = self._differing(keys[start : start + MAX_OPERATIONS])
            others |= differing
            unreadable |= unread
        self._complain(frozenset(unreadable))
        return others

    def _complain(self, unreadable: frozenset[PodKey]) -> None:
        """Say once which keys may not be read, and once that all may be again."""
        if unreadable and not self._unreadable:
            log.warning("%s: %d, %s among them", UNREADABLE, len(unreadable), health_key(min(unreadable)))
        elif self._unreadable and not unreadable:
            log.info(READABLE)
        self._unreadable = unreadable

    def _differing(self, keys: Sequence[PodKey]) -> tuple[set[PodKey], set[PodKey]]:
        """The keys that are not as believed, and those that may not be read."""
        if not (session := self._current()):
            return set(), set()
        believed = self._known
        settled = [key for key in keys if not isinstance(believed.get(key), Unsettled)]
        pairs, unread = self._read(settled)
        seen = {key: self._record(key, pair, session) for key, pair in pairs.items()}
        others = {key for key in settled if key not in unread and seen.get(key) != believed.get(key)}
        if others:
            self._known = {key: record for key, record in believed.items() if key not in others}
            self._known |= {key: seen[key] for key in others & seen.keys()}
        return others, unread

    def _current(self) -> str | None:
        """The session to write with. Under another one than before, nothing that we knew is ours any more, and nothing
        that was sent under the old one can arrive."""
        session = self._lease.current()
        if session and session != self._session:
            self._known = {key: Unsettled.of_record(record) for key, record in self._known.items()}
            self._unanswered = {}
            self._session = session
            self._holders.holds_some = False
        return session

    def _commit(self, batch: Sequence[_Change]) -> dict[PodKey, str]:
        """Write as much of `batch` as can be: what Consul names as failed is left out, the rest sent again at once."""
        failed: dict[PodKey, str] = {}
        refused: dict[_Change, str] = {}
        left = list(batch)
        while left:
            session = self._current()
            if not session:
                failed = _all(left, NO_SESSION)
                break
            steps = [(change, step) for change in left for step in change.operations(session, self._wall_clock())]
            result = self._send([step for _, step in steps])
            if not result.failed:
                failed = self._settle(left)
                break
            refused |= {steps[at][0]: why for at, why in result.failed.items()}
            left = [change for change in left if change not in refused]
        return failed | self._refuse(refused)

    def _refuse(self, refused: Mapping[_Change, str]) -> dict[PodKey, str]:
        """Consul refused these changes, each for its own reason."""
        failed: dict[PodKey, str] = {}
        held = self._who_holds([change.key for change, why in refused.items() if HELD in why])
        for change, why in refused.items():
            failed |= self._unsettle([change], f"Consul refused it: {held.get(change.key, why)}")
        return failed

    def _who_holds(self, keys: Sequence[PodKey]) -> Mapping[PodKey, str]:
        """Who holds each of these keys that another session has, where Consul says it."""
        try:
            pairs = self._read(keys)[0] if keys and self._lease.current() else {}
        except ConsulError:
            return {}
        return self._holders.note(self._client, {key: pair.session for key, pair in pairs.items() if pair.session})

    def _settle(self, batch: Sequence[_Change]) -> dict[PodKey, str]:
        """Consul did it. Whether it stays so is sure only where no older write can arrive any more."""
        self._holders.forget([change.key for change in batch])
        self._holders.holds_some |= any(change.record for change in batch)
        failed: dict[PodKey, str] = {}
        for change in batch:
            if change.key in self._unanswered and self._may_arrive(change.key):
                failed |= self._unsettle([change], IN_DOUBT)
            elif change.record:
                self._known[change.key] = change.record
            else:
                self._known.pop(change.key, None)
        return failed

    def _may_arrive(self, key: PodKey) -> bool:
        """Whether an unanswered write of `key` may still be under way; counted from Consul's first answer after it."""
        now = self._clock()
        first = self._unanswered[key]
        first = self._unanswered[key] = now if first is None else first
        if now - first < LATEST:
            return True
        del self._unanswered[key]
        return False

    def _unsettle(self, batch: Sequence[_Change], why: str) -> dict[PodKey, str]:
        """It is not known what stands there: the wish may have been fulfilled, or be fulfilled yet."""
        for change in batch:
            self._known[change.key] = Unsettled(change.key, HealthState.UNKNOWN, detail=why)
        return _all(batch, why)

    def _lose(self, batch: Sequence[_Change], why: str) -> dict[PodKey, str]:
        """Sent, and not answered."""
        self._unanswered |= dict.fromkeys(change.key for change in batch)
        return self._unsettle(batch, why)

    def _read(self, keys: Sequence[PodKey]) -> tuple[dict[PodKey, KvPair], set[PodKey]]:
        """The pairs of `keys`, up to 64 in a request, and the keys that cannot be read; what is gone meanwhile is in
        neither. Consul names what is gone, and leaves out without a word what our token may not read."""
        found: dict[PodKey, KvPair] = {}
        unread: set[PodKey] = set()
        left = [*batches(keys, _reading, self._limit)]
        while left:
            batch = left.pop()
            try:
                result = self._send([step for key in batch for step in _reading(key)])
            except ConsulTooLarge:
                if len(batch) == 1:
                    unread.update(batch)
                else:
                    left += halves(batch)
                continue
            if result.failed:
                there = [key for at, key in enumerate(batch) if at not in result.failed]
                left += [there] if there else []
                continue
            pairs = {pair.key: pair for pair in result.pairs}
            found |= {key: pairs[health_key(key)] for key in batch if health_key(key) in pairs}
            unread.update(key for key in batch if key not in found)
        return found, unread

    def _record(self, key: PodKey, pair: KvPair, session: str | None) -> HealthRecord:
        """The record that was read. It is `Unsettled` where it is not known to be ours, or cannot be decoded."""
        with self._faults.contain(f"record of {key}"):
            try:
                record = decode(pair.value)
            except RecordError as error:
                return Unsettled(key, HealthState.UNKNOWN, detail=str(error))
            if record.key == key and session and pair.session == session:
                return record
            return Unsettled.of_record(replace(record, key=key))
        return Unsettled(key, HealthState.UNKNOWN, detail="an unexpected exception prevented that it is decoded")


def _reading(key: PodKey) -> Sequence[Operation]:
    return [Operation("get", health_key(key))]


def _all(batch: Iterable[_Change], why: str) -> dict[PodKey, str]:
    return dict.fromkeys((change.key for change in batch), why)
