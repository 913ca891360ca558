"""A work queue with client-go's rules: fair, stingy, safe for many producers, one timer and one back-off per key.

* Fair: keys are returned in the order in which they were added.
* Stingy: a key that is added several times before it is taken is returned once.
* A key in work is not returned again before `done`. If it is added meanwhile, `done` queues it again.
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
    """See the module. `clock` is monotonic, in seconds."""

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
        self._first_added: dict[K, float] = {}
        self.closed = False

    def __len__(self) -> int:
        return len(self._order)

    def working(self) -> list[float]:
        """Returns the seconds since `get_batch` for each key in work."""
        with self._changed:
            now = self._clock()
            return [now - since for since in self._working.values()]

    def overdue(self, seconds: float) -> dict[K, float]:
        """Returns the keys added over `seconds` seconds ago that have not succeeded, each with these seconds."""
        now = self._clock()
        return {key: now - added_at for key, added_at in self._first_added.copy().items() if now - added_at > seconds}

    def add(self, keys: Iterable[K]) -> None:
        with self._changed:
            for key in keys:
                self._add(key)
            self._changed.notify_all()

    def add_after(self, key: K, delay: float) -> None:
        """Queues `key` in `delay` seconds, or earlier if it already has an earlier timer."""
        with self._changed:
            self._add_at(key, self._clock() + delay)
            self._changed.notify_all()

    def retry(self, key: K) -> int:
        """Queues a failed key after its back-off. Returns its number of failures in a row."""
        with self._changed:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            self._add_at(key, self._clock() + min(BACKOFF_CAP, BACKOFF_BASE * 2 ** min(failures - 1, 30)))
            self._changed.notify_all()
        self._metrics.retried()
        return failures

    def forget(self, key: K) -> None:
        """Ends the back-off of a key that has succeeded."""
        self._failures.pop(key, None)
        self._first_added.pop(key, None)

    def get_batch(self, limit: int, linger: float, timeout: float) -> list[K]:
        """Takes up to `limit` keys. Waits at most `timeout` seconds for the first key and `linger` more for others.

        The caller must pass every key to `done`. The list is empty after the timeout or if the queue is closed.
        """
        with self._changed:
            if not self._wait_for(1, self._clock() + timeout):
                return []
            if linger and len(self._order) < limit and not self._wait_for(limit, self._clock() + linger):
                return []
            return [self._take() for _ in range(min(limit, len(self._order)))]

    def done(self, keys: Collection[K]) -> None:
        """Ends the work on keys. Those that were added meanwhile are queued again."""
        with self._changed:
            now = self._clock()
            for key in keys:
                self._metrics.done(now - self._working.pop(key))
                if key in self._again:
                    self._again.discard(key)
                    self._add(key)
            self._changed.notify_all()

    def wait_idle(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds until no key is queued or in work. Timers do not count."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._order and not self._working, timeout)

    def close(self) -> None:
        """Accepts and returns no more keys, and ends a waiting `get_batch`."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def _add(self, key: K) -> None:
        if self.closed or key in self._waiting or key in self._again:
            return
        self._metrics.added()
        self._first_added.setdefault(key, self._clock())
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
        """Queues every key whose timer has expired. A timer that an earlier one has replaced is dropped."""
        while self._timers and self._timers[0][0] <= now:
            at, _, key = heapq.heappop(self._timers)
            if self._pending.get(key) == at:
                del self._pending[key]
                self._add(key)

    def _wait_for(self, count: int, deadline: float) -> bool:
        """Waits for `count` keys. Returns False if the queue is closed, or empty at `deadline`."""
        while not self.closed:
            now = self._clock()
            self._fire(now)
            if len(self._order) >= count or now >= deadline:
                return bool(self._order)
            next_timer = self._timers[0][0] if self._timers else deadline
            self._changed.wait(max(0.0, min(deadline, next_timer) - now))
        return False

    def _take(self) -> K:
        key = self._order.popleft()
        now = self._clock()
        self._metrics.got(now - self._waiting.pop(key))
        self._working[key] = now
        return key
