"""Latency and phases as coordinates, and times in words."""

import pytest

from controller.health.history import PastProbe
from controller.web.history_svg import drawing, phases
from controller.web.time_text import age, instant, iso, moment, span
from reconcilers.health import Outcome, Phases, Reason


def probe(duration: float, outcome: Outcome = Outcome.SUCCESS) -> PastProbe:
    return PastProbe(0.0, duration, outcome, Reason.NONE, 200)


def test_the_height_of_a_stroke_is_the_duration_of_its_probe_and_is_always_visible() -> None:
    drawn = drawing([probe(0.1), probe(0.05), probe(0.0001)], 3)
    [path] = drawn.strokes.values()
    assert (drawn.width, drawn.height) == (9, 20)
    assert path == "M1 20v-20M4 20v-10M7 20v-2"


def test_the_stroke_of_a_failure_has_full_height_and_does_not_change_the_scale() -> None:
    drawn = drawing([probe(9.0, Outcome.FAILURE), probe(0.1), probe(0.0, Outcome.LOCAL)], 3)
    assert list(drawn.strokes.items()) == [
        (Outcome.SUCCESS, "M4 20v-20"),
        (Outcome.FAILURE, "M1 20v-20"),
        (Outcome.LOCAL, "M7 20v-20"),
    ]


def test_the_newest_probe_is_at_the_right_end() -> None:
    drawn = drawing([probe(0.1)] * 3, 30)
    assert drawn.strokes[Outcome.SUCCESS] == "M82 20v-20M85 20v-20M88 20v-20"
    assert drawn.start == 90.0
    assert drawing([probe(0.1)] * 40, 30).start == 0.0
    assert drawing([probe(0.1)] * 40, 30).strokes[Outcome.SUCCESS].count("M") == 30


@pytest.mark.parametrize(
    ("probes", "label"),
    [
        ([], "not probed yet"),
        ([probe(0.004)], "1 of 1 probes succeeded, in 4 ms"),
        ([probe(0.004), probe(0.2), probe(1.0, Outcome.FAILURE)], "2 of 3 probes succeeded, in 4 ms to 200 ms"),
        ([probe(1.0, Outcome.FAILURE)], "0 of 1 probes succeeded"),
        (
            [probe(0.004), probe(0.2, Outcome.WARNING), probe(1.0, Outcome.FAILURE)],
            "2 of 3 probes succeeded, 1 with a warning, in 4 ms to 200 ms",
        ),
        ([probe(0.0)], "1 of 1 probes succeeded, in 0.0 ms"),
    ],
)
def test_a_drawing_has_a_text_alternative(probes: list[PastProbe], label: str) -> None:
    assert drawing(probes, 30).label == label


def test_the_phases_of_a_probe_fill_the_bar_side_by_side() -> None:
    shown = phases(Phases(dns=0.0, connect=0.1, tls=0.2, first_byte=0.1, transfer=0.0))
    assert [phase.name for phase in shown] == ["connect", "tls", "processing"]
    assert [phase.start for phase in shown] == pytest.approx([0, 25, 75])
    assert [phase.width for phase in shown] == pytest.approx([25, 50, 25])
    assert phases(Phases()) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-3, "0 s"),
        (0.9, "0 s"),
        (119.9, "119 s"),
        (120, "2 min"),
        (7_199, "119 min"),
        (7_200, "2 h"),
        (172_799, "47 h"),
        (172_800, "2 d"),
        (1e7, "115 d"),
    ],
)
def test_an_age_is_shown_in_one_unit(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.00042, "0.4 ms"), (0.0042, "4 ms"), (0.25, "250 ms"), (2.5, "2.5 s"), (12.5, "12 s"), (300, "5 min")],
)
def test_a_duration_is_shown_with_a_precision_that_fits_its_size(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_times_are_shown_in_utc() -> None:
    assert moment(0) == "1970-01-01 00:00:00 UTC"
    assert iso(1e9) == "2001-09-09T01:46:40Z"
    assert instant(0) is None
    assert str(instant(1e9)) == "2001-09-09 01:46:40+00:00"
