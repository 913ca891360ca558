"""Pods as a table for people: columns of text, which are coloured for a terminal.

What is shown came from pods and from whoever may write to Consul, so nothing of it reaches a terminal unless it can be
printed: an escape sequence in an error message would be obeyed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import click
from rich.cells import cell_len

from controller.cli.inspection import InspectedPod
from controller.cli.terminal import printable
from reconcilers.health import HealthState

STYLES: Mapping[HealthState, Mapping[str, Any]] = {
    HealthState.CRITICAL: {"fg": "red", "bold": True},
    HealthState.UNKNOWN: {"fg": "yellow"},
    HealthState.WARNING: {"fg": "magenta"},
    HealthState.PASSING: {"fg": "green"},
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


STATE = Row._fields.index("state")


def row(pod: InspectedPod, now: float) -> Row:
    """What there is to say at `now`, in seconds since the epoch."""
    record = pod.record
    detail = printable(record.detail) if record else "no health is published"
    if pod.intent is None:
        detail = "; ".join(filter(None, ("not scheduled", detail)))
    if record is None:
        return Row(pod.key.pod, pod.key.node, HealthState.UNKNOWN, "-", "-", "-", detail)
    return Row(
        pod.key.pod,
        pod.key.node,
        record.status,
        _age(now - record.since) if record.since else "-",
        _age(now - record.last_probe) if record.last_probe else "-",
        record.reason or "-",
        detail,
    )


def state(pod: InspectedPod) -> HealthState:
    """A pod without record is unknown."""
    return pod.record.status if pod.record else HealthState.UNKNOWN


def text(rows: Iterable[Row], *, colour: bool) -> str:
    """Columns, each as wide as its longest word, below their heads; nothing is cut."""
    lines = [tuple(name.upper() for name in Row._fields), *rows]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    head, *body = (_padded(line, widths) for line in lines)
    if not colour:
        return "\n".join("  ".join(line).rstrip() for line in (head, *body))
    return "\n".join([click.style("  ".join(head).rstrip(), bold=True), *map(_coloured, body)])


def totals(pods: Iterable[InspectedPod]) -> str:
    """`5 pods: 1 critical, 4 passing`."""
    counts = Counter(map(state, pods))
    words = ", ".join(f"{counts[each]} {each}" for each in WORST_FIRST if counts[each])
    number = counts.total()
    return f"{number} pod{'' if number == 1 else 's'}{f': {words}' if words else ''}"


def _padded(words: Iterable[str], widths: Iterable[int]) -> list[str]:
    return [word + " " * (width - cell_len(word)) for word, width in zip(words, widths, strict=True)]


def _coloured(line: list[str]) -> str:
    before, state, after = line[:STATE], line[STATE], line[STATE + 1 :]
    styled = click.style(state, **STYLES[HealthState(state.rstrip())])
    return "  ".join([*before, styled, *after]).rstrip()


def _age(seconds: float) -> str:
    """The two largest units: `3d4h`, `12m30s`, `8s`."""
    rest = max(0, int(seconds))
    parts: list[str] = []
    for size, unit in UNITS:
        amount, rest = divmod(rest, size)
        if amount or parts:
            parts.append(f"{amount}{unit}" if amount else "")
    return "".join(parts[:2]) or "0s"
