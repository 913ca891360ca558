"""Histories of a fleet of two members for tests of the checker, made by hand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.faults.history import Event, FaultBegan, Process, Request, Scrape, Setup, Signs, Usage
from tests.faults.history import PodSeries as Series
from tests.faults.tales import LISTENS, PID, Tale

PIDS = {"m1": PID, "m2": PID + 1}

Owner = tuple[float, float, str]
"""From when to when a member probes the pods."""


@dataclass
class FleetTale(Tale):
    """A quiet run of the members m1 and m2. `owners` are those who probe the pods, m1 without `owners`. A member does
    not answer in the spans of `away`."""

    owners: Sequence[Owner] = ((0.0, math.inf, "m1"),)
    away: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def killed(self, member: str, at: float, back: float = math.inf) -> "FleetTale":
        """A member is killed, and listens again at `back`."""
        self.away.setdefault(member, []).append((at, back))
        events = [self._event(at, member, "KILL"), self._event(at, member, "ended", -9)]
        self.more += [*events, *([self._event(back, member, "listens")] if back < math.inf else [])]
        return self

    def terminated(self, member: str, at: float) -> "FleetTale":
        """A member is stopped in order, which takes a second."""
        self.away.setdefault(member, []).append((at, math.inf))
        self.more += [self._event(at, member, "TERM"), self._event(at + 1.0, member, "ended", 0)]
        return self

    def frozen(self, member: str, at: float, back: float) -> "FleetTale":
        """A member is stopped by SIGSTOP."""
        self.away.setdefault(member, []).append((at, back))
        self.more += [self._event(at, member, "STOP"), self._event(back, member, "CONT")]
        return self

    def affects(self, member: str) -> "FleetTale":
        """The faults so far affect this member only."""
        self.more = [replace(each, member=member) if isinstance(each, FaultBegan) else each for each in self.more]
        return self

    def told(self) -> list[Event]:
        """Returns the history, see `Tale.told`."""
        mine = [event for event in super().told() if not isinstance(event, Process) or event.member]
        starts = [(0.0, "spawned"), (LISTENS, "listens")]
        return [
            *(each for event in mine for each in self._by_members(event)),
            *(self._event(at, member, what) for member in PIDS for at, what in starts),
        ]

    def _by_members(self, event: Event) -> list[Event]:
        match event:
            case Setup():
                return [replace(event, nodes={"a": "n1"})]
            case Request(member=""):
                return [replace(event, member=self._owner(event.at))]
            case Scrape():
                return [self._scrape(event, member) for member in PIDS if self._answers_at(member, event.at)]
            case Signs() | Usage():
                return [replace(event, pid=PIDS[each]) for each in PIDS if self._answers_at(each, event.at)]
        return [event]

    def _scrape(self, scrape: Scrape, member: str) -> Scrape:
        """Returns what a member shows of its own pods. It counts from the time when it became their owner."""
        begin = next(
            (begin for begin, end, owner in self.owners if owner == member and begin <= scrape.sent < end), None
        )
        if begin is None:
            return replace(scrape, pid=PIDS[member], pods={})
        counted = {name: sum(begin <= at < scrape.sent for at in part.probed) for name, part in self._pods.items()}
        pods = {name: Series(success=counted[name], state="passing") for name in scrape.pods}
        return replace(scrape, pid=PIDS[member], pods=pods)

    def _answers_at(self, member: str, at: float) -> bool:
        return not any(begin <= at + 0.05 and at < end for begin, end in self.away.get(member, ()))

    def _owner(self, at: float) -> str:
        return next(member for begin, end, member in self.owners if begin <= at < end)

    @staticmethod
    def _event(at: float, member: str, what: Any, code: int | None = None) -> Process:
        return Process(at, PIDS[member], what, code, member)
