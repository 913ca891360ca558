"""The watch: reads one listing after the other, and announces which pods changed.

It has what all sources need: retries after errors, a limit on the rate of reads, and the gate for removals. It never
decides what a changed manifest means. New and changed pods are announced before any further request. Only removals wait
for the single reads that confirm them.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection
from queue import SimpleQueue

from controller.intent.ignored import IgnoredKeys
from controller.intent.manifest_store import ManifestStore
from controller.intent.source import Source, SourceError
from controller.runtime.background_thread import BackgroundThread
from controller.runtime.heartbeat import Heartbeat
from controller.runtime.log.once import LogOnce
from controller.runtime.retry import until_stopped
from reconcilers.gate import GateDecision, Listing, RemovalGate
from reconcilers.spec import PodKey
from reconcilers.token_bucket import TokenBucket

log = logging.getLogger(__name__)

WAIT = 10.0
WAIT_HOLDING = 2.0
"""Seconds that a source may wait for a change while removals are held or could not be confirmed."""
PATIENCE = 3.0
"""Seconds that the first listing waits for the leftovers of an earlier run, so that new checks can continue from them.
Leftovers that are found later are handled then."""
BURST = 4
MIN_GAP = 0.02
GAP_PER_POD = 5e-5
"""Average seconds between two listings: a minimum, and an addition for each pod. A listing of 10,000 pods costs the
agent of Consul up to 50 ms of CPU, so under permanent change it costs at most a tenth of a core. A burst and slower
changes, such as one a second, are read at once."""


class IntentWatch:
    """Runs in the thread "watch". The thread "leftovers" reads once what an earlier run has published."""

    def __init__(
        self,
        source: Source,
        store: ManifestStore,
        gate: RemovalGate,
        on_change: Callable[[Collection[PodKey]], None],
        heartbeat: Heartbeat,
        wait: float = WAIT,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._store = store
        self._gate = gate
        self._on_change = on_change
        self._longest = wait
        self._heartbeat = heartbeat
        self._clock = clock
        self._wall_clock = wall_clock
        self._bucket = TokenBucket(BURST, MIN_GAP)
        self._verdict = GateDecision()
        self._unread = False
        self._found: SimpleQueue[Collection[PodKey]] = SimpleQueue()
        self._release = threading.Event()
        self.ignored = IgnoredKeys()
        """The keys of the last listing that are not manifests of pods to check."""
        self._last_good: float | None = None
        self._last_good_wall = 0.0
        self._failing_since: float | None = None
        self._unannounced: set[PodKey] = set()
        self._index = 0
        self._went_back = False
        self._is_undisturbed = True
        self._leftovers_known = threading.Event()
        """Set when the leftovers of an earlier run are known, or when the watch no longer waits for them."""
        self._thread = BackgroundThread(self._turn, heartbeat, interrupt=self._interrupt)
        once = Heartbeat("leftovers", PATIENCE, clock, asks=True, faults=heartbeat.faults)
        self._leftovers_thread = BackgroundThread(self._read_leftovers, once)
        self._retrying = until_stopped(SourceError, self._thread.stopped, self._on_error)

    def start(self) -> None:
        self._leftovers_thread.start()
        self._thread.start()

    def stop(self, timeout: float) -> None:
        self._leftovers_thread.stop(0.0)
        self._thread.stop(timeout)

    def _interrupt(self) -> None:
        self._leftovers_known.set()
        self._source.cancel()

    def expect(self, keys: Collection[PodKey]) -> None:
        """Treat these pods, whose health an earlier run published, as if a previous listing had shown them. Any thread
        may call this, also after the first listing."""
        self._found.put(keys)

    def silence(self) -> float | None:
        """Seconds since the last successful listing. None before the first one."""
        return None if self._last_good is None else self._clock() - self._last_good

    def last_success(self) -> float:
        """The time of the last successful listing in seconds since the epoch. 0 before the first one."""
        return self._last_good_wall

    def held(self) -> int:
        """The number of pods that are kept although the last listing lacks them."""
        return len(self._verdict.held)

    def held_because(self) -> str:
        """Why these pods are kept, or "" if there are none."""
        return self._verdict.reason

    def release(self) -> None:
        """Let removals that are held pass with the next listing, because a person has confirmed them. They may be held
        by the fuse, or because the index went back."""
        self._release.set()

    def _read_leftovers(self) -> None:
        problem = LogOnce(log)

        def on_error(error: SourceError) -> None:
            problem.warn(f"what an earlier run left published cannot be read yet: {error}", "unread")

        retrying = until_stopped(SourceError, self._leftovers_thread.stopped, on_error)
        self.expect(retrying(self._source.leftovers) or ())
        self._leftovers_known.set()

    def _turn(self) -> float:
        if not self._is_undisturbed:
            self._gate.disturb()
        self._is_undisturbed = False
        self._retrying(self._read)
        self._is_undisturbed = True
        return 0.0

    def _read(self) -> None:
        """Read one listing and act on it."""
        self._pace()
        listing = self._source.next(self._wait())
        self._leftovers_known.wait(PATIENCE)
        self._leftovers_known.set()
        self._on_success()
        self._take(listing)
        self._take_found()
        absent = self._absent(listing)
        self._release_if_asked()
        self._let_go(self._gate.judge(listing, absent, self._clock()))

    def _absent(self, listing: Listing) -> Collection[PodKey]:
        """The pods that the listing lacks and that single reads confirm as removed. A failed read confirms nothing
        and is repeated soon. It does not affect the rest of the listing."""
        self._unread = False
        suspects = self._gate.sample(listing)
        if not suspects or listing.doubt:
            return ()
        try:
            return self._source.absent(suspects)
        except SourceError as error:
            log.debug("whether %d pods are gone cannot be read: %s", len(suspects), error)
            self._unread = True
            return ()

    def _take_found(self) -> None:
        """Pass the pods of `expect` to the gate. Those with a manifest are announced: it may ask for no check."""
        found: set[PodKey] = set()
        while not self._found.empty():
            found.update(self._found.get())
        self._gate.expect(found)
        self._announce(found & self._store.intents().keys())

    def _take(self, listing: Listing) -> None:
        """Announce the new and changed pods of the listing. Pods that it lacks are handled later.

        A server that has just restarted may answer from a state before the newest changes, until it has replayed its
        log. So the first listing with a lower index is not taken over; a second one is, as after a restored backup.
        """
        self._bucket.refill = MIN_GAP + GAP_PER_POD * len(listing.entries)
        if listing.index < self._index and not self._went_back:
            self._went_back = True
            return
        self._index, self._went_back = listing.index, False
        self._announce(self._store.replace(listing))
        self.ignored.replace(listing.ignored)

    def _let_go(self, verdict: GateDecision) -> None:
        """Announce the pods that may be removed. Leftovers of an earlier run are announced without a manifest."""
        self._report(verdict)
        if verdict.removed:
            self._store.remove(verdict.removed)
            self._announce(verdict.removed)

    def _announce(self, keys: Collection[PodKey]) -> None:
        """Announce these pods, and those whose announcement an exception prevented before."""
        self._unannounced.update(keys)
        if self._unannounced:
            self._on_change(frozenset(self._unannounced))
            self._unannounced.clear()

    def _release_if_asked(self) -> None:
        if self._release.is_set():
            self._release.clear()
            released = self._gate.release()
            log.warning("released: %d pods whose removal is held are removed now", len(released))
            if kept := len(self._verdict.held - released):
                log.warning("not released: %d pods, as %s", kept, self._verdict.reason)

    def _pace(self) -> None:
        """Wait for the next token of the bucket."""
        while not self._bucket.take(self._clock()) and not self._thread.stopped.wait(self._bucket.wait(self._clock())):
            pass

    def _wait(self) -> float:
        """Seconds that the source may wait for a change. Shorter while a removal must be judged again earlier."""
        recheck = 0.0 if self._unread else self._gate.recheck_in(self._clock())
        return self._longest if recheck is None else min(self._longest, WAIT_HOLDING, max(1.0, recheck))

    def _report(self, verdict: GateDecision) -> None:
        before = self._verdict.held
        if verdict.held and verdict.held != before:
            log.warning("removal of %d pods is held: %s", len(verdict.held), verdict.reason)
        elif before and not verdict.held:
            log.warning("no removal is held any more; %d pods are removed now", len(verdict.removed))
        self._verdict = verdict

    def _on_success(self) -> None:
        self._last_good = self._clock()
        self._last_good_wall = self._wall_clock()
        if self._failing_since is not None:
            log.info("manifests can be read again, after %.0f s", self._last_good - self._failing_since)
            self._failing_since = None

    def _on_error(self, error: SourceError) -> None:
        self._heartbeat.beat()
        self._gate.disturb()
        if self._failing_since is None:
            self._failing_since = self._clock()
            log.warning("manifests cannot be read, all checks go on: %s", error)
