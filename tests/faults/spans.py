"""Spans of time, and how they put off a deadline."""

import bisect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """A time from `begin` to `end`, in seconds. `end` may be infinite."""

    begin: float
    end: float

    def overlaps(self, begin: float, end: float) -> bool:
        return self.begin < end and begin < self.end


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Returns the same time in as few spans as possible, in order."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.begin <= found[-1].end:
            found[-1] = Span(found[-1].begin, max(found[-1].end, span.end))
        else:
            found.append(span)
    return tuple(found)


def common(all_spans: Iterable[Iterable[Span]]) -> tuple[Span, ...]:
    """Returns the time that lies in all of these."""
    found: tuple[Span, ...] | None = None
    for spans in map(merged, all_spans):
        both = spans if found is None else tuple(_both(found, spans))
        found = both
    return found or ()


def _both(some: Sequence[Span], others: Sequence[Span]) -> Iterator[Span]:
    for one, other in itertools.product(some, others):
        if one.overlaps(*other):
            yield Span(max(one.begin, other.begin), min(one.end, other.end))


def put_off(begin: float, bound: float, spans: Sequence[Span], recovery: float) -> float:
    """Returns when something is due that begins at `begin` and takes at most `bound`. Each of the `spans` that overlaps
    this time puts the deadline off: then it is due `recovery` seconds after the end of the span. Infinite if the span
    has no end."""
    due = begin + bound
    for span in sorted(spans):
        if span.overlaps(begin, due):
            due = max(due, span.end + recovery)
    return due


class Lengths:
    """The total length of spans, which may overlap. It is fast for many questions about very many spans."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans = sorted(spans, key=lambda span: span.end)
        self._ends = [span.end for span in self._spans]
        self._totals = [0.0, *itertools.accumulate(span.end - span.begin for span in self._spans)]
        self._longest = max((span.end - span.begin for span in self._spans), default=0.0)

    def between(self, begin: float, end: float) -> float:
        """Returns the seconds of the spans in this time; 0 if it ends before it begins."""
        return self.before(end) - self.before(begin) if begin < end else 0.0

    def before(self, moment: float) -> float:
        """Returns the seconds of the spans before `moment`."""
        over = bisect.bisect_right(self._ends, moment)
        last = bisect.bisect_right(self._ends, moment + self._longest, over)
        return self._totals[over] + sum(max(0.0, moment - span.begin) for span in self._spans[over:last])
