"""The share of the time in which a pod was up, compared with the exact share."""

import zlib
from base64 import b64encode
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.health import HealthState
from reconcilers.uptime import (
    CELLS,
    COUNTED,
    LATEST,
    LONGEST,
    MAX_TEXT,
    NOTHING,
    TICK,
    WINDOWS,
    Counted,
    Share,
    Uptime,
    UptimeError,
    Window,
    decode,
)

UP, DOWN, NOT = Counted.UP, Counted.DOWN, Counted.NOT
HOUR = 3_600 // TICK
DAY = 24 * HOUR
START = 882_000_000
PERIODS = st.lists(st.tuples(st.sampled_from(Counted), st.integers(0, 40 * DAY) | st.integers(0, HOUR)), max_size=20)


def lived(periods: Sequence[tuple[Counted, int]], start: int = START) -> tuple[Uptime, int]:
    """The uptime after periods of some ticks each, and the end of the last one."""
    uptime, now = Uptime(start), start
    for counted, ticks in periods:
        uptime = uptime.after(counted, now)
        now += ticks
    return uptime, now


def exact(periods: Sequence[tuple[Counted, int]], window: Window, counted: Counted) -> int:
    """The seconds of one kind in a window at the end of the periods."""
    rest, seconds = window.length, 0
    for kind, ticks in reversed(periods):
        inside = min(rest, ticks)
        rest -= inside
        seconds += inside * TICK if kind is counted else 0
    return seconds


def shares(uptime: Uptime, now: int) -> dict[str, Share]:
    return {share.window: share for share in uptime.shares(now)}


@given(PERIODS)
def test_a_share_differs_from_the_exact_one_by_less_than_a_bucket(periods: list[tuple[Counted, int]]) -> None:
    uptime, now = lived(periods)
    for window, share in zip(WINDOWS, uptime.shares(now), strict=True):
        bucket = window.width * TICK
        assert abs(share.up - exact(periods, window, UP)) < bucket
        assert abs(share.down - exact(periods, window, DOWN)) < bucket
        assert 0 <= share.known <= share.length + 0.001


@given(PERIODS)
def test_a_share_is_exact_where_the_oldest_bucket_is_of_one_kind(periods: list[tuple[Counted, int]]) -> None:
    even = [*periods, (UP, 2 * HOUR), (DOWN, HOUR // 4), (UP, HOUR // 4)]
    uptime, now = lived(even)
    share = shares(uptime, now)["1h"]
    assert (share.up, share.down) == (2_700, 900)


@given(PERIODS, st.lists(st.integers(0, 40 * DAY), max_size=5))
def test_nothing_depends_on_when_the_time_is_put_into_buckets(
    periods: list[tuple[Counted, int]], looks: list[int]
) -> None:
    uptime, now = lived(periods)
    looked = uptime
    for later in sorted(looks):
        looked = looked.at(now + later)
    end = now + max(looks, default=0)
    assert looked.at(end) == uptime.at(end)


@given(PERIODS, st.integers(-40 * DAY, 40 * DAY))
def test_an_uptime_survives_its_text_and_another_clock(periods: list[tuple[Counted, int]], difference: int) -> None:
    uptime, now = lived(periods)
    text = uptime.encode()
    assert len(text) <= MAX_TEXT
    assert text.isascii()
    assert not set(text) & set(" \"\\'\n")
    assert decode(text) == uptime
    assert decode(text).rebased(difference).shares(now - difference) == uptime.shares(now)


@given(PERIODS)
def test_the_state_of_a_pod_counts_until_it_changes(periods: list[tuple[Counted, int]]) -> None:
    uptime, now = lived(periods)
    assert uptime.after(uptime.counted, now + 5) is uptime
    assert uptime.after(UP, now).at(now).cells == uptime.at(now).cells


def test_what_counts() -> None:
    assert {state: str(COUNTED[state]) for state in HealthState} == {
        HealthState.PASSING: "u",
        HealthState.WARNING: "u",
        HealthState.CRITICAL: "d",
        HealthState.UNKNOWN: "n",
    }


def test_time_that_is_not_counted_is_neither_up_nor_down() -> None:
    uptime, now = lived([(UP, HOUR), (NOT, 22 * HOUR), (DOWN, HOUR)])
    share = shares(uptime, now)["24h"]
    assert (share.up, share.down, share.length, share.ratio) == (3_600, 3_600, 86_400, 0.5)
    assert shares(uptime, now)["1h"].ratio == 0.0


def test_a_clock_that_goes_back_takes_no_time_away() -> None:
    uptime, now = lived([(UP, HOUR)])
    assert uptime.at(now).at(now - HOUR) == uptime.at(now)


@pytest.mark.parametrize(
    ("up", "down", "text"),
    [(0, 0, "unknown"), (5, 0, "100 %"), (0, 5, "0.00 %"), (999_999, 1, "99.99 %"), (1, 2, "33.33 %")],
)
def test_only_a_pod_that_was_never_down_has_a_hundred_percent(up: int, down: int, text: str) -> None:
    assert Share("1h", 3_600, up, down).text == text


def test_a_window_of_which_more_than_a_hundredth_is_not_known_is_partial() -> None:
    assert [Share("24h", 1_000, up, 500).is_partial for up in (489, 490)] == [True, False]
    assert [Share(window.name, 1, 1, 0).words for window in WINDOWS] == ["hour", "24 hours", "7 days", "30 days"]


def test_an_uptime_without_known_time_is_empty() -> None:
    uptime, now = lived([(NOT, HOUR), (UP, 5), (NOT, 0)])
    assert Uptime(START).is_empty(START + DAY)
    assert not lived([(UP, 0)])[0].is_empty(START)
    assert not uptime.is_empty(now + LONGEST)
    assert uptime.is_empty(now + LONGEST + DAY)
    assert uptime.at(now + LONGEST + DAY).cells is NOTHING


def test_an_uptime_is_small() -> None:
    assert CELLS.size == 392
    assert len(lived([(UP, 90 * DAY)])[0].encode()) < 20
    assert len(lived([(UP, 90 * DAY), (DOWN, 3), (UP, 1)])[0].encode()) < 150


def text(cells: bytes, head: str = "u:5:0") -> str:
    return f"{head}:{b64encode(cells).decode()}"


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "u:5",
        "x:5:0:",
        "u:five:0:",
        "u:-1:0:",
        f"u:{LATEST}:0:",
        f"u:5:-{LATEST}:",
        "u:5:0:*",
        "u:5:0:" + "A" * MAX_TEXT,
        text(b"not compressed"),
        text(zlib.compress(bytes(CELLS.size - 1))),
        text(zlib.compress(bytes(1_000_000))),
        text(zlib.compress(b"\xff" * CELLS.size)),
        "\udcff:5:0:",
    ],
)
def test_any_other_text_is_refused(wrong: str) -> None:
    with pytest.raises(UptimeError, match="not an uptime"):
        decode(wrong)


def test_a_text_of_nothing_is_read() -> None:
    assert decode(text(zlib.compress(bytes(CELLS.size)))) == Uptime(5, UP)
