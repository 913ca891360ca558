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
        self._logged: dict[str, set[object]] = {}
        """By item, the kinds of exceptions that were logged since it last succeeded."""

    def expect(self, thread: str) -> None:
        """Show this thread's count from now on, as 0 until its first fault."""
        with self._lock:
            self._counts[thread] += 0

    def counts(self) -> Mapping[str, int]:
        """The number of faults so far, by the name of the thread."""
        with self._lock:
            return dict(self._counts)

    def count(self, item: str, error: Exception) -> bool:
        """Count an exception. Returns whether to log it with its trace: `item` has not raised one of the same type, at
        the same place, since it last succeeded."""
        kind = type(error), *extract_tb(error.__traceback__)[-1][:2]
        with self._lock:
            self._counts[threading.current_thread().name] += 1
            kinds = self._logged.setdefault(item, set())
            is_new = kind not in kinds
            kinds.add(kind)
        return is_new

    def clear(self, item: str) -> None:
        """This item has succeeded."""
        self._logged.pop(item, None)

    @contextmanager
    def contain(self, item: str, *, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Suppress every exception of the body `but` these, and count it. It is logged once, see `count`."""
        try:
            yield
        except but:
            raise
        except Exception as error:
            if self.count(item, error):
                log.exception("%s: unexpected exception; everything else goes on", item)
        else:
            self.clear(item)
