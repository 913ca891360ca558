"""Pods as a table for people, on a terminal and elsewhere."""

import re

from controller.cli import table
from controller.cli.inspection import InspectedPod
from reconcilers.health import CheckHealth, HealthState, Reason
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey

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


def test_plain_columns_stand_below_each_other_and_are_never_cut() -> None:
    detail = "a long story " * 30
    rows = [table.row(each, NOW) for each in (*SIGHTS, sight("x", HealthState.CRITICAL, Reason.BODY, detail))]
    lines = table.text(rows, colour=False).splitlines()
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
    coloured = table.text(rows, colour=True)
    assert "\x1b[31m\x1b[1mcritical" in coloured
    assert "\x1b[32mpassing" in coloured
    assert [line.rstrip() for line in ESCAPE.sub("", coloured).splitlines()] == table.text(
        rows, colour=False
    ).splitlines()


def test_letters_of_double_width_count_twice() -> None:
    wide = InspectedPod(PodKey("web1", "isup"), b"", None, None)
    lines = table.text([table.row(wide, NOW)._replace(reason="\u4e2d\u6587"), table.row(wide, NOW)], colour=False)
    assert lines.splitlines()[1].endswith("\u4e2d\u6587    no health is published")
    assert lines.splitlines()[2].endswith("-       no health is published")


def test_totals_are_said_for_none_and_for_one() -> None:
    assert table.totals(()) == "0 pods"
    assert table.totals((sight("isup"),)) == "1 pod: 1 passing"
