"""What is known: the last good manifest of each pod, and the health of each check that runs.

Each store has one lock, held for dictionary work only. What they hand out is frozen, or is replaced and never changed
in place, so readers (metrics, page) need no lock of theirs.
"""

import logging
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from reconcilers.gate import Listing
from reconcilers.health import CheckHealth, Outcome, ProbeResult, Reason
from reconcilers.manifest import ManifestError, parse
from reconcilers.spec import CheckDefaults, CheckSpec, Manifest, PodKey

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Intent:
    """One pod's manifest: what stands at its key, the last version that was understood, and what is wrong if it is an
    older one (or none)."""

    version: tuple[int, ...]
    data: bytes
    manifest: Manifest | None
    error: ManifestError | None = None
    invalid_since: float = 0.0


class ManifestStore:
    """The last good manifest per pod. Written by the watch thread only."""

    def __init__(self, defaults: CheckDefaults, wall_clock: Callable[[], float] = time.time) -> None:
        self._defaults = defaults
        self._wall_clock = wall_clock
        self._intents: dict[PodKey, Intent] = {}

    def __len__(self) -> int:
        return len(self._intents)

    def replace(self, listing: Listing, removed: Collection[PodKey]) -> frozenset[PodKey]:
        """Take over what `listing` shows and forget `removed`; the answer names the pods that are new, changed or gone.

        Only bytes whose version changed are parsed. Bytes that cannot be understood keep the last good manifest.
        """
        changed = set()
        for key, entry in listing.entries.items():
            old = self._intents.get(key)
            if old is None or old.version != entry.version:
                self._intents[key] = self._understand(key, entry.version, entry.data, old)
                changed.add(key)
        for key in removed:
            if self._intents.pop(key, None):
                changed.add(key)
        return frozenset(changed)

    def manifest(self, key: PodKey) -> Manifest | None:
        """The last good manifest; None for a pod that has none."""
        intent = self._intents.get(key)
        return intent.manifest if intent else None

    def intents(self) -> Mapping[PodKey, Intent]:
        """All pods, as they are now."""
        return self._intents.copy()

    def _understand(self, key: PodKey, version: tuple[int, ...], data: bytes, old: Intent | None) -> Intent:
        try:
            return Intent(version, data, parse(key, data, self._defaults))
        except ManifestError as error:
            log.warning("manifest of %s is invalid: %s", key, error)
            since = old.invalid_since if old and old.error else self._wall_clock()
            return Intent(version, data, old.manifest if old else None, error, since)


@dataclass(frozen=True, slots=True)
class PastProbe:
    """One probe as the history keeps it; times in seconds, `started` since the epoch."""

    started: float
    duration: float
    outcome: Outcome
    reason: Reason
    status_code: int


class History:
    """The last `size` probes of one check, packed: 16 bytes each instead of some hundred."""

    _FORMAT = struct.Struct("<dfBBH")
    _OUTCOMES = tuple(Outcome)
    _REASONS = tuple(Reason)
    _OUTCOME_CODE: ClassVar = {outcome: code for code, outcome in enumerate(_OUTCOMES)}
    _REASON_CODE: ClassVar = {reason: code for code, reason in enumerate(_REASONS)}

    __slots__ = ("_count", "_ring", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._ring = bytearray()
        self._count = 0

    def add(self, result: ProbeResult) -> None:
        packed = self._FORMAT.pack(
            result.started,
            result.duration,
            self._OUTCOME_CODE[result.outcome],
            self._REASON_CODE[result.reason],
            min(result.status_code, 0xFFFF),
        )
        at = self._count % self._size * self._FORMAT.size
        self._ring[at : at + self._FORMAT.size] = packed
        self._count += 1

    def __iter__(self) -> Iterator[PastProbe]:
        """Oldest first."""
        ring, first = bytes(self._ring), self._count % self._size
        probes = [
            PastProbe(started, duration, self._OUTCOMES[outcome], self._REASONS[reason], status_code)
            for started, duration, outcome, reason, status_code in self._FORMAT.iter_unpack(ring)
        ]
        return iter(probes if len(probes) < self._size else probes[first:] + probes[:first])


class Tracked:
    """One check that runs, and all that is known of it. Others may read it at any time and never write."""

    __slots__ = ("counts", "generation", "health", "history", "last", "spec", "transitions")

    def __init__(self, spec: CheckSpec, generation: int, history_size: int) -> None:
        self.spec = spec
        self.generation = generation
        self.health = CheckHealth()
        self.last: ProbeResult | None = None
        self.counts = dict.fromkeys(Outcome, 0)
        self.transitions = 0
        self.history = History(history_size)

    def restart(self, spec: CheckSpec, generation: int) -> None:
        """Another worker for the same pod: its evidence starts anew, counters and history go on."""
        self.spec, self.generation, self.health = spec, generation, CheckHealth()

    def observe(self, result: ProbeResult) -> bool:
        """Take one result; whether state or reason changed by it."""
        before, after = self.health, self.health.after(result, self.spec)
        self.health, self.last = after, result
        self.counts[result.outcome] += 1
        self.history.add(result)
        self.transitions += after.state is not before.state
        return after.state is not before.state or after.reason is not before.reason


class HealthStore:
    """Health now and lately, of every check that has a worker. Written by the engine, and by who rules its workers."""

    def __init__(self, on_change: Callable[[Collection[PodKey]], None], history_size: int = 100) -> None:
        self._on_change = on_change
        self._history_size = history_size
        self._lock = threading.Lock()
        self._tracked: dict[PodKey, Tracked] = {}

    def follow(self, specs: Iterable[tuple[CheckSpec, int]]) -> None:
        """From now on results of these checks count, and of these generations of their workers only."""
        with self._lock:
            for spec, generation in specs:
                if known := self._tracked.get(spec.key):
                    known.restart(spec, generation)
                else:
                    self._tracked[spec.key] = Tracked(spec, generation, self._history_size)

    def forget(self, keys: Collection[PodKey]) -> None:
        """These have no worker any more."""
        with self._lock:
            for key in keys:
                self._tracked.pop(key, None)
        self._on_change(keys)

    def observe(self, results: Iterable[ProbeResult]) -> None:
        """Take results; one of a worker that was replaced or stopped meanwhile is dropped."""
        changed = []
        with self._lock:
            for result in results:
                tracked = self._tracked.get(result.key)
                if tracked and tracked.generation == result.generation and tracked.observe(result):
                    changed.append((result, tracked.health))
        for result, health in changed:
            log.info("%s is %s%s", result.key, health.state, f": {health.detail}" if health.reason else "")
        if changed:
            self._on_change([result.key for result, _ in changed])

    def health(self, key: PodKey) -> tuple[CheckHealth, float] | None:
        """Health and the time of the last probe in seconds since the epoch; None for a pod without worker."""
        tracked = self._tracked.get(key)
        return (tracked.health, tracked.last.started if tracked.last else 0.0) if tracked else None

    def tracked(self, key: PodKey) -> Tracked | None:
        return self._tracked.get(key)

    def all(self) -> list[Tracked]:
        """Every check that runs, in no order."""
        with self._lock:
            return list(self._tracked.values())
