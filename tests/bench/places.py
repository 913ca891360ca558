"""Where health goes in Consul, as its readers see it there: what stands published, since which index, and since when.

Nothing of podpulse is asked. A ModifyIndex becomes a time by asking Consul all the while how far its index has come: a
question without an answer to read costs it next to nothing, a listing of everything would be what is measured.
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
    """`read` answers by pod; `nothing` is a path whose answer is empty and bears the index of all that `read` reads."""

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
"""By the names that `publish` has for them."""


class IndexClock(AbstractContextManager["IndexClock"]):
    """Notes every some milliseconds, from a thread of its own, how far the index of a place has come."""

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
        """When a reader was first told so high an index, in seconds of the epoch."""
        return self._times[bisect_left(self._indexes, index)]

    def _run(self) -> None:
        while not self._stopped.wait(SAMPLE_EVERY):
            answer = self._consul.request("GET", self._place.nothing, timeout=30.0)
            self._indexes.append(int(answer.headers["x-consul-index"]))
            self._times.append(time.time())
