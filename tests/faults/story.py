"""A history in order: the lives of checks, what was seen of each pod and when, and which faults excuse what."""

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
from tests.faults.moves import Member, Move, away, combined, down_of, frozen_of, moves, starved
from tests.faults.spans import Lengths, Span, common, merged, put_off

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Broken:
    """A broken promise: the time (in seconds of the history's clock), the pod, and the evidence."""

    promise: str
    at: float
    pod: str
    evidence: str


OUTAGES: frozenset[Effect] = frozenset(("cut", "blind", "slow", "leader", "headless"))
"""What keeps the controller from reading manifests."""
LOST_BY: frozenset[Effect] = frozenset(("cut", "behind", "slow", "stuck"))
"""What may take a member out of its fleet, or keep it from its nodes."""
ASKED_AGAIN = 5.0
"""So many seconds after an outage Consul may not have been asked again."""
AFTER_OUTAGE = 24.0
"""So many seconds after it what was written meanwhile must have been read."""
READ_WITHIN = 1.0


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
    """Successive looks that showed the same: the first and the last one. `record` is None if there was no key or no
    service."""

    record: Record | None
    first: Look | CatalogLook
    last: Look | CatalogLook


@dataclass(frozen=True, slots=True)
class FaultSpan:
    """`stood` is the time in which the fault was completely in force. `member` is the only member of the fleet with its
    effects; "" if all have them."""

    name: str
    effects: frozenset[Effect]
    span: Span
    stood: Span
    member: str = ""


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
    members: Sequence[Member]
    moves: Sequence[Move]
    down: Sequence[Span] = field(init=False)
    """No controller was there that listens."""
    frozen: Sequence[Span] = field(init=False)
    """A controller was there, and stopped by SIGSTOP."""
    absent: Sequence[Span] = field(init=False)
    """No controller could do anything: there was none, or it was stopped."""
    whole: Sequence[Scrape] = field(init=False)
    """What all controllers together said of their pods."""
    _member_of: Mapping[int, str] = field(init=False)
    _stalls: Mapping[str | None, Lengths] = field(init=False)
    """By member; None for those of the machine."""

    def __post_init__(self) -> None:
        self._member_of = {event.pid: event.member for event in self.processes}
        self.down = common(member.down for member in self.members)
        self.frozen = merged(span for member in self.members for span in member.frozen)
        self.absent = common(member.absent for member in self.members)
        downs = {member.id: member.down for member in self.members}
        self.whole = combined(self.scrapes, self.member_of, downs) if len(self.members) > 1 else self.scrapes
        stalls: dict[str | None, list[Span]] = defaultdict(list)
        for stall in self.stalls:
            whose = None if stall.whose == "harness" else self.member_of(stall.pid)
            stalls[whose].append(Span(stall.at - stall.seconds, stall.at))
        self._stalls = {whose: Lengths(spans) for whose, spans in stalls.items()}

    @property
    def pods(self) -> list[str]:
        return sorted({*self.lives, *self.requests, *self.sightings})

    def member_of(self, pid: int) -> str:
        """Returns the member of the fleet that had this process; "" without a fleet."""
        return self._member_of.get(pid, "")

    def absent_of(self, pid: int) -> Sequence[Span]:
        """When the controller that had this process could not do anything."""
        return next((member.absent for member in self.members if member.id == self.member_of(pid)), ())

    def unaware(self, id_: str) -> Sequence[Span]:
        """When this member of a fleet did not run or could not read what happened, and a second longer. A member that
        was stopped by SIGSTOP begins no probe before it has read the members."""
        mine = [member for member in self.members if member.id == id_]
        spans = [each.span for member in mine for each in member.away if each.span not in member.frozen]
        return [Span(span.begin, span.end + READ_WITHIN) for span in spans]

    @property
    def absences(self) -> Sequence[Span]:
        """When any controller could not do anything or could not reach Consul."""
        return merged([*self.absent, *(each.span for member in self.members for each in member.away)])

    def late(self, begin: float, end: float) -> float:
        """Returns by how many seconds a probe that is due in this time may be late, because nodes move."""
        return max((move.late for move in self.moves if move.span.overlaps(begin, end)), default=0.0)

    def put_off(self, begin: float, bound: float, spans: Sequence[Span], recovery: float) -> float:
        """Returns when a probe or its effect is due, as `spans.put_off` does. It may be late because nodes move or
        because the machine took time. A span that begins during this delay puts it off too."""
        due = begin + bound
        due += self.late(begin, due)
        return self.again(begin, due, due + self.stalled(begin, due), spans, recovery)

    def again(self, begin: float, due: float, until: float, spans: Sequence[Span], recovery: float) -> float:
        """Returns `due`, or, if one of the spans lies between `begin` and `until`, when it is due after the span."""
        after = put_off(begin, until - begin, spans, recovery)
        return due if after == until else after + self.late(begin, after)

    def spans(self, *effects: Effect, pid: int = 0) -> Sequence[Span]:
        """Returns when faults with any of these effects were active for all controllers, or for the controller
        `pid`."""
        members = {"", self.member_of(pid)}
        return merged(fault.span for fault in self.faults if fault.effects & set(effects) and fault.member in members)

    def during(self, begin: float, end: float) -> str:
        """Returns the names of the faults that were active in this time, as text."""
        return ", ".join(dict.fromkeys(fault.name for fault in self.faults if fault.span.overlaps(begin, end)))

    def stalled(self, begin: float, end: float) -> float:
        """Returns for how many seconds of this time the machine kept the test or a controller from running."""
        lengths = {whose: lengths.between(begin, end) for whose, lengths in self._stalls.items()}
        return lengths.pop(None, 0.0) + max(lengths.values(), default=0.0)

    def turn_at(self, pod: str, at: float) -> Turn | None:
        """Returns the behaviour of the pod's target at this moment."""
        turns = self.turns.get(pod, ())
        found = bisect.bisect_right(turns, at, key=lambda turn: turn.at)
        return turns[found - 1] if found else None

    def deaf(self, pod: str) -> Sequence[Span]:
        """Returns when requests did not reach the target's log."""
        turns = self.turns.get(pod, ())
        ends = [*(turn.at for turn in turns[1:]), math.inf]
        return merged(Span(turn.at, end) for turn, end in zip(turns, ends, strict=False) if not turn.heard)

    def bad(self, pod: str) -> Sequence[Span]:
        """Returns when the target was not healthy."""
        turns = self.turns.get(pod, ())
        ends = [*(turn.at for turn in turns[1:]), math.inf]
        return merged(Span(turn.at, end) for turn, end in zip(turns, ends, strict=False) if not turn.good)

    def warned(self, pod: str, *, warns: bool) -> Sequence[Span]:
        """Returns when the target was healthy, with a warning or without one."""
        turns = self.turns.get(pod, ())
        ends = [*(turn.at for turn in turns[1:]), math.inf]
        spans = zip(turns, ends, strict=False)
        return merged(Span(turn.at, end) for turn, end in spans if turn.good and turn.warns is warns)

    def life_at(self, pod: str, at: float) -> Life | None:
        return next((life for life in self.lives.get(pod, ()) if life.begin_sent <= at < life.end), None)


