"""A history, put in order: the lives of checks, what was seen of each pod and when, and what may excuse what."""

import bisect
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

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
    Process,
    Record,
    Removal,
    Request,
    Scrape,
    Setup,
    Signs,
    Stall,
    Turn,
    Usage,
)
from tests.faults.spans import Lengths, Span, merged, put_off

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Broken:
    """A promise that was not kept: when (seconds of the history's clock), of which pod, and what shows it."""

    promise: str
    at: float
    pod: str
    evidence: str


OUTAGES: frozenset[Effect] = frozenset(("cut", "blind", "slow", "leader", "headless"))
"""What keeps the controller from reading manifests."""
ASKED_AGAIN = 5.0
"""So many seconds after an outage Consul may not have been asked again."""
AFTER_OUTAGE = 24.0
"""So many seconds after it what was written meanwhile must have been read."""
READ_WITHIN = 1.0
WRITE_WAITS = 10.0
"""The seconds after which the controller no longer waits for the answer to a write."""


@dataclass(frozen=True, slots=True)
class Life:
    """One check, from the first manifest with it until the last. `versions` are the valid manifests in between. `end`
    is the time when the end of the check was acknowledged, and `end_sent` the time when it was requested."""

    pod: str
    versions: tuple[Intent, ...]
    end_sent: float = math.inf
    end: float = math.inf

    @property
    def begin(self) -> float:
        return self.versions[0].at

    @property
    def begin_sent(self) -> float:
        return self.versions[0].sent


@dataclass(frozen=True, slots=True)
class Sighting:
    """Looks in a row that showed the same: the first and the last of them. `record` is None where there was no key, or
    no service."""

    record: Record | None
    first: Look | CatalogLook
    last: Look | CatalogLook


@dataclass(frozen=True, slots=True)
class FaultSpan:
    """`stood` is when all of it was in force, without its beginning and its healing."""

    name: str
    effects: frozenset[Effect]
    span: Span
    stood: Span


@dataclass
class Story:
    """Everything in a history by its kind, in the order of time."""

    setup: Setup
    end: float
    lives: Mapping[str, Sequence[Life]]
    doubts: Mapping[str, Sequence[Span]]
    requests: Mapping[str, Sequence[Request]]
    turns: Mapping[str, Sequence[Turn]]
    sightings: Mapping[str, Sequence[Sighting]]
    services: Mapping[str, Sequence[Sighting]]
    """Of the pods' services in the catalog; empty where none are published."""
    looks: Sequence[Look]
    scrapes: Sequence[Scrape]
    signs: Sequence[Signs]
    usages: Sequence[Usage]
    processes: Sequence[Process]
    faults: Sequence[FaultSpan]
    stalls: Sequence[Stall]
    intents: Sequence[Intent]
    removals: Sequence[Removal]
    down: Sequence[Span] = field(init=False)
    """No controller was there that listens."""
    frozen: Sequence[Span] = field(init=False)
    """A controller was there, and stopped by SIGSTOP."""
    _stalls: Lengths = field(init=False)

    def __post_init__(self) -> None:
        self._stalls = Lengths(Span(stall.at - stall.seconds, stall.at) for stall in self.stalls)
        self.down = _down(self.processes, self.setup.at)
        self.frozen = _frozen(self.processes)

    @property
    def pods(self) -> list[str]:
        return sorted({*self.lives, *self.requests, *self.sightings})

    @property
    def absent(self) -> Sequence[Span]:
        """No controller could do anything: there was none, or it was stopped."""
        return merged([*self.down, *self.frozen])

    def spans(self, *effects: Effect) -> Sequence[Span]:
        """When faults with any of these effects were at work."""
        return merged(fault.span for fault in self.faults if fault.effects & set(effects))

    def late_writes(self) -> Sequence[Span]:
        """The faults after which Consul executes writes that had timed out."""
        return [span for span in self.spans("late") if span.end - span.begin > WRITE_WAITS]

    def during(self, begin: float, end: float) -> str:
        """The faults at work in this time, for a person."""
        return ", ".join(dict.fromkeys(fault.name for fault in self.faults if fault.span.overlaps(begin, end)))

    def stalled(self, begin: float, end: float) -> float:
        """For how many seconds of this time the machine kept us or the controller from running."""
        return self._stalls.between(begin, end)

    def turn_at(self, pod: str, at: float) -> Turn | None:
        """What the pod's target did at this moment."""
        turns = self.turns.get(pod, ())
        found = bisect.bisect_right(turns, at, key=lambda turn: turn.at)
        return turns[found - 1] if found else None

    def deaf(self, pod: str) -> Sequence[Span]:
        """When requests did not reach the target's log."""
        turns = self.turns.get(pod, ())
        ends = [*(turn.at for turn in turns[1:]), math.inf]
        return merged(Span(turn.at, end) for turn, end in zip(turns, ends, strict=False) if not turn.heard)

    def bad(self, pod: str) -> Sequence[Span]:
        """When the target was not well."""
        turns = self.turns.get(pod, ())
        ends = [*(turn.at for turn in turns[1:]), math.inf]
        return merged(Span(turn.at, end) for turn, end in zip(turns, ends, strict=False) if not turn.good)

    def life_at(self, pod: str, at: float) -> Life | None:
        return next((life for life in self.lives.get(pod, ()) if life.begin_sent <= at < life.end), None)


