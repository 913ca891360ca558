"""Spans of time, and how they put off a deadline."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """From `begin` to `end`, in seconds; `end` may be infinite."""

    begin: float
    end: float

    def overlaps(self, begin: float, end: float) -> bool:
        return self.begin < end and begin < self.end


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same time in as few spans as possible, in order."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.begin <= found[-1].end:
            found[-1] = Span(found[-1].begin, max(found[-1].end, span.end))
        else:
            found.append(span)
    return tuple(found)


def put_off(begin: float, bound: float, spans: Sequence[Span], recovery: float) -> float:
    """Until when something is due that began at `begin` and takes at most `bound`, where each of the `spans` that falls
    into its time begins it anew: then it is due `recovery` after that one's end. Infinite when one has no end."""
    due = begin + bound
    for span in sorted(spans):
        if span.overlaps(begin, due):
            due = max(due, span.end + recovery)
    return due
