"""The time that each pod was up and down, for the shares that page, API and badge show. `reconcilers/uptime.py` counts.

The probe thread only notes changes of a state, without a lock. They are counted when somebody reads, and every few
seconds by the thread that saves the state. The clock continues while the machine is suspended, and nobody sets it. The
wall clock is used only to continue after another boot, and after another controller.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from controller.runtime.boottime import boottime
from reconcilers.health import HealthState
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from reconcilers.uptime import COUNTED, TICK, Counted, Share, Uptime, UptimeError, decode

log = logging.getLogger(__name__)

FROZEN = 60.0
"""Seconds between two beats after which this process was frozen meanwhile. Nothing is counted of that time."""
MOST_LEFT = 10_000
"""The most pods without a check whose time is kept. The time of the pod that lost its check first is dropped."""
MOST_NOTED = 10_000
"""The most changes that wait to be counted."""
AT_ONCE = 2
"""How many changes are counted at each further one, so that fewer wait. A change takes up to 50 us."""


@dataclass(frozen=True, slots=True)
class SavedAt:
    """When the state was saved: by the clock that continues during suspension, and by the wall clock (seconds).

    `is_same_boot` says whether the machine has not been booted since.
    """

    boottime: float
    wall: float
    is_same_boot: bool


class Uptimes:
    """The time of each pod. Any thread may call any method.

    Of pods without a check, the time until then is kept, because a check may be paused, or a manifest replaced.
    """

    def __init__(self, clock: Callable[[], float] = boottime, wall_clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._noted: deque[tuple[PodKey, Counted, int]] = deque()
        self._known: dict[PodKey, Uptime] = {}
        self._left: dict[PodKey, None] = {}
        """The pods without a check. The first of them has had none for the longest time."""
        self._unread: Callable[[], None] = _nothing
        """Reads the saved times. That takes 40 us for each pod, so whoever asks first does it, and not the start."""
        self._beat: int | None = None

    def note(self, key: PodKey, state: HealthState) -> None:
        """The check of a pod has this state from now on."""
        self._noted.append((key, COUNTED[state], self._now()))
        if len(self._noted) > MOST_NOTED and self._unread is _nothing:
            self._count_some()

    def leave(self, keys: Iterable[PodKey]) -> None:
        """These pods have no check from now on."""
        with self._lock:
            self._count()
            now = self._now()
            for key in keys:
                if known := self._known.get(key):
                    self._known[key] = known.after(Counted.NOT, now)
                    self._left[key] = None
            while len(self._left) > MOST_LEFT:
                del self._known[oldest := next(iter(self._left))], self._left[oldest]

    def beat(self) -> None:
        """This process is not frozen. Once called, it must be called every few seconds."""
        with self._lock:
            self._count()
            self._resume(now := self._now())
            self._beat = now

    def count(self) -> None:
        """Counts what was noted."""
        with self._lock:
            self._count()

    def shares(self, key: PodKey) -> Sequence[Share]:
        """Returns the share of each window; empty if nothing is known of the pod."""
        known = self._of(key)
        return known.shares(self._now()) if known else ()

    def text(self, key: PodKey) -> str:
        """Returns the time of a pod for a record, by the wall clock; "" if nothing is known of the pod."""
        known = self._of(key)
        return known.rebased(self._now() - self._wall_now()).encode() if known else ""

    def inherit(self, record: HealthRecord) -> None:
        """Continues with the time in a record of another controller, which has been published until now.

        A record without a time says at least since when the pod has had its state.
        """
        try:
            before = decode(record.uptime) if record.uptime else _since(record)
        except UptimeError as error:
            log.debug("%s: %s", record.key, error)
            return
        if before:
            with self._lock:
                self._count()
                self._known[record.key] = before.rebased(self._wall_now() - self._now())

    def load(self, texts: Mapping[PodKey, str], without_check: Collection[PodKey], saved: SavedAt) -> None:
        """Continues with saved times. The time since they were saved is not counted."""
        difference = 0 if saved.is_same_boot else _ticks(saved.boottime + self._age(saved)) - self._now()
        self._unread = partial(self._read, texts, without_check, difference, _ticks(saved.boottime) - difference)

    def _read(
        self, texts: Mapping[PodKey, str], without_check: Collection[PodKey], difference: int, until: int
    ) -> None:
        """Reads the times that were saved at `until`, by a clock that was `difference` ticks ahead."""
        now = self._now()
        for key, text in texts.items():
            try:
                known = decode(text).rebased(difference).after(Counted.NOT, until)
            except UptimeError as error:
                log.debug("%s: %s", key, error)
                continue
            if not known.is_empty(now):
                self._known[key] = known
        self._left = dict.fromkeys(key for key in without_check if key in self._known)

    def all(self) -> Mapping[PodKey, Uptime]:
        """Returns the time of every pod of which something is known."""
        with self._lock:
            self._count()
            return self._known.copy()

    def _of(self, key: PodKey) -> Uptime | None:
        with self._lock:
            self._count()
            return self._known.get(key)

    def _count(self) -> None:
        self._unread()
        self._unread = _nothing
        while self._noted:
            self._count_next()

    def _count_some(self) -> None:
        """Counts a few changes, unless another thread counts. The probe thread must not wait or take long."""
        if self._lock.acquire(blocking=False):
            try:
                for _ in range(min(AT_ONCE, len(self._noted))):
                    self._count_next()
            finally:
                self._lock.release()

    def _count_next(self) -> None:
        key, counted, at = self._noted.popleft()
        self._resume(at)
        self._left.pop(key, None)
        if known := self._known.get(key):
            self._known[key] = known.after(counted, at)
        elif counted is not Counted.NOT:
            self._known[key] = Uptime(at, counted)

    def _resume(self, now: int) -> None:
        """If this process was frozen until `now`, nothing is counted of the time since the last beat."""
        beat = self._beat
        if beat is None or (now - beat) * TICK <= FROZEN:
            return
        log.info("this process was frozen for %d s, which count neither as up nor as down", (now - beat) * TICK)
        self._beat = now
        self._known = {
            key: known if known.counted is Counted.NOT else known.after(Counted.NOT, beat).after(known.counted, now)
            for key, known in self._known.items()
        }

    def _now(self) -> int:
        return _ticks(self._clock())

    def _wall_now(self) -> int:
        return _ticks(self._wall_clock())

    def _age(self, saved: SavedAt) -> float:
        """Returns how long ago the state was saved by the wall clock, which may have been set back."""
        return max(0.0, self._wall_clock() - saved.wall)


def _since(record: HealthRecord) -> Uptime | None:
    """Returns the time of a record that has none, by the wall clock."""
    counted = COUNTED[record.status]
    return Uptime(_ticks(record.since), counted) if record.since and counted is not Counted.NOT else None


def _nothing() -> None:
    pass


def _ticks(seconds: float) -> int:
    return int(seconds / TICK)
