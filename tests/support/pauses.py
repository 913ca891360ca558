"""How long other threads wait for the interpreter while the thread of a test works."""

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from controller.cli.run import GC_THRESHOLDS, SWITCH_INTERVAL

ROUNDS = 5


def longest_pause(work: Callable[[], object], below: float) -> float:
    """The longest time in seconds for which another thread waits while this thread does `work`: in the first round with
    a time `below` this, else in the best of `ROUNDS`. On a busy machine the other thread may notice late that it could
    run."""
    found = []
    for _ in range(ROUNDS):
        with _as_in_the_controller(), _Pauses() as pauses:
            work()
        found.append(pauses.longest)
        if pauses.longest < below:
            break
    print("the longest pause of each round, ms:", *(f"{seconds * 1000:.1f}" for seconds in found))
    return min(found)


@contextmanager
def _as_in_the_controller() -> Iterator[None]:
    """Let threads alternate and the garbage collector run as in `podpulse run`. Existing objects are not collected."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)
        gc.unfreeze()


class _Pauses:
    """A thread that requests the interpreter all the time. `longest` has the most CPU seconds that the thread of the
    test used while this thread waited. Time in which neither thread runs is not counted."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            before = time.clock_gettime(self._clock)
            time.sleep(0)
            self.longest = max(self.longest, time.clock_gettime(self._clock) - before)
