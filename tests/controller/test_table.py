"""Pods as a table for people, on a terminal and elsewhere."""

import io
import re

from rich.console import Console

from controller import table
from controller.inspection import Sight
from reconcilers.health import CheckHealth, HealthState, Reason
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey

NOW = 1.7e9
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def sight(
    pod: str, state: HealthState = HealthState.PASSING, reason: Reason = Reason.NONE, detail: str = "", age: float = 0.0
) -> Sight:
    health = CheckHealth(state, reason, NOW - age, detail)
    key = PodKey("web1.example.com", pod)
    return Sight(key, b"", None, HealthRecord.of(key, health, NOW - 2))


SIGHTS = (
    sight("isup", age=93_784),
    sight("shop", HealthState.CRITICAL, Reason.STATUS, "answered with status 500", 65),
    Sight(PodKey("web2.example.com", "new"), b"", None, None),
)


def printed(sights: tuple[Sight, ...], width: int, *, colour: bool = True) -> str:
    terminal = io.StringIO()
    console = Console(
        file=terminal,
        force_terminal=True,
        width=width,
        no_color=not colour,
        color_system="standard",
        legacy_windows=False,
    )
    console.print(table.colourful([table.row(each, NOW) for each in sights], table.totals(sights)))
    return terminal.getvalue()


def test_plain_columns_stand_below_each_other_and_are_never_cut() -> None:
    detail = "a long story " * 30
    rows = [table.row(each, NOW) for each in (*SIGHTS, sight("x", HealthState.CRITICAL, Reason.BODY, detail))]
    lines = table.plain(rows).splitlines()
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
    assert table.row(Sight(left.key, None, None, left.record), NOW).detail == "not scheduled; status 500"


def test_times_that_are_not_known_or_not_yet_are_no_nonsense() -> None:
    key = PodKey("web1", "isup")
    old = HealthRecord(key, HealthState.PASSING)
    assert table.row(Sight(key, b"", None, old), NOW)[3:5] == ("-", "-")
    ahead = HealthRecord(key, HealthState.PASSING, since=NOW + 60, last_probe=NOW - 3600)
    assert table.row(Sight(key, b"", None, ahead), NOW)[3:5] == ("0s", "1h")


def test_nothing_that_a_terminal_would_obey_is_shown() -> None:
    hostile = sight("isup", HealthState.CRITICAL, Reason.BODY, "\x1b]0;owned\x07 \x9b31m [bold]x[/] \r\n\u202egnp")
    assert table.row(hostile, NOW).detail == "]0;owned 31m [bold]x[/] gnp"
    said = printed((hostile,), 120, colour=False)
    assert "[bold]x[/]" in said
    assert "\x1b]" not in said


def test_a_terminal_gets_colours_and_a_row_for_each_pod_whatever_its_width() -> None:
    wide = printed(SIGHTS, 140)
    assert "\x1b[1;31mcritical" in wide
    assert "\x1b[32mpassing" in wide
    assert "3 pods: 1 critical, 1 unknown, 1 passing" in wide
    for width in (140, 100, 60):
        lines = ESCAPE.sub("", printed(SIGHTS, width)).splitlines()
        assert max(map(len, lines)) <= width
        states = [line.split()[2] for line in lines if "web" in line]
        assert states == ["passing", "critical", "unknown"], "the detail is cut first"


def test_no_colour_is_shown_where_none_is_wanted() -> None:
    assert "\x1b[31m" not in printed(SIGHTS, 140, colour=False)
    assert "\x1b[32m" not in printed(SIGHTS, 140, colour=False)


def test_totals_are_said_for_none_and_for_one() -> None:
    assert table.totals(()) == "0 pods"
    assert table.totals((sight("isup"),)) == "1 pod: 1 passing"
