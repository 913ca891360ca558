"""Waits for sockets with epoll, and calls the owner of each socket that is ready.

A socket is registered once, edge-triggered. Closing it removes it from epoll. All methods except `wake` belong to one
thread. This module knows nothing about probes.
"""

import os
import select
import threading
import time
from collections.abc import Callable
from typing import Protocol

PROMPT = 0.002
"""Seconds that a wait may take longer than requested: epoll counts in milliseconds, and waking takes time."""
READING = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
READING_AND_WRITING = READING | select.EPOLLOUT


class SocketOwner(Protocol):
    """Handles the events of a socket."""

    def ready(self, fd: int, events: int, since: float) -> None:
        """`fd` has these epoll events. They were not ready before `since`."""
        ...


class Loop:
    """Waits in `turn` for sockets and for calls of `wake`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._closed = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._wake, select.EPOLLIN)
        self._owners: dict[int, SocketOwner] = {}
        self._woke = self.since = clock()
        self._away = self.lag = 0.0
        """`lag` is the number of seconds that this thread did not wait for sockets, around the last turn."""
        self.looked = clock()
        """When the last turn began to poll. A socket that the turn did not handle was not ready then."""

    def watch(self, fd: int, owner: SocketOwner, events: int = READING_AND_WRITING) -> None:
        """Call `owner` for these events of `fd` from now on."""
        self._epoll.register(fd, events)
        self._owners[fd] = owner

    def watch_writing(self, fd: int) -> None:
        """Call the owner of `fd` also when it is writable."""
        self._epoll.modify(fd, READING_AND_WRITING)

    def forget(self, fd: int) -> None:
        """Stop calling the owner of `fd`. The caller then closes `fd`."""
        self._owners.pop(fd, None)

    def wake(self) -> None:
        """End the current or next `turn` at once. Safe for any thread, also after `close`."""
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._wake, 1)

    def turn(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for events, and let the owners handle them.

        A ready socket may have been ready since the last turn polled: while that turn ran, and while this thread waited
        longer than it asked for (it was stopped, or had no processor or no interpreter).
        """
        clock = self._clock
        self.looked = clock()
        handling, before = self.looked - self._woke, self._away
        timeout = max(0.0, timeout)
        events = self._epoll.poll(timeout)
        self._woke = clock()
        waited = self._woke - self.looked
        self._away = waited if waited > timeout + PROMPT else 0.0
        self.lag = handling + self._away
        self.since = since = self._woke - before - self.lag
        owners = self._owners
        for fd, mask, owner in [(fd, mask, owners.get(fd)) for fd, mask in events]:
            if fd == self._wake:
                os.eventfd_read(self._wake)
            elif owner and owners.get(fd) is owner:  # this turn may have closed `fd` and reused its number
                owner.ready(fd, mask, since)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._epoll.close()
            os.close(self._wake)
