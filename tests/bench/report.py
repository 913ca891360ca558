"""How results are shown: tables for a person, one JSON document for a program, progress on standard error."""

import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO


@dataclass(frozen=True, slots=True)
class Reach:
    """One figure, and what it may be at most; None for one that only stands beside the others. nan: not measured."""

    what: str
    seen: float
    unit: str
    limit: float | None = None

    @property
    def met(self) -> bool | None:
        return None if self.limit is None else self.seen <= self.limit

    def row(self) -> tuple[str, ...]:
        limit = "" if self.limit is None else f"{self.limit:g}"
        return (
            self.what,
            f"{round(self.seen, 3):,.10g}",
            limit,
            self.unit,
            {True: "yes", False: "NO", None: ""}[self.met],
        )

    def as_json(self) -> Mapping[str, Any]:
        seen = round(self.seen, 3) if math.isfinite(self.seen) else None
        return {"what": self.what, "seen": seen, "unit": self.unit, "limit": self.limit, "met": self.met}


@dataclass(frozen=True, slots=True)
class Table:
    """The first column is aligned to the left, the others, which are figures, to the right."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def write(self, out: TextIO) -> None:
        strong, plain = ("\x1b[1m", "\x1b[0m") if out.isatty() and not os.environ.get("NO_COLOR") else ("", "")
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        print(f"{strong}{self.title}{plain}", file=out)
        print(_line(self.head, widths), file=out)
        for row in self.rows:
            print(_line(row, widths), file=out)
        for note in self.notes:
            print(f"  {note}", file=out)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, *figures = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join((f"  {name.strip().ljust(widths[0])}", *figures))


@dataclass(frozen=True, slots=True)
class Report:
    """What a scenario found, for both kinds of readers."""

    document: Mapping[str, Any]
    tables: Sequence[Table]
    exceeded: Sequence[str] = ()
    """The figures that are above their limits, by name."""

    def write(self, *, as_json: bool) -> None:
        """The tables on standard output; with `as_json` the document there, and the tables on standard error."""
        for table in self.tables:
            table.write(sys.stderr if as_json else sys.stdout)
        if as_json:
            print(json.dumps(_without_nan(self.document), indent=2))


def reached(title: str, work: Mapping[str, Any], of: Sequence[Reach], notes: Sequence[str] = ()) -> Report:
    """The report of a scenario whose figures have limits."""
    table = Table(title, ("what", "seen", "at most", "unit", "met"), [each.row() for each in of], notes)
    exceeded = [each.what for each in of if each.met is False]
    return Report({"work": work, "results": [each.as_json() for each in of]}, [table], exceeded)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Progress:
    """One line on standard error for each step, with the seconds since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, what: str) -> None:
        print(f"[{time.monotonic() - self._began:6.1f} s] {what}", file=sys.stderr, flush=True)
