"""Pods as a table for people, on a terminal and elsewhere."""

import re
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO

from rich.console import Console

from controller.cli import table
from controller.cli.inspection import InspectedPod
from reconcilers.health import CheckHealth, HealthState, Reason
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from reconcilers.uptime import TICK, Counted, Uptime

NOW = 1.7e9
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def sight(
    pod: str, state: HealthState = HealthState.PASSING, reason: Reason = Reason.NONE, detail: str = "", age: float = 0.0
) -> InspectedPod:
    health = CheckHealth(state, reason, NOW - age, detail)
    key = PodKey("web1.example.com", pod)
    return InspectedPod(key, b"", None, HealthRecord.of(key, health, NOW - 2))


SIGHTS = (
    sight("isup", age=93_784),
    sight("shop", HealthState.CRITICAL, Reason.STATUS, "answered with status 500", 65),
    InspectedPod(PodKey("web2.example.com", "new"), b"", None, None),
)


def shown(rows: Sequence[table.Row], width: int, *, one_line: bool = False) -> str:
    """The table on a terminal of `width` columns."""
    console = Console(file=StringIO(), force_terminal=True, color_system="standard", width=width, height=50)
    with console.capture() as captured:
        console.print(table.drawn(rows, width, one_line=one_line))
    return captured.get()


def plain(drawn: str) -> list[str]:
    return [line.rstrip() for line in ESCAPE.sub("", drawn).splitlines()]


def test_plain_columns_stand_below_each_other_and_are_never_cut() -> None:
    detail = "a long story " * 30
    rows = [table.row(each, NOW) for each in (*SIGHTS, sight("x", HealthState.CRITICAL, Reason.BODY, detail))]
    lines = table.columns(rows).splitlines()
    assert lines[0].split() == ["POD", "NODE", "STATE", "SINCE", "PROBED", "REASON", "DETAIL"]
    assert lines[1].split() == ["isup", "web1.example.com", "passing", "1d2h", "2s", "-"]
    assert lines[2].split(maxsplit=6)[3:] == ["1m5s", "2s", "status", "answered with status 500"]
    assert lines[3].split(maxsplit=6)[2:] == ["unknown", "-", "-", "-", "no health is published"]
    assert lines[4].endswith(detail.strip())
    assert (
        len({line.index(word) for line, word in zip(lines, ("NODE", "web1", "web1", "web2", "web1"), strict=True)}) == 1
    )


def test_what_no_longer_is_scheduled_is_said_to_be_so() -> None:
    left = sight("isup", HealthState.CRITICAL, Reason.STATUS, "status 500")
    assert table.row(InspectedPod(left.key, None, None, left.record), NOW).detail == "not scheduled; status 500"
    assert table.row(InspectedPod(left.key, None, b"", None), NOW).detail == "not scheduled; no health is published"


def test_times_that_are_not_known_or_not_yet_are_no_nonsense() -> None:
    key = PodKey("web1", "isup")
    old = HealthRecord(key, HealthState.PASSING)
    assert table.row(InspectedPod(key, b"", None, old), NOW)[3:5] == ("-", "-")
    ahead = HealthRecord(key, HealthState.PASSING, since=NOW + 60, last_probe=NOW - 3600)
    assert table.row(InspectedPod(key, b"", None, ahead), NOW)[3:5] == ("0s", "1h")


def test_nothing_that_a_terminal_would_obey_is_shown() -> None:
    hostile = sight("isup", HealthState.CRITICAL, Reason.BODY, "\x1b]0;owned\x07 \x9b31m [bold]x[/] \r\n\u202egnp")
    assert table.row(hostile, NOW).detail == "\\x1b]0;owned\\x07 \\x9b31m [bold]x[/] \\u202egnp"


def test_colours_change_nothing_but_the_colour() -> None:
    rows = [table.row(each, NOW) for each in SIGHTS]
    coloured = shown(rows, 120)
    assert "\x1b[1;31mcritical" in coloured
    assert "\x1b[32mpassing" in coloured
    assert plain(coloured) == table.columns(rows).splitlines()


def test_letters_of_double_width_count_twice() -> None:
    wide = InspectedPod(PodKey("web1", "isup"), b"", None, None)
    lines = table.columns([table.row(wide, NOW)._replace(reason="\u4e2d\u6587"), table.row(wide, NOW)])
    assert lines.splitlines()[1].endswith("\u4e2d\u6587    no health is published")
    assert lines.splitlines()[2].endswith("-       no health is published")


def test_a_terminal_gets_every_word_however_narrow_it_is() -> None:
    detail = "answered with status 500 and then with something else"
    rows = [table.row(sight("shop", HealthState.CRITICAL, Reason.STATUS, detail), NOW)]
    shown_always = [*zip(table.HEADS, rows[0], strict=True)]
    del shown_always[table.UPTIME]
    words = sorted("".join(word for column in shown_always for word in column).replace(" ", ""))
    for width in (90, 60, 40):
        lines = plain(shown(rows, width))
        assert max(map(len, lines)) <= width
        assert sorted("".join(lines).replace(" ", "")) == words


def test_the_uptime_is_shown_where_it_is_published_and_has_room() -> None:
    up = sight("up")
    assert up.record
    record = replace(up.record, uptime=Uptime(int(NOW / TICK) - 900, Counted.UP).encode())
    rows = [table.row(InspectedPod(up.key, b"", None, record), NOW), table.row(sight("x"), NOW)]
    assert [row.uptime for row in rows] == ["100 %", "-"]
    assert table.columns(rows).splitlines()[0].split() == list(table.HEADS)
    assert table.columns(rows[1:]).splitlines()[0].split() == [head for head in table.HEADS if head != "UPTIME"]
    assert ["100 %" in "".join(plain(shown(rows, width))) for width in (table.WIDE, table.WIDE - 1)] == [True, False]


def test_a_table_with_one_line_for_a_pod_cuts_the_detail_first() -> None:
    rows = [table.row(sight("shop", HealthState.CRITICAL, Reason.STATUS, "a long story " * 30), NOW)]
    head, line = plain(shown(rows, 90, one_line=True))
    assert head.split()[-1] == "DETAIL"
    assert line.split()[:6] == ["shop", "web1.example.com", "critical", "0s", "2s", "status"]
    assert line.endswith("…")


def test_totals_are_said_for_none_and_for_one() -> None:
    assert table.totals(()) == "0 pods"
    assert table.totals((sight("isup"),)) == "1 pod: 1 passing"
