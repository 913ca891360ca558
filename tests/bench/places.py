"""Health in Consul as its readers see it: what is published, at which index it was written, and at what time.

Nothing is read from Podpulse. Consul is asked for its index all the time, so that the time of each ModifyIndex is
known. The answer to this request is empty, so it costs Consul next to nothing. A listing of everything would disturb
the measurement.
"""

import json
import threading
import time
from base64 import b64decode
from bisect import bisect_left
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.bench.targets import NODE
from tests.support.consul import Agent

SAMPLE_EVERY = 0.01


@dataclass(frozen=True, slots=True)
class Published:
    """The status of one pod, and the index at which it was written."""

    status: str
    index: int


@dataclass(frozen=True, slots=True)
class Place:
    """`read` returns what is published of each pod. `nothing` is a path with an empty answer, whose index covers
    everything that `read` reads."""

    read: Callable[[Agent], Mapping[str, Published]]
    nothing: str


def _keys(consul: Agent) -> dict[str, Published]:
    return {
        key.split("/")[1]: Published(json.loads(b64decode(entry["Value"]))["Status"], entry["ModifyIndex"])
        for key, entry in consul.entries("health/").items()
    }


def _checks(consul: Agent) -> dict[str, Published]:
    checks = consul.request("GET", f"health/node/{NODE}", timeout=30.0).json()
    prefix = f"podpulse:{NODE}:"
    return {
        check["ServiceID"].removeprefix(prefix): Published(check["Status"], check["ModifyIndex"])
        for check in checks
        if check["ServiceID"].startswith(prefix)
    }


PLACES: Mapping[str, Place] = {"kv": Place(_keys, "kv/none"), "agent": Place(_checks, "health/state/none")}
"""The places by their names in the option `publish`."""


class IndexClock(AbstractContextManager["IndexClock"]):
    """Records the index of a place every `SAMPLE_EVERY` seconds, in its own thread."""

    def __init__(self, consul: Agent, place: Place) -> None:
        self._consul = consul
        self._place = place
        self._indexes: list[int] = []
        self._times: list[float] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def when(self, index: int) -> float:
        """Returns when a reader first got this index or a higher one, in seconds since the epoch."""
        return self._times[bisect_left(self._indexes, index)]

    def _run(self) -> None:
        while not self._stopped.wait(SAMPLE_EVERY):
            answer = self._consul.request("GET", self._place.nothing, timeout=30.0)
            self._indexes.append(int(answer.headers["x-consul-index"]))
            self._times.append(time.time())
