"""The watch: reads one listing after the other, and announces which pods changed.

It has what all sources need: retries after errors, a limit on the rate of reads, and the gate for removals. It never
decides what a changed manifest means. New and changed pods are announced before any further request. Only removals wait
for the single reads that confirm them.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from queue import SimpleQueue

from controller.intent.ignored import IgnoredKeys
from controller.intent.manifest_store import ManifestStore
from controller.intent.node_intents import NodeIntents
from controller.intent.source import Interrupted, SourceError, Sources
from controller.runtime.background_thread import BackgroundThread
from controller.runtime.heartbeat import Heartbeat
from controller.runtime.log.once import LogOnce
from controller.runtime.retry import until_stopped
from reconcilers.gate import Listing, RemovalGate
from reconcilers.ignored import Ignored
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
    """Runs in the thread "watch". The thread "leftovers" reads once what an earlier run has published.

    `new_gate` returns the gate of a node. `owns` says whether a node is checked here; None if the source has one node.
    """

    def __init__(
        self,
        source: Sources,
        store: ManifestStore,
        new_gate: Callable[[], RemovalGate],
        on_change: Callable[[Collection[PodKey]], None],
        heartbeat: Heartbeat,
        wait: float = WAIT,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        *,
        owns: Callable[[str], bool] | None = None,
    ) -> None:
        self._source = source
        self._store = store
        self._new_gate = new_gate
        self._owns = owns
        self._on_change = on_change
        self._longest = wait
        self._heartbeat = heartbeat
        self._clock = clock
        self._wall_clock = wall_clock
        self._bucket = TokenBucket(BURST, MIN_GAP)
        self._nodes: dict[str, NodeIntents] = {}
        """Without `owns`, all pods belong to the node ""."""
        self._awaited: set[str] = set()
        """The nodes of `is_awaited`. A node without any manifest leaves with the end of the next answer."""
        self._found: SimpleQueue[Collection[PodKey]] = SimpleQueue()
        self._release = threading.Event()
        self.ignored = IgnoredKeys()
        """The keys of the last listing that are not manifests of pods to check."""
        self._last_good: float | None = None
        self._last_good_wall = 0.0
        self._last_change = 0.0
        self._failing_since: float | None = None
        self._unannounced: set[PodKey] = set()
        self._woken = threading.Event()
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
        self._woken.set()
        self._source.cancel()

    def wake(self) -> None:
        """Read now which nodes are checked here. Any thread may call this."""
        self._woken.set()
        self._source.wake()

    def is_awaited(self, node: str) -> bool:
        """Whether the manifests of `node` have not been read since this controller gained or lost it. Until then a
        missing manifest means nothing."""
        return node in self._awaited

    def nodes(self) -> Collection[str]:
        """The nodes whose manifests are known."""
        return list(self._nodes)

    def expect(self, keys: Collection[PodKey]) -> None:
        """Treat these pods, whose health an earlier run published, as if a previous listing had shown them. Any thread
        may call this, also after the first listing."""
        self._awaited.update(key.node for key in keys if self._owns and key.node not in self._nodes)
        self._found.put(keys)

    def silence(self) -> float | None:
        """Seconds since the last successful listing. None before the first one."""
        return None if self._last_good is None else self._clock() - self._last_good

    def last_success(self) -> float:
        """The time of the last successful listing in seconds since the epoch. 0 before the first one."""
        return self._last_good_wall

    def last_change(self) -> float:
        """When a listing last showed a manifest that was added, changed or removed since the listing before, in seconds
        since the epoch. 0 before the first change: what the first listing of a node shows is not a change."""
        return self._last_change

    def held(self) -> int:
        """The number of pods that are kept although the last listing lacks them."""
        return sum(len(node.verdict.held) for node in self._all_nodes())

    def held_pods(self) -> Mapping[PodKey, str]:
        """The same pods, and why each is kept. Any thread may call this."""
        return {key: node.verdict.reason for node in self._all_nodes() for key in node.verdict.held}

    def held_because(self) -> str:
        """Why these pods are kept, or "" if there are none."""
        return next((node.verdict.reason for node in self._all_nodes() if node.verdict.held), "")

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
            self._disturb()
        self._is_undisturbed = False
        self._retrying(self._read)
        self._is_undisturbed = True
        return 0.0

    def _read(self) -> None:
        """Read the listings of one answer and act on them."""
        self._pace()
        self._drop_nodes()
        awaited = {node for node in self._awaited.copy() if self._owns and self._owns(node)}
        try:
            for listing in self._source.next(self._wait(), self._open_nodes()):
                self._leftovers_known.wait(PATIENCE)
                self._leftovers_known.set()
                self._on_success()
                self._heartbeat.beat()
                if self._owns is None or self._owns(listing.node):
                    self._handle(listing, self._node(listing.node))
            self._on_success()
            self._awaited -= awaited
        except Interrupted:
            log.debug("the nodes that are checked here have changed")
        self._bucket.refill = MIN_GAP + GAP_PER_POD * len(self._store)

    def _handle(self, listing: Listing, node: NodeIntents) -> None:
        """Announce the new and changed pods of the listing, then those that it lacks and that may be removed."""
        if node.accepts(listing):
            changed = self._store.replace(listing)
            self._note_time(changed if node.is_listed or listing.is_new_node else ())
            node.is_listed = True
            self._awaited.discard(listing.node)
            self._announce(changed)
            self._note_ignored(node, listing.ignored)
        self._take_found()
        absent = node.absent(listing, self._source.absent)
        self._release_if_asked()
        self._note_time(self._let_go(node.judge(listing, absent, self._clock())))
        if self._owns and not (listing.entries or listing.ignored or node.gate.known()):
            self._forget(listing.node)

    def _node(self, name: str) -> NodeIntents:
        name = name if self._owns else ""
        if name not in self._nodes:
            self._nodes[name] = NodeIntents(name, self._new_gate())
        return self._nodes[name]

    def _open_nodes(self) -> Collection[str]:
        return [name for name, node in self._nodes.items() if node.is_open()]

    def _all_nodes(self) -> Collection[NodeIntents]:
        return list(self._nodes.values())

    def _drop_nodes(self) -> None:
        """Stop tracking nodes that are no longer checked here. Another controller publishes the health of their pods,
        so nothing is confirmed or held."""
        self._woken.clear()
        for name in self.nodes():
            if self._owns and not self._owns(name):
                self._awaited.add(name)
                self._let_go(self._nodes[name].gate.known())
                self._forget(name)
                self._source.forget(name)

    def _forget(self, name: str) -> None:
        self._note_ignored(self._nodes[name], {})
        del self._nodes[name]

    def _take_found(self) -> None:
        """Pass the pods of `expect` to their gates. Those with a manifest are announced: it may ask for no check."""
        found: set[PodKey] = set()
        while not self._found.empty():
            found.update(key for key in self._found.get() if self._owns is None or self._owns(key.node))
        for key in found:
            self._node(key.node).gate.expect([key])
        if found:
            self._announce(found & self._store.intents().keys())

    def _note_ignored(self, node: NodeIntents, ignored: Mapping[str, Ignored]) -> None:
        if ignored != node.ignored:
            node.ignored = ignored
            all_names = {
                f"{name}/{pod}" if name else pod: reason
                for name, one in self._nodes.items()
                for pod, reason in one.ignored.items()
            }
            self.ignored.replace(all_names)

    def _let_go(self, keys: Collection[PodKey]) -> Collection[PodKey]:
        """Announce the pods that are removed. Leftovers of an earlier run are announced without a manifest. Returns the
        pods that had one."""
        if not keys:
            return ()
        removed = self._store.remove(keys)
        self._announce(keys)
        return removed

    def _note_time(self, changed: Collection[PodKey]) -> None:
        if changed:
            self._last_change = self._wall_clock()

    def _announce(self, keys: Collection[PodKey]) -> None:
        """Announce these pods, and those whose announcement an exception prevented before."""
        self._unannounced.update(keys)
        if self._unannounced:
            self._on_change(frozenset(self._unannounced))
            self._unannounced.clear()

    def _release_if_asked(self) -> None:
        if self._release.is_set():
            self._release.clear()
            released = frozenset[PodKey]().union(*(node.gate.release() for node in self._all_nodes()))
            log.warning("released: %d pods whose removal is held are removed now", len(released))
            kept = frozenset[PodKey]().union(*(node.verdict.held for node in self._all_nodes())) - released
            if kept:
                log.warning("not released: %d pods, as %s", len(kept), self.held_because())

    def _pace(self) -> None:
        """Wait for the next token of the bucket. `wake` ends that too."""
        while not self._bucket.take(self._clock()) and not self._woken.wait(self._bucket.wait(self._clock())):
            pass

    def _wait(self) -> float:
        """Seconds that the source may wait for a change. Shorter while a removal must be judged again earlier."""
        now = self._clock()
        rechecks = [after for node in self._all_nodes() if (after := node.recheck_in(now)) is not None]
        return min(self._longest, WAIT_HOLDING, max(1.0, min(rechecks))) if rechecks else self._longest

    def _disturb(self) -> None:
        for node in self._all_nodes():
            node.gate.disturb()

    def _on_success(self) -> None:
        self._last_good = self._clock()
        self._last_good_wall = self._wall_clock()
        if self._failing_since is not None:
            log.info("manifests can be read again, after %.0f s", self._last_good - self._failing_since)
            self._failing_since = None

    def _on_error(self, error: SourceError) -> None:
        self._heartbeat.beat()
        self._disturb()
        if self._failing_since is None:
            self._failing_since = self._clock()
            log.warning("manifests cannot be read, the known ones stay in force: %s", error)
