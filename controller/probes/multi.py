"""libcurl's multi interface on epoll: transfers go in, and come out when they have ended. Knows nothing of probes.

`socket_action` is used, not `perform`: its cost grows with the transfers that have something to do, not with all in
flight. Everything but `wake` belongs to one thread.
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
"""Seconds beyond what was asked for that waiting may take: epoll counts in milliseconds, and waking takes a moment."""


class Waiter(Protocol):
    """Who waits for a transfer, and so wants to know how promptly its sockets were handled."""

    def opened(self, now: float, since: float) -> None:
        """A socket was opened for it just now, which may have been due since `since`."""
        ...

    def handled(self, now: float, since: float, *, failed: bool) -> None:
        """What was ready for it was handled until `now`, and was not ready before `since`. `failed`: an error was."""
        ...


class Multi:
    """Waits in one place, `turn`, for sockets, libcurl's timer, and whoever calls `wake`."""

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
        """`lag` is for how many seconds this thread was away from here before and in the last turn."""
        self.looked = clock()
        """When the last turn began to look at the sockets: what it did not handle was not ready then."""

    def wake(self) -> None:
        """End the present or the next `turn` at once; for any thread, also after `close`."""
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._wake, 1)

    def turn(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for something to do, and let libcurl do it.

        What is found ready may have been so since the last turn found it not to be: while that turn was handled, and
        while this thread waited longer than it had asked to (stopped, or without processor or interpreter).
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
        """Begin a transfer: when this returns it has begun to connect, or sent its request on a kept connection."""
        self._multi.add_handle(curl)
        self._run_timers()

    def opened(self, fd: int, waiter: Waiter) -> None:
        """A transfer for which `waiter` waits has this new socket: libcurl goes on to the next address by its timer."""
        self._waiters[fd] = waiter
        waiter.opened(self._clock(), self._since)

    def remove(self, curl: pycurl.Curl, waiter: Waiter | None = None, sockets: Iterable[int] = ()) -> None:
        """Take a transfer out, ended or not; its connection is closed unless it may be kept. `waiter` does not wait for
        its `sockets` any more; one that was closed meanwhile may have become another waiter's."""
        self._multi.remove_handle(curl)
        for fd in sockets:
            if self._waiters.get(fd) is waiter:
                del self._waiters[fd]

    def _run_timers(self) -> None:
        self._timer = math.inf
        self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def ended(self) -> Iterator[tuple[pycurl.Curl, int, str]]:
        """The transfers that have ended: each with libcurl's error code (0 for none) and message."""
        more = 1
        while more:
            more, answered, failed = self._multi.info_read()
            for curl in answered:
                yield curl, pycurl.E_OK, ""
            for curl, code, message in failed:
                yield curl, code, sound(message)

    def keep_connections(self, count: int) -> None:
        """How many connections may stand when one is kept for another use: beyond that libcurl closes the oldest idle
        one. New ones are opened all the same, so as many as there are transfers may stand beside them."""
        self._multi.setopt(pycurl.M_MAXCONNECTS, count)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._multi.close()
            self._epoll.close()
            os.close(self._wake)

    def _on_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        """libcurl wants to know of `what` on `fd`, or of nothing more.

        A socket that it wants nothing of is mostly closed next, and so leaves epoll by itself; the others (connections
        that are kept) are taken out when they next say something.
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
