"""Histories for tests of the checker, made by hand: a quiet run, and the changes that each test makes to it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.faults.history import (
    CatalogLook,
    Effect,
    Event,
    FaultBegan,
    FaultEnded,
    FaultStood,
    Finished,
    Intent,
    Look,
    PodSeries,
    Process,
    Record,
    Removal,
    Request,
    Scrape,
    Setup,
    Signs,
    Turn,
    Usage,
)

PID = 7
SESSION = "5e551015"
LISTENS = 0.5

USAGE = Usage(0.0, PID, descriptors=20, probing=1, consul=3, threads=10, resident=50_000_000)

Shown = tuple[float, float, Record]
"""From when to when a record stands in Consul."""


def passing(modified: int = 10, **fields: Any) -> Record:
    return replace(Record("passing", "", SESSION, modified, 1, 1000.0), **fields)


def critical(modified: int = 11, **fields: Any) -> Record:
    return replace(passing(modified), status="critical", reason="status", **fields)


def warning(modified: int = 11, **fields: Any) -> Record:
    return replace(passing(modified), status="warning", reason="status", **fields)


def steadily(begin: float, end: float, gap: float = 1.0) -> list[float]:
    """Times from `begin` on, before `end`."""
    return [begin + gap * number for number in range(max(0, math.ceil((end - begin) / gap)))]


@dataclass
class Part:
    """One pod of a tale."""

    begin: float
    end: float
    probed: list[float]
    shown: Sequence[Shown]
    counted: float
    series_until: float
    services: Sequence[Shown]


@dataclass
class Tale:
    """A run of `end` seconds with an interval of one second and a timeout of 0.4. There are two looks per second."""

    end: float = 40.0
    more: list[Event] = field(default_factory=list)
    sessions: Sequence[tuple[float, float, str]] = ((0.0, math.inf, SESSION),)
    ready: Sequence[tuple[float, float]] = ((0.0, math.inf),)
    healthy: Sequence[tuple[float, float]] = ((0.0, math.inf),)
    usage: Usage = USAGE
    services: bool = False
    """Whether the pods are services of the agent."""
    silent: Sequence[tuple[float, float]] = ()
    """When the web server is not asked, because nobody is there."""
    _pods: dict[str, Part] = field(default_factory=dict)

    def pod(
        self,
        name: str = "a",
        begin: float = 1.0,
        end: float = math.inf,
        *,
        probed: list[float] | None = None,
        shown: Sequence[Shown] | None = None,
        counted: float = 0.0,
        series_until: float | None = None,
        services: Sequence[Shown] = (),
    ) -> "Tale":
        """A pod whose target is healthy from `begin` to `end`. It is probed every second and published as passing. The
        metrics count `counted` probes too many. `services` is what the catalog shows."""
        times = steadily(begin + 0.1, min(end, self.end)) if probed is None else probed
        stands = [(begin + 0.3, end + 0.3, passing())] if shown is None else shown
        until = end + 0.2 if series_until is None else series_until
        self._pods[name] = Part(begin, end, times, stands, counted, until, services)
        return self

    def turns(self, name: str, at: float, *, good: bool, heard: bool = True, warns: bool = False) -> "Tale":
        self.more.append(Turn(at, name, "429" if warns else "ok" if good else "500", good, heard, warns))
        return self

    def fault(self, begin: float, end: float, *effects: Effect) -> "Tale":
        self.more += [
            FaultBegan(begin, "trouble", effects),
            FaultStood(begin, end, "trouble"),
            FaultEnded(end, "trouble"),
        ]
        return self

    def process(self, at: float, what: Any, code: int | None = None, pid: int = PID) -> "Tale":
        self.more.append(Process(at, pid, what, code))
        return self

    def also(self, *events: Event) -> "Tale":
        self.more += events
        return self

    def told(self) -> list[Event]:
        """Returns the history."""
        events: list[Event] = [
            Setup(0.0, 0, 1.0, 0.4, services=self.services),
            Process(0.0, PID, "spawned"),
            Process(LISTENS, PID, "listens"),
            *self.more,
            *self._of_pods(),
            *self._looks(),
            *self._looks_into_catalog(),
            *self._answers(),
            Finished(self.end),
        ]
        return events

    def _of_pods(self) -> list[Event]:
        events: list[Event] = []
        for name, pod in self._pods.items():
            events += [Turn(0.0, name, "ok", good=True), Intent(pod.begin - 0.01, pod.begin, name, 1)]
            if pod.end < math.inf:
                events.append(Removal(pod.end - 0.01, pod.end, name))
            bad = [turn for turn in self.more if isinstance(turn, Turn) and turn.pod == name]
            for at in pod.probed:
                last = [turn.good for turn in bad if turn.at <= at]
                events.append(Request(at, name, 1, last[-1] if last else True))
        return events

    def _looks(self) -> list[Event]:
        looks: list[Event] = []
        known: dict[str, Record] = {}
        for at in steadily(0.5, self.end, 0.5):
            stands = _standing({name: pod.shown for name, pod in self._pods.items()}, at)
            changed = {name: record for name, record in stands.items() if known.get(name) != record}
            live = tuple(session for begin, end, session in self.sessions if begin <= at < end)
            looks.append(Look(at, at + 0.01, changed, tuple(known.keys() - stands.keys()), live))
            known = stands
        return looks

    def _looks_into_catalog(self) -> list[Event]:
        looks: list[Event] = []
        known: dict[str, Record] = {}
        for at in steadily(0.5, self.end, 0.5):
            stands = _standing({name: pod.services for name, pod in self._pods.items()}, at)
            changed = {name: record for name, record in stands.items() if known.get(name) != record}
            looks.append(CatalogLook(at, at + 0.01, changed, tuple(known.keys() - stands.keys())))
            known = stands
        return looks

    def _answers(self) -> list[Event]:
        events: list[Event] = []
        for at in steadily(1.0, self.end):
            if any(begin <= at < end for begin, end in self.silent):
                continue
            pods = {
                name: PodSeries(success=sum(time < at for time in pod.probed) + int(pod.counted), state="passing")
                for name, pod in self._pods.items()
                if pod.begin + 0.1 <= at < pod.series_until
            }
            ready, healthy = (any(begin <= at < end for begin, end in spans) for spans in (self.ready, self.healthy))
            events += [
                Scrape(at, at + 0.02, PID, pods, {"podpulse_intents": len(pods)}, (), (), 30 * len(pods) + 200),
                Signs(at, at + 0.02, PID, ready, healthy, "" if ready and healthy else "something is wrong"),
                replace(self.usage, at=at),
            ]
        return events


def _standing(shown: Mapping[str, Sequence[Shown]], at: float) -> dict[str, Record]:
    """What is shown of each at this moment."""
    return {name: record for name, spans in shown.items() for begin, end, record in spans if begin <= at < end}
