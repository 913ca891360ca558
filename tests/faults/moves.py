"""When the nodes of a fleet may move from one member to another, and how long their pods may wait for a probe then."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tests.faults.history import Process, Scrape
from tests.faults.spans import Lengths, Span, merged

TAKEN_OVER = 12.0
"""Seconds from the loss of a member until its heirs have probed all its pods."""
LEAVES = 3.0
"""Seconds from SIGTERM until all members have seen that one has left."""
JOINS = 20.0
"""Seconds from the start of a member, or from the end of what kept it away, until it counts: 10 s after it has read the
members."""
READS = 1.0
"""Seconds in which an heir reads the manifests of its new nodes."""
EXPIRES = 5.0
"""Seconds after the last renewal in which the check of a member does not expire."""
RENEWED = 1.0
"""Seconds between two renewals."""
FRESH = 2.5
"""Seconds for which the metrics of a member are valid."""


@dataclass(frozen=True, slots=True)
class Move:
    """In this time nodes may move, and the first probe of their pods may be `late` seconds later than otherwise."""

    span: Span
    late: float


@dataclass(frozen=True, slots=True)
class Away:
    """In this time a member could not do anything, or could not reach Consul. `ordered`: it left the fleet before
    that."""

    span: Span
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """One controller, "" without a fleet: when it did not run, and when it was stopped by SIGSTOP."""

    id: str
    down: Sequence[Span]
    frozen: Sequence[Span]
    away: Sequence[Away]

    @property
    def absent(self) -> tuple[Span, ...]:
        """The times in which it could not do anything."""
        return merged([*self.down, *self.frozen])


def away(processes: Sequence[Process], absent: Sequence[Span], cut: Sequence[Span]) -> Iterator[Away]:
    """Yields when a member was away, by the events of its processes, its `absent` times and when it was `cut` off."""
    terms = [event.at for event in processes if event.what == "TERM"]
    for span in absent:
        yield Away(span, ordered=any(abs(span.begin - at) < READS for at in terms))
    for span in cut:
        yield Away(span)


def starved(stalls: Sequence[Span]) -> tuple[Span, ...]:
    """Returns when these stalls may have kept a member from renewing its check until that expired."""
    lengths = Lengths(stalls)
    ends = (stall.end for stall in stalls)
    return merged(Span(end - EXPIRES, end) for end in ends if lengths.between(end - EXPIRES, end) > EXPIRES - RENEWED)


def moves(members: Iterable[Iterable[Away]], all_absent: Sequence[Span], interval: float) -> list[Move]:
    """Returns the moves. A member that was lost must be missed first; one that leaves or joins hands over."""
    handed_over, lost = interval / 2 + READS, TAKEN_OVER - interval
    found = [Move(Span(span.end, span.end + TAKEN_OVER), lost) for span in all_absent]
    for each in (each for of_member in members for each in of_member):
        begin, end = each.span
        found.append(
            Move(Span(begin, begin + (LEAVES if each.ordered else TAKEN_OVER)), handed_over if each.ordered else lost)
        )
        found.append(Move(Span(end, end + JOINS), handed_over))
    return sorted(found, key=lambda move: move.span)


def combined(
    scrapes: Sequence[Scrape], member_of: Callable[[int], str], down: Mapping[str, Sequence[Span]]
) -> list[Scrape]:
    """Returns what all members showed together, at each moment when all running members had just been scraped. The
    `pid` is the sum of their pids."""
    last: dict[str, Scrape] = {}
    found = []
    for scrape in scrapes:
        last[member_of(scrape.pid)] = scrape
        running = [
            member for member, spans in down.items() if not any(span.begin <= scrape.at < span.end for span in spans)
        ]
        parts = [last[member] for member in running if member in last and scrape.at - last[member].sent < FRESH]
        if len(parts) == len(running) and parts:
            found.append(_joined(parts, scrape))
    return found


def _joined(parts: Sequence[Scrape], newest: Scrape) -> Scrape:
    return replace(
        newest,
        sent=min(part.sent for part in parts),
        pid=sum(part.pid for part in parts),
        pods={pod: series for part in parts for pod, series in part.pods.items()},
        values={},
        invalid=tuple(sorted({pod for part in parts for pod in part.invalid})),
        strange=(),
        series=0,
    )


def down_of(processes: Sequence[Process], since: float) -> tuple[Span, ...]:
    """Returns when none of these processes listened."""
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


def frozen_of(processes: Sequence[Process]) -> tuple[Span, ...]:
    """Returns when a process was stopped by SIGSTOP."""
    spans, begin = [], dict[int, float]()
    for event in processes:
        match event.what:
            case "STOP":
                begin.setdefault(event.pid, event.at)
            case "CONT" | "ended" if event.pid in begin:
                spans.append(Span(begin.pop(event.pid), event.at))
    return merged([*spans, *(Span(since, math.inf) for since in begin.values())])
