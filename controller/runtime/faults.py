"""Contains exceptions that nobody foresaw, so that a fault in one item does not affect any other item."""

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from traceback import extract_tb

log = logging.getLogger(__name__)


class Faults:
    """Counts unforeseen exceptions by the name of the thread in which they were raised. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._logged: dict[str, object] = {}

    def expect(self, thread: str) -> None:
        """Show this thread's count from now on, as 0 until its first fault."""
        with self._lock:
            self._counts[thread] += 0

    def counts(self) -> Mapping[str, int]:
        """The number of faults so far, by the name of the thread."""
        with self._lock:
            return dict(self._counts)

    @contextmanager
    def contain(self, item: str, *, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Suppress every exception of the body `but` these, and count it.

        It is logged with its trace, unless the body failed for this `item` at the same place the last time.
        """
        try:
            yield
        except but:
            raise
        except Exception as error:
            place = type(error), *extract_tb(error.__traceback__)[-1][:2]
            with self._lock:
                self._counts[threading.current_thread().name] += 1
                is_known = self._logged.get(item) == place
                self._logged[item] = place
            if not is_known:
                log.exception("%s: unexpected exception; everything else goes on", item)
        else:
            self._logged.pop(item, None)
