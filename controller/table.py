"""Pods as a table for people: in colour on a terminal, in plain columns of full width everywhere else.

What is shown came from pods and from whoever may write to Consul, so nothing of it reaches a terminal unless it can be
printed: an escape sequence in an error message would be obeyed.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from controller.inspection import Sight
from reconcilers.health import HealthState

STYLES = {
    HealthState.CRITICAL: "bold red",
    HealthState.UNKNOWN: "yellow",
    HealthState.WARNING: "magenta",
    HealthState.PASSING: "green",
}
WORST_FIRST = tuple(STYLES)
UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


class Row(NamedTuple):
    """One pod on one node, in words; the names of the fields are the heads of the columns."""

    pod: str
    node: str
    state: str
    since: str
    probed: str
    reason: str
    detail: str


def row(sight: Sight, now: float) -> Row:
    """What there is to say at `now`, in seconds since the epoch."""
    record = sight.record
    if record is None:
        return Row(sight.key.pod, sight.key.node, HealthState.UNKNOWN, "-", "-", "-", "no health is published")
    detail = printable(record.detail)
    if sight.intent is None:
        detail = "; ".join(filter(None, ("not scheduled", detail)))
    return Row(
        sight.key.pod,
        sight.key.node,
        record.status,
        _age(now - record.since) if record.since else "-",
        _age(now - record.last_probe) if record.last_probe else "-",
        record.reason or "-",
        detail,
    )


def state(sight: Sight) -> HealthState:
    """A pod without record is unknown."""
    return sight.record.status if sight.record else HealthState.UNKNOWN


def plain(rows: Sequence[Row]) -> str:
    """Columns of text, each as wide as its longest word, below their heads."""
    lines = [tuple(name.upper() for name in Row._fields), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def colourful(rows: Iterable[Row], caption: str) -> Table:
    """The same for a terminal; a detail that has no room there is cut."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, caption=Text(caption), caption_justify="left")
    for name in Row._fields:
        table.add_column(name.upper(), no_wrap=name != "detail")
    for each in rows:
        style = STYLES[HealthState(each.state)]
        table.add_row(*(_cell(word, style if name == "state" else "") for name, word in each._asdict().items()))
    return table


def totals(sights: Iterable[Sight]) -> str:
    """`5 pods: 1 critical, 4 passing`."""
    counts = Counter(map(state, sights))
    words = ", ".join(f"{counts[each]} {each}" for each in WORST_FIRST if counts[each])
    number = counts.total()
    return f"{number} pod{'' if number == 1 else 's'}{f': {words}' if words else ''}"


def printable(text: str) -> str:
    """`text` on one line, without anything that a terminal would obey."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _cell(word: str, style: str) -> Text:
    return Text(word, style, no_wrap=True, overflow="ellipsis")


def _age(seconds: float) -> str:
    """The two largest units: `3d4h`, `12m30s`, `8s`."""
    rest = max(0, int(seconds))
    parts: list[str] = []
    for size, unit in UNITS:
        amount, rest = divmod(rest, size)
        if amount or parts:
            parts.append(f"{amount}{unit}" if amount else "")
    return "".join(parts[:2]) or "0s"
