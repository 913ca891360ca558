"""Reads nginx's access log: which target was asked at which times, and how late the requests of a prober were."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

FORMAT = "$msec $request_time $server_port $status $connection_requests $ssl_session_reused"
"""What nginx is to write for each request."""
FLUSH = 0.2
"""Seconds after which a request is in nginx's log at the latest."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One request as the target saw it: it began at `at` and was answered at `answered`, in seconds since the epoch, in
    whole ms."""

    at: float
    answered: float
    port: int
    status: int
    reused: bool
    resumed: bool


class HitLog:
    """nginx's access log. Each read continues where the one before ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._hits: list[Hit] = []

    def forget(self) -> None:
        """Forget all requests so far, before the next prober starts."""
        self._read()
        self._hits = []

    def hits(self, since: float = 0.0, until: float = float("inf")) -> list[Hit]:
        """Returns the requests that began in a span of time. Call `settle` before you ask for the latest ones."""
        self._read()
        return [hit for hit in self._hits if since <= hit.at < until]

    def settle(self) -> None:
        """Wait until all requests that ended before now are in the log."""
        time.sleep(2 * FLUSH)

    def seen(self) -> set[int]:
        """Returns the ports that were asked."""
        self._read()
        return {hit.port for hit in self._hits}

    def _read(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        complete = text[: text.rfind(b"\n") + 1]
        self._offset += len(complete)
        self._hits += map(_parsed, complete.decode().splitlines())


def _parsed(line: str) -> Hit:
    ended, took, port, status, requests, resumed = line.split()
    return Hit(float(ended) - float(took), float(ended), int(port), int(status), requests != "1", resumed == "r")


def by_port(hits: Iterable[Hit]) -> Mapping[int, list[float]]:
    """Returns the times at which each port was asked, in order."""
    times: dict[int, list[float]] = defaultdict(list)
    for hit in hits:
        times[hit.port].append(hit.at)
    for each in times.values():
        each.sort()
    return times


def delays(hits: Iterable[Hit], interval: float) -> list[tuple[float, float]]:
    """Returns the time of each request, and by how many seconds it came later than one interval after the one before.
    The seconds are 0 if it came earlier. The first request of a port is left out."""
    return [
        (later, max(0.0, later - earlier - interval))
        for times in by_port(hits).values()
        for earlier, later in pairwise(times)
    ]
