"""Publishes health as keys in Consul, `health/<pod>/<node>`. Our session holds them, and Consul deletes them with it.

Every put is a `lock`, and every delete takes the lock first, in the same transaction. So Consul refuses a write with a
dead session, or to a key that another session holds. A key without a holder (an orphan) is taken over or deleted.
In a fleet, a key that another member's session holds is taken over too, see `handover`.

The known records are kept per session. If it is unknown whether a write has happened, the record becomes `Unsettled`.
It is unequal to every record, so it is written or deleted again.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
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
from controller.publish.decoded_keys import DecodedKeys, oldest_of_each_node
from controller.publish.given_up import GIVEN_UP
from controller.publish.handover import Change, Handover
from controller.publish.kv_keeper import IN_A_ROW
from controller.publish.unchanged import are_unchanged
from controller.runtime.boottime import boottime
from controller.runtime.faults import Faults
from controller.runtime.log.once import LogOnce
from reconcilers.health import HealthState
from reconcilers.keys import HEALTH, health_key, parse_health_key
from reconcilers.record import Elsewhere, HealthRecord, Unsettled
from reconcilers.spec import PodKey

log = logging.getLogger(__name__)

NO_SESSION = "there is no live session to publish with"
IN_DOUBT = "written, and will be written once more: an earlier unanswered write may still arrive"
OVERTAKEN = "another member has published a newer probe in the meantime"
UNREADABLE = "the token may not read some health keys that it may write, so changes by others are not noticed"
READABLE = "all health keys can be read again"
LATEST = 10.0
"""Seconds after which an unanswered request is not expected to arrive any more, counted from Consul's next answer. A
suspended leader may execute it later. The key is corrected when it is read again (`kv_keeper`)."""
REFUSALS = 2
"""After this number of consecutive refused single changes, no other is tried. Refusals for the size do not count."""
ANY_SESSION = "x" * 36


class CurrentSession(Protocol):
    def current(self) -> str | None: ...


class KvSink:
    """Implements `HealthSink`. Any thread may call it. Requests are sent one after the other.

    `scheduled` returns the pods that have a manifest, with or without a check: others may write to their keys.
    `holders` records who holds the keys that other sessions have locked. `handover` takes them over in a fleet.
    """

    def __init__(
        self,
        client: ConsulClient,
        lease: CurrentSession,
        scheduled: Callable[[], Collection[PodKey]] = tuple,
        *,
        holders: Holders | None = None,
        handover: Handover | None = None,
        clock: Callable[[], float] = boottime,
        wall_clock: Callable[[], float] = time.time,
        faults: Faults | None = None,
    ) -> None:
        self._client = client
        self._lease = lease
        self._scheduled = scheduled
        self._clock = clock
        self._wall_clock = wall_clock
        self._limit = SizeLimit(clock)
        self._holders = holders or Holders()
        self._handover = handover or Handover.without_fleet()
        self._refused: set[PodKey] = set()
        """The pods whose single change was refused the last time. They are tried last and so do not delay others."""
        self._lock = threading.RLock()
        self._session = ""
        self._known: dict[PodKey, HealthRecord] = {}
        self._decoded = DecodedKeys(faults or Faults(), is_fleet=self._handover.is_fleet)
        self._unanswered: dict[PodKey, float | None] = {}
        self._left: frozenset[PodKey] = frozenset()
        self._unreadable = LogOnce(log)

    def published(self, key: PodKey) -> HealthRecord | None:
        """Returns the record as far as it is known, `Unsettled` if another session has written it."""
        record, session = self._known.get(key), self._lease.current()
        return _unsettled(record) if record and session and session != self._session else record

    def published_without_break(self, key: PodKey) -> HealthRecord | None:
        """See `HealthSink`. An earlier run may have published it with the session that we hold now."""
        record = self.published(key)
        return record if isinstance(record, Elsewhere) or not isinstance(record, Unsettled) else None

    def disown(self, keys: Collection[PodKey]) -> None:
        """See `HealthSink`. Our session may hold the keys until another member takes them over."""
        with self._lock:
            self._handover.forget(keys)
            self._holders.forget(keys)
            self._left -= frozenset(keys)
            self._refused.difference_update(keys)
            self._decoded.forget(keys)
            for key in keys:
                self._known.pop(key, None)
                self._unanswered.pop(key, None)

    def write(self, put: Collection[HealthRecord], delete: Collection[PodKey]) -> Mapping[PodKey, str]:
        """See `HealthSink`. A change that fails does not prevent the others.

        A batch that is refused as a whole is split in halves, down to single changes. If Consul does not answer, or
        refuses single changes too, the rest is not tried.
        """
        changes = [*(Change(record.key, record) for record in put), *(Change(key, None) for key in delete)]
        with self._lock:
            changes.sort(key=lambda change: change.key in self._refused)
            return self._write([*batches(changes, self._estimated, self._limit)][::-1])

    def _write(self, left: list[list[Change]]) -> dict[PodKey, str]:
        """Writes these batches, the last one first. Returns the keys that failed, with the errors."""
        failed, refusals = dict[PodKey, str](), 0
        self._handover.begin()
        while left:
            batch = left.pop()
            try:
                failed |= self._commit(batch)
                left += self._to_repeat(failed)
                self._refused.difference_update(change.key for change in batch)
                refusals = 0
            except ConsulUnavailable as error:
                failed |= _all(itertools.chain(batch, *left), str(error))
                if error.sent:
                    self._unanswered |= dict.fromkeys(change.key for change in batch)
                    self._unsettle(batch, str(error))
                return failed
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

    def _estimated(self, change: Change) -> Sequence[Operation]:
        """The operations of a change, with a placeholder for the session."""
        return self._handover.operations(change, self._session or ANY_SESSION, self._wall_clock())

    def _send(self, operations: Sequence[Operation]) -> TransactionResult:
        """Sends a transaction, and adapts the maximum size of a transaction to the result."""
        size = body_size(operations)
        try:
            result = self._client.transaction(operations)
        except ConsulTooLarge:
            if len(operations) > 1:
                self._limit.refused(size)
            raise
        self._limit.passed(size)
        return result

    def leftovers(self, *nodes: str) -> Collection[PodKey]:
        """Reads and remembers the published records of `nodes`. Returns their pods, which must be reconciled.

        Only a record that our session holds counts as published. All other records (of an earlier run, of a dead
        session, of another writer) are written once more, or deleted if the pod has no worker.

        Raises:
            ConsulError: the records cannot be read, and nothing is remembered.
        """
        with self._lock:
            session, wanted = self._current(), frozenset(nodes)
            keys = [key for key in map(parse_health_key, self._client.list_keys(HEALTH)) if key and key.node in wanted]
            pairs, unread = self._read(keys)
            known = {key: self._decoded.record(key, pair, session) for key, pair in pairs.items()}
            known |= {key: Unsettled(key, HealthState.UNKNOWN, detail=UNREADABLE) for key in unread}
            others = {key: record for key, record in self._known.items() if key.node not in wanted}
            self._left = frozenset(known) | {key for key in self._left if key.node not in wanted}
            self._holders.forget_all_but(known)
            changed = self._known.keys() - known.keys() - others.keys()
            self._known = others | known
            return frozenset(known.keys() | changed)

    def expect(self, keys: Collection[PodKey]) -> None:
        """Lets `look_again` read these keys too: they have no manifest and are not known."""
        with self._lock:
            self._left |= frozenset(keys)

    def look_again(self, beat: Callable[[], None] = lambda: None) -> Collection[PodKey]:
        """Reads the keys of all known records, leftovers and scheduled pods. Returns the pods whose keys differ from
        the known records, if their nodes are still checked here. Keys whose indexes have not changed are not read.

        Between two requests other threads may write, and sometimes `beat` is called. The known record of a key that
        the token may not read is kept.

        Raises:
            ConsulError: the known records are kept.
        """
        with self._lock:
            self._handover.review()
            keys = list({**dict.fromkeys(self._known), **dict.fromkeys(self._left), **dict.fromkeys(self._scheduled())})
            self._decoded.keep(self._known.keys())
        differing, unreadable = self._look(keys, beat)
        if unreadable:
            which = f"{len(unreadable)} keys, such as {health_key(min(unreadable))}"
            self._unreadable.warn(f"{UNREADABLE}: {which}", UNREADABLE)
        elif self._unreadable.clear():
            log.info(READABLE)
        return differing

    def glance(self, beat: Callable[[], None] = lambda: None) -> Collection[PodKey]:
        """Does the same with the oldest known record of each node. If its key differs, all keys of the node are read.
        They may show that the node is another member's. A key that the heir has deleted does not."""
        known = self._known.copy()
        differing = self._look(oldest_of_each_node(known), beat)[0]
        nodes = {key.node for key in differing}
        return {*differing, *self._look([key for key in known if key.node in nodes], beat)[0]}

    def _look(self, keys: Collection[PodKey], beat: Callable[[], None]) -> tuple[Collection[PodKey], set[PodKey]]:
        """Returns the keys that differ from the known records, and those that may not be read."""
        keys = self._handover.owned(keys)
        differing, unreadable = set[PodKey](), set[PodKey]()
        for start in range(0, len(keys), MAX_OPERATIONS):
            if start % (IN_A_ROW * MAX_OPERATIONS) == 0:
                beat()
            with self._lock:
                others, unread = self._differing(keys[start : start + MAX_OPERATIONS])
            differing |= others
            unreadable |= unread
        return frozenset(self._handover.owned(differing)), unreadable

    def _differing(self, keys: Sequence[PodKey]) -> tuple[set[PodKey], set[PodKey]]:
        """Returns the keys that differ from the known records, and those that may not be read."""
        if not (session := self._current()):
            return set(), set()
        known = self._known
        settled = [key for key in keys if not isinstance(known.get(key), Unsettled)]
        if (pairs := self._decoded.pairs(settled, known, session)) and are_unchanged(self._client, pairs, self._limit):
            return set(), set()
        read, unread = self._read(settled)
        self._decoded.forget(unread)
        records = {key: self._decoded.record(key, pair, session) for key, pair in read.items()}
        differing = {key for key in settled if key not in unread and records.get(key) != known.get(key)}
        if differing:
            self._known = {key: record for key, record in known.items() if key not in differing}
            self._known |= {key: records[key] for key in differing & records.keys()}
        return differing, unread

    def _current(self) -> str | None:
        """Returns the session to write with. After a change of the session no known record is ours any more, and no
        request of the old session can take effect."""
        session = self._lease.current()
        if session and session != self._session:
            self._known = {key: _unsettled(record) for key, record in self._known.items()}
            self._decoded.clear()
            self._unanswered = {}
            self._handover.forget_session(self._session)
            self._session = session
            self._holders.holds_some = False
        return session

    def _commit(self, batch: Sequence[Change]) -> dict[PodKey, str]:
        """Writes as much of `batch` as possible: changes that Consul names as failed are left out of the next try, and
        changes of nodes that are another member's now are forgotten."""
        failed, refused = dict[PodKey, str](), dict[Change, str]()
        left = list(batch)
        while left:
            if not (session := self._current()):
                failed = _all(left, NO_SESSION)
                break
            flags, ours = self._handover.admit(left, session)
            self.disown({change.key for change in left}.difference(change.key for change in ours))
            if not (left := ours):
                break
            now, operations = self._wall_clock(), self._handover.operations
            steps = [(change, step) for change in left for step in operations(change, session, now, flags)]
            result = self._send([step for _, step in steps])
            if not result.failed:
                self._handover.settle(left, session, result.pairs)
                self._remember(steps, result.pairs, now)
                failed = self._settle(left)
                break
            refused |= {steps[at][0]: error for at, error in result.failed.items()}
            left = [change for change in left if change not in refused]
        return failed | self._refuse(refused)

    def _remember(self, steps: Sequence[tuple[Change, Operation]], pairs: Sequence[KvPair], now: float) -> None:
        written = {step.key: (step.value, change) for change, step in steps if step.verb == "lock"}
        for pair in pairs:
            value, change = written[pair.key]
            if record := change.record:
                record = record if record.written else replace(record, written=now)
                self._decoded.written(change.key, pair._replace(value=value), record)

    def _refuse(self, refused: Mapping[Change, str]) -> dict[PodKey, str]:
        refused = self._handover.not_to_repeat(refused)
        held = self._holders_of([change.key for change, error in refused.items() if HELD in error])
        errors = {change.key: f"Consul refused it: {held.get(change.key, why)}" for change, why in refused.items()}
        self._known |= {key: Unsettled(key, HealthState.UNKNOWN, detail=error) for key, error in errors.items()}
        return errors

    def _to_repeat(self, failed: dict[PodKey, str]) -> list[list[Change]]:
        """Reads the keys of the changes that another member's write has prevented. Returns these changes in batches.
        Those that are outdated have `failed`: it must be decided again what to write."""
        changes = self._handover.to_repeat()
        pairs, _ = self._read([change.key for change in changes])
        newer = self._decoded.newer([each.record for each in changes if each.record], pairs, self._session)
        self._known |= newer
        failed |= dict.fromkeys(newer, OVERTAKEN)
        return [*batches([each for each in changes if each.key not in newer], self._estimated, self._limit)]

    def _holders_of(self, keys: Sequence[PodKey]) -> Mapping[PodKey, str]:
        """Describes the other holder of each key, if Consul names it. In a fleet it is no rival."""
        try:
            pairs = self._read(keys)[0] if keys and self._lease.current() and not self._handover.is_fleet else {}
        except ConsulError:
            return {}
        return self._holders.note(
            self._client, {key: pair for key, pair in pairs.items() if pair.session and pair.flags != GIVEN_UP}
        )

    def _settle(self, batch: Sequence[Change]) -> dict[PodKey, str]:
        """Consul has written these changes. Those for which an older write may still arrive stay unsettled."""
        self._holders.forget([change.key for change in batch])
        self._holders.holds_some |= any(change.record for change in batch)
        failed: dict[PodKey, str] = {}
        for change in batch:
            if change.key in self._unanswered and self._may_arrive(change):
                failed |= self._unsettle([change], IN_DOUBT)
            elif change.record:
                self._known[change.key] = change.record
            else:
                self._known.pop(change.key, None)
        return failed

    def _may_arrive(self, change: Change) -> bool:
        """Whether an older write may arrive: for `LATEST` seconds after an answer, in a fleet only if no key exists."""
        now, first = self._clock(), self._unanswered.pop(change.key)
        first = now if first is None else first
        if now - first >= LATEST or (change.record and self._handover.is_fleet):
            return False
        self._unanswered[change.key] = first
        return True

    def _unsettle(self, batch: Sequence[Change], error: str) -> dict[PodKey, str]:
        """Marks records as unknown: these changes may have happened, or may still happen."""
        for change in batch:
            self._known[change.key] = Unsettled(change.key, HealthState.UNKNOWN, detail=error)
        return _all(batch, error)

    def _read(self, keys: Sequence[PodKey]) -> tuple[dict[PodKey, KvPair], set[PodKey]]:
        """Returns the pairs of `keys`, read 64 per request, and the keys that cannot be read. A missing key is in
        neither. Consul names a missing key as failed, and silently omits a key that our token may not read."""
        by_text = {health_key(key): key for key in keys}
        read: dict[PodKey, KvPair] = {}
        unread: set[PodKey] = set()
        left = [*batches([Operation("get", text) for text in by_text], lambda step: [step], self._limit)]
        while left:
            batch = left.pop()
            try:
                result = self._send(batch)
            except ConsulTooLarge:
                if len(batch) == 1:
                    unread.add(by_text[batch[0].key])
                else:
                    left += halves(batch)
                continue
            if result.failed:
                existing = [step for at, step in enumerate(batch) if at not in result.failed]
                left += [existing] if existing else []
                continue
            pairs = {pair.key: pair for pair in result.pairs}
            read |= {by_text[step.key]: pairs[step.key] for step in batch if step.key in pairs}
            unread.update(by_text[step.key] for step in batch if step.key not in pairs)
        self._handover.note(keys, read)
        return read, unread


def _unsettled(record: HealthRecord) -> Unsettled:
    return record if isinstance(record, Unsettled) else Unsettled.of_record(record)


def _all(batch: Iterable[Change], error: str) -> dict[PodKey, str]:
    return dict.fromkeys((change.key for change in batch), error)
