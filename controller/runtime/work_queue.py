"""A work queue by client-go's rules: fair, stingy, safe for many producers, one pending timer and one back-off per key.

* Fair: keys are handed out in the order in which they were added.
* Stingy: a key that was added often before it was taken is handed out once.
* A key that is being worked on is not handed out; added meanwhile, it is handed out again when it is done.
* `add_after` keeps one timer per key, the earliest.

Source of the rules: kubernetes/client-go, util/workqueue. Queues carry keys, never events.
"""

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)

BACKOFF_BASE = 0.05
BACKOFF_CAP = 5.0


class QueueMetrics(Protocol):
    """The metrics of a queue. Durations are in seconds."""

    def added(self) -> None: ...
    def got(self, waited: float) -> None: ...
    def done(self, worked: float) -> None: ...
    def retried(self) -> None: ...


class WorkQueue(Generic[K]):
    """See the module. `clock` is any monotonic one, in seconds."""

    def __init__(self, name: str, metrics: QueueMetrics, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._metrics = metrics
        self._clock = clock
        self._changed = threading.Condition()
        self._order: deque[K] = deque()
        self._waiting: dict[K, float] = {}
        self._working: dict[K, float] = {}
        self._again: set[K] = set()
        self._timers: list[tuple[float, int, K]] = []
        self._pending: dict[K, float] = {}
        self._sequence = 0
        self._failures: dict[K, int] = {}
        self._asked: dict[K, float] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._order)

    @property
    def closed(self) -> bool:
        return self._closed

    def working(self) -> list[float]:
        """For each key in work, the seconds since it was handed out."""
        with self._changed:
            now = self._clock()
            return [now - since for since in self._working.values()]

    def overdue(self, seconds: float) -> dict[K, float]:
        """The keys that have waited for success for over `seconds` seconds, each with its seconds."""
        now = self._clock()
        return {key: now - asked for key, asked in self._asked.copy().items() if now - asked > seconds}

    def add(self, keys: Iterable[K]) -> None:
        """Queue these keys."""
        with self._changed:
            for key in keys:
                self._add(key)
            self._changed.notify_all()

    def add_after(self, key: K, delay: float) -> None:
        """Queue `key` in `delay` seconds, or earlier if it already has an earlier timer."""
        with self._changed:
            self._add_at(key, self._clock() + delay)
            self._changed.notify_all()

    def retry(self, key: K) -> int:
        """Queue a failed key after its back-off. Returns how often it has failed in a row."""
        with self._changed:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            self._add_at(key, self._clock() + min(BACKOFF_CAP, BACKOFF_BASE * 2 ** min(failures - 1, 30)))
            self._changed.notify_all()
        self._metrics.retried()
        return failures

    def forget(self, key: K) -> None:
        """End the back-off of a key: it succeeded."""
        self._failures.pop(key, None)
        self._asked.pop(key, None)

    def get_batch(self, limit: int, linger: float, timeout: float) -> list[K]:
        """Take up to `limit` keys, waiting at most `timeout` seconds for the first and `linger` more for others.

        Every key that was taken must be given back by `done`. The answer is empty when time is up or the queue closed.
        """
        with self._changed:
            if not self._wait_for(1, self._clock() + timeout):
                return []
            if linger and len(self._order) < limit and not self._wait_for(limit, self._clock() + linger):
                return []
            return [self._hand_out() for _ in range(min(limit, len(self._order)))]

    def done(self, keys: Collection[K]) -> None:
        """Give back keys that were taken; those added meanwhile are queued again."""
        with self._changed:
            now = self._clock()
            for key in keys:
                self._metrics.done(now - self._working.pop(key))
                if key in self._again:
                    self._again.discard(key)
                    self._add(key)
            self._changed.notify_all()

    def close(self) -> None:
        """Hand out no more keys, and end a waiting `get_batch`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _add(self, key: K) -> None:
        if self._closed or key in self._waiting or key in self._again:
            return
        self._metrics.added()
        self._asked.setdefault(key, self._clock())
        if key in self._working:
            self._again.add(key)
        else:
            self._waiting[key] = self._clock()
            self._order.append(key)

    def _add_at(self, key: K, at: float) -> None:
        if at < self._pending.get(key, float("inf")):
            self._pending[key] = at
            self._sequence += 1
            heapq.heappush(self._timers, (at, self._sequence, key))

    def _fire(self, now: float) -> None:
        """Queue every key whose timer has run out; a timer that was overtaken by an earlier one is only dropped."""
        while self._timers and self._timers[0][0] <= now:
            at, _, key = heapq.heappop(self._timers)
            if self._pending.get(key) == at:
                del self._pending[key]
                self._add(key)

    def _wait_for(self, count: int, deadline: float) -> bool:
        """Wait until `count` keys are there; False when the queue is empty at `deadline`, or closed."""
        while not self._closed:
            now = self._clock()
            self._fire(now)
            if len(self._order) >= count or now >= deadline:
                return bool(self._order)
            next_timer = self._timers[0][0] if self._timers else deadline
            self._changed.wait(max(0.0, min(deadline, next_timer) - now))
        return False

    def _hand_out(self) -> K:
        key = self._order.popleft()
        now = self._clock()
        self._metrics.got(now - self._waiting.pop(key))
        self._working[key] = now
        return key