def story(events: Iterable[Event]) -> Story:
    """Puts a history in order.

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
    faults = _faults(kind(FaultBegan), kind(FaultStood), kind(FaultEnded))
    outages = [fault.span for fault in faults if fault.effects & OUTAGES and not fault.member]
    members = _members(processes, faults, kind(Stall), setups[0].at)
    all_absent = common(member.absent for member in members)
    is_fleet = len(members) > 1
    moved = moves((member.away for member in members), all_absent, setups[0].interval) if is_fleet else []
    down = [*common(member.down for member in members), *(move.span for move in moved)]
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
        members=members,
        moves=moved,
    )


def _members(
    processes: Sequence[Process], faults: Sequence[FaultSpan], stalls: Sequence[Stall], since: float
) -> list[Member]:
    found = []
    for member in dict.fromkeys(event.member for event in processes) or [""]:
        mine = [event for event in processes if event.member == member]
        down, frozen = down_of(mine, since), frozen_of(mine)
        cut = [fault.span for fault in faults if member and fault.member == member and fault.effects & LOST_BY]
        cut += _starved(mine, stalls) if member else ()
        found.append(Member(member, down, frozen, [*away(mine, merged([*down, *frozen]), cut)] if member else []))
    return found


def _starved(processes: Sequence[Process], stalls: Sequence[Stall]) -> Sequence[Span]:
    """When the machine took so much time from these processes of a member that it may not have stayed a member."""
    pids = {event.pid for event in processes}
    mine = (stall for stall in stalls if stall.whose == "harness" or stall.pid in pids)
    return starved([Span(stall.at - stall.seconds, stall.at) for stall in mine])


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
    """Returns when it is open whether a pod is checked. Its manifest was invalid while the controller that knew the
    last valid one ended, or the last valid one may not have been read by any controller."""
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
    """Whether the state that lasted until `end` lasted only during an outage, or while it may not have been read
    yet."""
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
        stood_ = next(whole, Span(begin.at, begin.at))
        faults.append(FaultSpan(begin.name, frozenset(begin.effects), span, stood_, begin.member))
    return faults
