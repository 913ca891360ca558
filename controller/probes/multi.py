"""libcurl's multi interface on epoll: callers add transfers and receive them back when they have ended.

It uses `socket_action` and not `perform`, because its cost grows with the active transfers only. All methods except
`wake` belong to one thread. This module knows nothing about probes.
"""

import math
import os
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Protocol

import pycurl

from controller.probes.text import sound

PROMPT = 0.002
"""Seconds that a wait may take longer than requested: epoll counts in milliseconds, and waking takes time."""


class Waiter(Protocol):
    """Is notified how promptly the sockets of its transfer were handled."""

    def opened(self, now: float, since: float) -> None:
        """A socket was opened now; it may have been due since `since`."""
        ...

    def handled(self, now: float, since: float, *, failed: bool) -> None:
        """A socket's event was handled by `now`; it was not ready before `since`. `failed`: it was an error."""
        ...


class Multi:
    """Waits in `turn` for sockets, for libcurl's timer and for calls of `wake`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._closed = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._wake, select.EPOLLIN)
        self._sockets: set[int] = set()
        self._waiters: dict[int, Waiter] = {}
        self._timer = math.inf
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self._woke = self._since = clock()
        self._away = self.lag = 0.0
        """`lag` is the number of seconds that this thread did not wait for sockets, around the last turn."""
        self.looked = clock()
        """When the last turn began to poll. A socket that the turn did not handle was not ready then."""

    def wake(self) -> None:
        """End the current or next `turn` at once. Safe for any thread, also after `close`."""
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._wake, 1)

    def turn(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for events, and let libcurl handle them.

        A ready socket may have been ready since the last turn polled: while that turn ran, and while this thread
        waited longer than it asked for (it was stopped, or had no processor or no interpreter).
        """
        self.looked = self._clock()
        handling, before = self.looked - self._woke, self._away
        timeout = max(0.0, min(timeout, self._timer - self.looked))
        events = self._epoll.poll(timeout)
        self._woke = self._clock()
        waited = self._woke - self.looked
        self._away = waited if waited > timeout + PROMPT else 0.0
        self.lag = handling + self._away
        self._since = since = self._woke - before - self.lag
        for fd, mask in events:
            if fd in self._sockets:
                self._multi.socket_action(fd, _to_curl(mask))
                if waiter := self._waiters.get(fd):
                    waiter.handled(self._clock(), since, failed=bool(mask & select.EPOLLERR))
            elif fd == self._wake:
                os.eventfd_read(self._wake)
            else:
                with suppress(OSError):
                    self._epoll.unregister(fd)
        if self._clock() >= self._timer:
            self._run_timers()

    def add(self, curl: pycurl.Curl) -> None:
        """Begin a transfer. On return it has begun to connect, or has sent its request on a kept connection."""
        self._multi.add_handle(curl)
        self._run_timers()

    def opened(self, fd: int, waiter: Waiter) -> None:
        """Register a new socket of the transfer of `waiter`. libcurl's timer moves on to the next address."""
        self._waiters[fd] = waiter
        waiter.opened(self._clock(), self._since)

    def remove(self, curl: pycurl.Curl, waiter: Waiter | None = None, sockets: Iterable[int] = ()) -> None:
        """Remove a transfer, ended or not. libcurl closes its connection unless it may be reused.

        `sockets` of `waiter` are forgotten. The number of a closed socket may belong to another waiter by now.
        """
        self._multi.remove_handle(curl)
        for fd in sockets:
            if self._waiters.get(fd) is waiter:
                del self._waiters[fd]

    def _run_timers(self) -> None:
        self._timer = math.inf
        self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def ended(self) -> Iterator[tuple[pycurl.Curl, int, str]]:
        """Yields each ended transfer with libcurl's error code (0 for success) and message."""
        more = 1
        while more:
            more, answered, failed = self._multi.info_read()
            for curl in answered:
                yield curl, pycurl.E_OK, ""
            for curl, code, message in failed:
                yield curl, code, sound(message)

    def keep_connections(self, count: int) -> None:
        """Set how many connections may be open when one is kept; above that libcurl closes the oldest idle one.

        This does not limit new connections: each transfer may open one in addition.
        """
        self._multi.setopt(pycurl.M_MAXCONNECTS, count)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._multi.close()
            self._epoll.close()
            os.close(self._wake)

    def _on_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        """Watch `fd` for the events `what`, or stop watching it.

        A socket that libcurl stops watching is usually closed next, and then leaves epoll by itself. A kept connection
        is unregistered at its next event.
        """
        if what == pycurl.POLL_REMOVE:
            self._sockets.discard(fd)
        elif fd in self._sockets:
            self._epoll.modify(fd, _to_epoll(what))
        else:
            self._sockets.add(fd)
            try:
                self._epoll.register(fd, _to_epoll(what))
            except FileExistsError:
                self._epoll.modify(fd, _to_epoll(what))

    def _on_timer(self, milliseconds: int) -> None:
        self._timer = self._clock() + milliseconds / 1000 if milliseconds >= 0 else math.inf


def _to_epoll(what: int) -> int:
    events = 0
    if what & pycurl.POLL_IN:
        events |= select.EPOLLIN
    if what & pycurl.POLL_OUT:
        events |= select.EPOLLOUT
    return events


def _to_curl(events: int) -> int:
    mask = 0
    if events & select.EPOLLIN:
        mask |= pycurl.CSELECT_IN
    if events & select.EPOLLOUT:
        mask |= pycurl.CSELECT_OUT
    if events & (select.EPOLLERR | select.EPOLLHUP):
        mask |= pycurl.CSELECT_ERR
    return mask
