"""Pods as a table for people, on a terminal and elsewhere."""

import re
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO

from rich.console import Console

from controller.cli import table
from controller.cli.condition import REMAINS
from controller.cli.inspection import InspectedPod
from reconcilers.health import CheckHealth, HealthState, Reason
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from reconcilers.uptime import TICK, Counted, Uptime

NOW = 1.7e9
MANIFEST = b"id: %s\nstatus_port: 8000\n"
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def sight(
    pod: str, state: HealthState = HealthState.PASSING, reason: Reason = Reason.NONE, detail: str = "", age: float = 0.0
) -> InspectedPod:
    health = CheckHealth(state, reason, NOW - age, detail)
    key = PodKey("web1.example.com", pod)
    return InspectedPod(key, MANIFEST % pod.encode(), None, HealthRecord.of(key, health, NOW - 2))


SIGHTS = (
    sight("isup", age=93_784),
    sight("shop", HealthState.CRITICAL, Reason.STATUS, "answered with status 500", 65),
    InspectedPod(PodKey("web2.example.com", "new"), MANIFEST % b"new", None, None),
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
    assert lines[0].split() == ["POD", "NODE", "STATE", "SINCE", "PUBLISHED", "REASON", "DETAIL"]
    assert lines[1].split() == ["isup", "web1.example.com", "passing", "1d2h", "2s", "-"]
    assert lines[2].split(maxsplit=6)[3:] == ["1m5s", "2s", "status", "answered with status 500"]
    assert lines[3].split(maxsplit=6)[2:] == ["unknown", "-", "-", "-", "no health is published"]
    assert lines[4].endswith(detail.strip())
    assert (
        len({line.index(word) for line, word in zip(lines, ("NODE", "web1", "web1", "web2", "web1"), strict=True)}) == 1
    )


def test_what_no_longer_is_scheduled_is_said_to_be_so() -> None:
    left = sight("isup", HealthState.CRITICAL, Reason.STATUS, "status 500")
    assert table.row(InspectedPod(left.key, None, None, left.record), NOW).detail == f"{REMAINS}; status 500"
    assert table.row(InspectedPod(left.key, None, b"", None), NOW).detail == "not scheduled"


def test_times_that_are_not_known_or_not_yet_are_no_nonsense() -> None:
    key = PodKey("web1", "isup")
    old = HealthRecord(key, HealthState.PASSING)
    assert table.row(InspectedPod(key, MANIFEST % b"isup", None, old), NOW)[3:5] == ("-", "-")
    ahead = HealthRecord(key, HealthState.PASSING, since=NOW + 60, last_probe=NOW - 3600)
    assert table.row(InspectedPod(key, MANIFEST % b"isup", None, ahead), NOW)[3:5] == ("0s", "1h")


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
    wide = InspectedPod(PodKey("web1", "isup"), MANIFEST % b"isup", None, None)
    lines = table.columns([table.row(wide, NOW)._replace(reason="\u4e2d\u6587"), table.row(wide, NOW)])
    assert lines.splitlines()[1].endswith("\u4e2d\u6587    no health is published")
    assert lines.splitlines()[2].endswith("-       no health is published")


def test_a_terminal_gets_every_word_or_on_a_narrow_one_those_that_say_why() -> None:
    detail = "answered with status 500 and then with something else"
    row = table.row(sight("shop", HealthState.CRITICAL, Reason.STATUS, detail), NOW)
    full = [*zip(table.HEADS, row, strict=True)]
    del full[table.UPTIME]
    why = ("WHY", f"status: {detail}")
    columns = {
        90: full,
        60: [("STATE", row.state), ("POD", row.pod), ("NODE", row.node), why],
        50: [("STATE", row.state), ("POD", row.pod), why],
        30: [("STATE", row.state), ("POD", row.pod)],
    }
    for width, shown_columns in columns.items():
        for one_line in (False, True):
            lines = plain(shown([row], width, one_line=one_line))
            assert max(map(len, lines)) <= width
            assert [head for head, _ in shown_columns] == lines[0].split()
        words = "".join(word for column in shown_columns for word in column).replace(" ", "")
        assert sorted("".join(plain(shown([row], width))).replace(" ", "")) == sorted(words)


def test_the_reason_is_not_repeated_by_the_sentence() -> None:
    row = table.row(sight("shop", HealthState.UNKNOWN, Reason.FLAPPING, "flapping: 3 changes of status"), NOW)
    assert row.detail == "3 changes of status"


def test_a_narrow_terminal_never_cuts_the_state() -> None:
    row = table.row(sight("a-long-name-of-a-pod-" * 4, HealthState.CRITICAL, Reason.STATUS, "status 500"), NOW)
    for width in (60, 50, 30):
        _, line = plain(shown([row._replace(node="a-long-name-of-a-node-" * 4)], width, one_line=True))
        assert line.split()[0] == "critical"
        assert len(line) <= width
        assert ("status" in line) == (width > 30)


def test_pods_are_sorted_by_state_name_node_or_last_change() -> None:
    pods = (
        sight("b", age=5),
        sight("a", HealthState.CRITICAL, age=60),
        InspectedPod(PodKey("web0", "c"), None, b"", None),
    )
    orders = {"state": "acb", "pod": "abc", "node": "cab", "since": "bac"}
    assert {by: "".join(pod.key.pod for pod in table.ordered(pods, by)) for by in table.SORTS} == orders


def test_the_uptime_is_shown_where_it_is_published_and_has_room() -> None:
    up = sight("up")
    assert up.record
    record = replace(up.record, uptime=Uptime(int(NOW / TICK) - 900, Counted.UP).encode())
    rows = [table.row(InspectedPod(up.key, MANIFEST % b"up", None, record), NOW), table.row(sight("x"), NOW)]
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