def story(events: Iterable[Event]) -> Story:
    """Put a history in order.

    Raises:
        ValueError: it has no beginning.
    """
    every = list(events)

    def kind(wanted: type[E]) -> list[E]:
        return sorted((event for event in every if isinstance(event, wanted)), key=lambda event: event.at)  # type: ignore[attr-defined]

    setups, finished = kind(Setup), kind(Finished)
    if not setups:
        raise ValueError("a history without setup")
    end = finished[-1].at if finished else max(event.at for event in every)
    every = [event for event in every if event.at <= end]
    intents, removals, processes, looks = kind(Intent), kind(Removal), kind(Process), kind(Look)
    down, faults = _down(processes, setups[0].at), _faults(kind(FaultBegan), kind(FaultStood), kind(FaultEnded))
    outages = [fault.span for fault in faults if fault.effects & OUTAGES]
    return Story(
        setup=setups[0],
        end=end,
        lives=_lives(intents, removals),
        doubts=_doubts(intents, removals, down, outages),
        requests=_by_pod(kind(Request)),
        turns=_by_pod(kind(Turn)),
        sightings=_sightings(looks),
        services=_sightings(kind(CatalogLook)),
        looks=looks,
        scrapes=kind(Scrape),
        signs=kind(Signs),
        usages=kind(Usage),
        processes=processes,
        faults=faults,
        stalls=kind(Stall),
        intents=intents,
        removals=removals,
    )


P = TypeVar("P", Request, Turn)


def _by_pod(events: Iterable[P]) -> dict[str, list[P]]:
    pods: dict[str, list[P]] = defaultdict(list)
    for event in events:
        pods[event.pod].append(event)
    return dict(pods)


def _changes(intents: Iterable[Intent], removals: Iterable[Removal]) -> dict[str, list[Intent | Removal]]:
    pods: dict[str, list[Intent | Removal]] = defaultdict(list)
    changes: list[Intent | Removal] = [*intents, *removals]
    for event in sorted(changes, key=lambda event: event.at):
        pods[event.pod].append(event)
    return pods


def _lives(intents: Iterable[Intent], removals: Iterable[Removal]) -> dict[str, list[Life]]:
    lives: dict[str, list[Life]] = {}
    for pod, changes in _changes(intents, removals).items():
        found, versions = lives.setdefault(pod, []), list[Intent]()
        for change in changes:
            match change:
                case Intent(valid=True, asks=True):
                    versions.append(change)
                case Intent(valid=False):
                    pass
                case _ if versions:
                    found.append(Life(pod, tuple(versions), change.sent, change.at))
                    versions = []
        if versions:
            found.append(Life(pod, tuple(versions)))
    return lives


