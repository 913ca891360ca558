"""libcurl's multi interface on epoll: transfers go in, and come out when they have ended. Knows nothing of probes.

`socket_action` is used, not `perform`: its cost grows with the transfers that have something to do, not with all in
flight. Everything but `wake` belongs to one thread.
"""

import math
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pycurl

from controller.probes.text import sound

LATE = 0.5
"""Seconds beyond what was asked for after which a turn of the thread counts as standing still."""


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
        self._timer = math.inf
        self._woke = clock()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self.stood_still = -math.inf
        """When the thread last came back from standing still (stopped, starved, or busy for long)."""

    def wake(self) -> None:
        """End the present or the next `turn` at once; for any thread, also after `close`."""
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._wake, 1)

    def turn(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for something to do, and let libcurl do it."""
        timeout = max(0.0, min(timeout, self._timer - self._clock()))
        events = self._epoll.poll(timeout)
        now = self._clock()
        if now - self._woke > timeout + LATE:
            self.stood_still = now
        self._woke = now
        for fd, mask in events:
            if fd in self._sockets:
                self._multi.socket_action(fd, _to_curl(mask))
            elif fd == self._wake:
                os.eventfd_read(self._wake)
            else:
                with suppress(OSError):
                    self._epoll.unregister(fd)
        if self._clock() >= self._timer:
            self._timer = math.inf
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def add(self, curl: pycurl.Curl) -> None:
        self._multi.add_handle(curl)

    def remove(self, curl: pycurl.Curl) -> None:
        """Take a transfer out, ended or not; its connection is closed unless it may be kept."""
        self._multi.remove_handle(curl)

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
