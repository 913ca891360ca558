"""Pods as a table: drawn by rich for a terminal, as plain columns elsewhere.

rich needs 0.25 ms for a row. A script that reads the pods of a fleet gets plain columns, forty times as fast.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import OverflowMethod
from rich.table import Table
from rich.text import Text

from controller.cli.condition import STATES
from controller.cli.inspection import InspectedPod
from reconcilers.escaping import safe_words
from reconcilers.record import HealthRecord

STYLES: Mapping[str, str] = dict(zip(STATES, ("bold red", "yellow", "magenta", "green", "cyan", "dim"), strict=True))
SORTS = ("state", "pod", "node", "since")
UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


class Row(NamedTuple):
    """One pod on one node in words that are safe to show. The names of the fields are the heads of the columns."""

    pod: str
    node: str
    state: str
    since: str
    published: str
    uptime: str
    reason: str
    detail: str


HEADS = tuple(name.upper() for name in Row._fields)
UPTIME = Row._fields.index("uptime")
WINDOW = "24h"
WIDE = 120
"""The least columns of a terminal that has room for the uptime."""
FULL, NARROW, TINY = 80, 60, 45
"""The least columns for all other columns, for the node, and for why a pod is in its state."""


def row(pod: InspectedPod, now: float) -> Row:
    """The row of a pod at `now`, in seconds since the epoch."""
    record, condition = pod.record, pod.condition
    why = safe_words(said(record)) if record else ""
    detail = "; ".join(filter(None, (safe_words(condition.note), why)))
    since, published, uptime, reason = "", "", "", ""
    if record:
        since = age(now - record.since) if record.since else ""
        published = age(now - record.last_probe) if record.last_probe else ""
        uptime = next((share.text for share in record.shares(now) if share.window == WINDOW), "")
        reason = record.reason
    known = [each or "-" for each in (since, published, uptime, reason)]
    return Row._make([pod.key.pod, pod.key.node, condition.state, *known, detail])


def said(record: HealthRecord) -> str:
    """The detail of a record, without the reason before it: the reason has a place of its own."""
    return record.detail.removeprefix(f"{record.reason}: ")


def ordered(pods: Iterable[InspectedPod], by: str) -> list[InspectedPod]:
    """Sorts pods by one of `SORTS`: the worst state first, the last change first, or by name."""
    keys: Mapping[str, Callable[[InspectedPod], Any]] = {
        "state": lambda pod: (STATES.index(pod.condition.state), pod.key.pod, pod.key.node),
        "pod": lambda pod: (pod.key.pod, pod.key.node),
        "node": lambda pod: pod.key,
        "since": lambda pod: (-pod.record.since if pod.record else 0.0, pod.key),
    }
    return sorted(pods, key=keys[by])


def columns(rows: Iterable[Row]) -> str:
    """Plain columns of pods; see `plain`."""
    lines = list(rows)
    if _have_uptime(lines):
        return plain(HEADS, lines)
    return plain(_without_uptime(HEADS), map(_without_uptime, lines))


def plain(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Plain columns below their heads, each as wide as its longest word. Nothing is cut or wrapped."""
    lines = [heads, *rows]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(set_cell_size, line, widths)).rstrip() for line in lines)


def drawn(rows: Iterable[Row], width: int, *, one_line: bool = False) -> Table:
    """A table for a terminal of `width` columns. What is wider is wrapped; with `one_line` it is cut. A narrow terminal
    gets fewer columns, with the state first. The state is never cut."""
    lines = list(rows)
    overflow: OverflowMethod = "ellipsis" if one_line else "fold"
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    names = _names(width, lines)
    longest = max((len(each.state) for each in lines), default=0)
    for name in names:
        wraps = not one_line and name != "state"
        least = {"state": longest, "detail": width // 4}.get(name)
        most = width // len(names) if name in {"pod", "node"} and TINY <= width < FULL else None
        head = "WHY" if name == "detail" and width < FULL else name.upper()
        table.add_column(
            head, no_wrap=not wraps and name != "detail", overflow=overflow, min_width=least, max_width=most
        )
    for each in lines:
        texts = {name: getattr(each, name) for name in names}
        if width < FULL and "detail" in texts:
            texts["detail"] = ": ".join(word for word in (each.reason, each.detail) if word not in {"", "-"})
        cells = {name: Text(text, no_wrap=one_line, overflow=overflow) for name, text in texts.items()}
        cells["state"].stylize(STYLES[each.state])
        table.add_row(*cells.values())
    return table


def _names(width: int, rows: Sequence[Row]) -> Sequence[str]:
    """The columns that have room, by the names of their fields."""
    if width >= FULL:
        return Row._fields if width >= WIDE and _have_uptime(rows) else _without_uptime(Row._fields)
    if width >= NARROW:
        return "state", "pod", "node", "detail"
    return ("state", "pod", "detail") if width >= TINY else ("state", "pod")


def _have_uptime(rows: Iterable[Row]) -> bool:
    return any(each.uptime != "-" for each in rows)


def _without_uptime(line: Sequence[str]) -> Sequence[str]:
    return (*line[:UPTIME], *line[UPTIME + 1 :])


def totals(pods: Iterable[InspectedPod]) -> str:
    """`5 pods: 1 critical, 4 passing`."""
    counts = Counter(pod.condition.state for pod in pods)
    words = ", ".join(f"{counts[each]} {each}" for each in STATES if counts[each])
    number = counts.total()
    return f"{number} pod{'' if number == 1 else 's'}{f': {words}' if words else ''}"


def age(seconds: float) -> str:
    """The two largest units: `3d4h`, `12m30s`, `8s`."""
    rest = max(0, int(seconds))
    parts: list[str] = []
    for size, unit in UNITS:
        amount, rest = divmod(rest, size)
        if amount or parts:
            parts.append(f"{amount}{unit}" if amount else "")
    return "".join(parts[:2]) or "0s"
