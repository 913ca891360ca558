"""Requests one target after the other from blackbox_exporter at a steady rate, as Prometheus does, but at less cost.

Connections are kept, as Prometheus keeps them. Prometheus also asks for compressed answers, which would cost the
exporter more; this driver does not. A request that becomes due while too many others wait for an answer is not sent.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from io import BytesIO
from types import TracebackType
from typing import Self

import pycurl

MOST_AT_ONCE = 512
SUCCESS = b"\nprobe_success 1"


class Driver(AbstractContextManager["Driver"]):
    """Requests each of `urls` once in `interval` seconds, evenly spread, in its own thread."""

    def __init__(self, urls: Sequence[str], interval: float) -> None:
        self.failed = 0
        self._urls = urls
        self._gap = interval / len(urls)
        self._ended = False
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, MOST_AT_ONCE)
        self._bodies: dict[pycurl.Curl, BytesIO] = {}
        self._idle: deque[pycurl.Curl] = deque()
        self._thread = threading.Thread(target=self._run, name="driver", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._thread.join()

    def _run(self) -> None:
        began, asked = time.monotonic(), 0
        while not self._ended:
            due = int((time.monotonic() - began) / self._gap)
            for number in range(asked, due + 1):
                if len(self._bodies) < MOST_AT_ONCE:
                    self._ask(self._urls[number % len(self._urls)])
            asked = due + 1
            self._multi.perform()
            self._collect()
            wait = began + asked * self._gap - time.monotonic()
            self._wait(min(max(wait, 0.001), 0.1))
        for curl in self._bodies:
            self._multi.remove_handle(curl)
        self._multi.close()

    def _wait(self, seconds: float) -> None:
        """Waits for answers or for the next request. Sleeps if nothing is in flight, because `select` returns at once
        then."""
        if self._bodies:
            self._multi.select(seconds)
        else:
            time.sleep(seconds)

    def _ask(self, url: str) -> None:
        curl = self._idle.pop() if self._idle else pycurl.Curl()
        body = BytesIO()
        for option, value in ((pycurl.URL, url), (pycurl.WRITEDATA, body), (pycurl.NOSIGNAL, 1), (pycurl.NOPROXY, "*")):
            curl.setopt(option, value)
        self._bodies[curl] = body
        self._multi.add_handle(curl)

    def _collect(self) -> None:
        _, answered, broken = self._multi.info_read()
        for curl in (*answered, *(each[0] for each in broken)):
            self.failed += SUCCESS not in self._bodies.pop(curl).getvalue()
            self._multi.remove_handle(curl)
            self._idle.append(curl)