def _doubts(
    intents: Iterable[Intent], removals: Iterable[Removal], down: Sequence[Span], outages: Sequence[Span]
) -> dict[str, list[Span]]:
    """When it is open whether a pod is checked: its manifest was broken while the controller that knew the last good
    one ended, or before anybody could have read that."""
    doubts: dict[str, list[Span]] = {}
    for pod, changes in _changes(intents, removals).items():
        ends = [*(change.sent for change in changes[1:]), math.inf]
        broken = [
            Span(change.sent, end)
            for change, end in zip(changes, ends, strict=True)
            if isinstance(change, Intent) and not change.valid
        ]
        doubts[pod] = [
            Span(span.begin, put_off(span.end, READ_WITHIN, outages, AFTER_OUTAGE))
            for span in merged(broken)
            if any(each.overlaps(*span) for each in down) or _was_unseen(changes, span.begin, outages)
        ]
    return doubts


def _was_unseen(changes: Sequence[Intent | Removal], end: float, outages: Sequence[Span]) -> bool:
    """Whether what stood until `end` stood in an outage only, or in the time in which it may not have been read yet."""
    began = max((change.at for change in changes if change.at <= end), default=-math.inf)
    return any(outage.begin - READ_WITHIN <= began and end <= outage.end + ASKED_AGAIN for outage in outages)


def _sightings(looks: Sequence[Look] | Sequence[CatalogLook]) -> dict[str, list[Sighting]]:
    pods: dict[str, list[Sighting]] = defaultdict(list)
    known: dict[str, tuple[Record | None, Look | CatalogLook]] = {}
    before: Look | CatalogLook | None = None
    for look in looks:
        news: dict[str, Record | None] = {**look.changed, **dict.fromkeys(look.gone)}
        for pod, record in news.items():
            if pod in known and before:
                pods[pod].append(Sighting(*known[pod], before))
            elif before:
                pods[pod].append(Sighting(None, looks[0], before))
            known[pod] = (record, look)
        before = look
    for pod, (record, first) in known.items():
        pods[pod].append(Sighting(record, first, looks[-1]))
    return dict(pods)


def _faults(began: Sequence[FaultBegan], stood: Sequence[FaultStood], ended: Sequence[FaultEnded]) -> list[FaultSpan]:
    faults = []
    for begin in began:
        ends = (end.at for end in ended if end.name == begin.name and end.at >= begin.at)
        span = Span(begin.at, next(ends, math.inf))
        whole = (
            Span(each.at, each.until)
            for each in stood
            if each.name == begin.name and span.overlaps(each.at, each.until)
        )
        faults.append(FaultSpan(begin.name, frozenset(begin.effects), span, next(whole, Span(begin.at, begin.at))))
    return faults


def _down(processes: Sequence[Process], since: float) -> tuple[Span, ...]:
    spans, alive, begin = [], set[int](), since
    for event in processes:
        match event.what:
            case "listens":
                if not alive:
                    spans.append(Span(begin, event.at))
                alive.add(event.pid)
            case "KILL" | "TERM" | "ended" if event.pid in alive:
                alive.discard(event.pid)
                begin = event.at if not alive else begin
    return merged(spans if alive else [*spans, Span(begin, math.inf)])


def _frozen(processes: Sequence[Process]) -> tuple[Span, ...]:
    spans, begin = [], dict[int, float]()
    for event in processes:
        match event.what:
            case "STOP":
                begin.setdefault(event.pid, event.at)
            case "CONT" | "ended" if event.pid in begin:
                spans.append(Span(begin.pop(event.pid), event.at))
    return merged([*spans, *(Span(since, math.inf) for since in begin.values())])
