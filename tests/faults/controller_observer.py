"""Observes one controller from outside: its web server, its process, and how long it waited for a processor."""

import http.client
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from tests.faults.history import Recorder, Signs, Stall, Usage
from tests.faults.procfs import resident, run_delay, sockets, threads
from tests.faults.scraping import scrape_of

SIGNS = 0.5
SCRAPES = 1.0
DELAYS = 0.1
"""Seconds between two readings of how long the controller waited for a processor."""
NOTABLE = 0.01
"""A stall is recorded if it took more than so many seconds."""
ANSWER = 5.0


@dataclass(frozen=True, slots=True)
class Watched:
    """The current process of the controller."""

    pid: int
    port: int
    log_lines: int


class Subject(Protocol):
    """Tells the observer where the controller is, at any moment."""

    def watched(self) -> Watched | None:
        """Returns None while the controller does not listen."""
        ...

    def consul_port(self) -> int:
        """The port at which the controller reaches Consul."""
        ...


@dataclass
class ControllerObserver:
    """Each of its turns has a thread of its own, because a controller that stands still does not answer."""

    recorder: Recorder
    subject: Subject
    target_ports: Callable[[], frozenset[int]]
    _delay: tuple[int, float, float] = field(default=(0, 0.0, 0.0), init=False)

    def turns(self) -> Sequence[tuple[str, Callable[[], None], float]]:
        """Returns each turn with its name and the seconds between two turns."""
        return [
            ("signs", self._signs, SIGNS),
            ("scrape", self._scrape, SCRAPES),
            ("delays", self._delays, DELAYS),
        ]

    def _signs(self) -> None:
        watched = self.subject.watched()
        if not watched:
            return
        sent = time.monotonic()
        ready, healthy = self._sign(watched.port, "/-/ready"), self._sign(watched.port, "/-/healthy")
        if self._still(watched):
            words = "; ".join(word for ok, word in (ready, healthy) if not ok)
            self.recorder.note(Signs(sent, time.monotonic(), watched.pid, ready[0], healthy[0], words))

    @staticmethod
    def _sign(port: int, path: str) -> tuple[bool | None, str]:
        try:
            status, body = fetch(port, path)
        except (OSError, http.client.HTTPException) as error:
            return None, repr(error)
        return status == 200, body.decode(errors="replace").strip()

    def _scrape(self) -> None:
        """Reads the usage first, so that the connection of this scrape does not count as one of the controller's."""
        watched = self.subject.watched()
        if not watched:
            return
        with suppress(OSError):
            self._use(watched)
        with suppress(OSError, http.client.HTTPException):
            sent = time.monotonic()
            status, body = fetch(watched.port, "/metrics")
            at = time.monotonic()
            if status == 200 and self._still(watched):
                self.recorder.note(scrape_of(body.decode(), sent, at, watched.pid))

    def _use(self, watched: Watched) -> None:
        ends = sockets(watched.pid)
        targets, consul = self.target_ports(), self.subject.consul_port()
        usage = Usage(
            at=time.monotonic(),
            pid=watched.pid,
            descriptors=ends.descriptors,
            probing=sum(port in targets for port in ends.peers),
            consul=sum(port == consul for port in ends.peers),
            clients=sum(port == watched.port for port in ends.own),
            threads=threads(watched.pid),
            resident=resident(watched.pid),
            log_lines=watched.log_lines,
            nowhere=ends.nowhere,
        )
        if self._still(watched):
            self.recorder.note(usage)

    def _still(self, watched: Watched) -> bool:
        now = self.subject.watched()
        return now is not None and now.pid == watched.pid

    def _delays(self) -> None:
        """Records how long the controller's threads waited for a processor, as the kernel reports it."""
        watched, now = self.subject.watched(), time.monotonic()
        if not watched:
            return
        total = run_delay(watched.pid)
        pid, before, since = self._delay
        if watched.pid == pid and total - before > NOTABLE:
            self.recorder.note(Stall(now, min(total - before, now - since), "controller", watched.pid))
        self._delay = (watched.pid, total, now)


def fetch(port: int, path: str) -> tuple[int, bytes]:
    """Sends a GET to a server on loopback. Returns the status and the body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
