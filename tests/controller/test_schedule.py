"""When checks are due: a fixed phase, ticks that bundle checks, no lost check and no early check."""

import math

from hypothesis import given
from hypothesis import strategies as st

from controller.probes.schedule import (
    FIRST_WITHIN,
    GRID,
    HANDED_OVER_WITHIN,
    RESOLUTION,
    SLOTS,
    Schedule,
    first_moment,
    handed_over_moment,
    next_moment,
    next_on_phase,
    phase,
)
from reconcilers.spec import PodKey

KEYS = st.builds(PodKey, st.sampled_from(["web1", "web2"]), st.integers(0, 9999).map("pod-{}".format))
INTERVALS = st.floats(0.1, 3600)
MOMENTS = st.floats(0, 1e7)


@given(KEYS, INTERVALS)
def test_the_phase_lies_within_the_interval(key: PodKey, interval: float) -> None:
    assert 0 <= phase(key, interval) < interval


def test_the_phase_of_a_key_never_changes() -> None:
    assert phase(PodKey("web1", "isup"), 5.0) == 1.6


@given(KEYS, INTERVALS)
def test_checks_of_one_interval_share_slots(key: PodKey, interval: float) -> None:
    slots = max(SLOTS, math.ceil(interval / GRID))
    slot = phase(key, interval) / interval * slots
    assert abs(slot - round(slot)) < 1e-6


@given(KEYS, INTERVALS, MOMENTS, st.floats(0, 1))
def test_a_new_check_is_probed_within_the_interval(key: PodKey, interval: float, asked: float, share: float) -> None:
    now = asked + share * interval
    first = first_moment(key, interval, asked, now, epoch=1.7e9)
    assert now - GRID - 1e-6 <= first <= max(now, asked + FIRST_WITHIN * interval) + 1e-6


def test_a_phase_that_went_by_meanwhile_is_made_up_for_soon() -> None:
    """Otherwise a check that another process has probed until now would have no probe for nearly three intervals."""
    keys = [PodKey("web1", f"pod-{number}") for number in range(2_000)]
    moments = [(next_on_phase(key, 5.0, 0.0, 0.0), first_moment(key, 5.0, 0.0, 0.5, 0.0)) for key in keys]
    missed = [first for in_phase, first in moments if in_phase <= 0.5]
    assert 120 < len(missed) < 280
    assert all(0.5 - GRID <= first <= 1.0 for first in missed)
    assert all(sum(tenth <= first < tenth + GRID for first in missed) < 80 for tenth in (0.5, 0.6, 0.7, 0.8, 0.9))


def test_checks_whose_phase_comes_late_are_no_herd() -> None:
    keys = [PodKey("web1", f"pod-{number}") for number in range(2_000)]
    moments = [(first_moment(key, 10.0, 0.0, 0.0, 0.0), next_on_phase(key, 10.0, 0.0, 0.0)) for key in keys]
    moved = [first for first, in_phase in moments if first != in_phase]
    assert 120 < len(moved) < 280
    assert all(sum(tenth <= first < tenth + 0.9 for first in moved) < 60 for tenth in range(9))


@given(KEYS, INTERVALS, MOMENTS)
def test_a_check_of_another_controller_is_probed_soon(key: PodKey, interval: float, now: float) -> None:
    assert 0 <= handed_over_moment(key, interval, now) - now <= min(interval / 2, HANDED_OVER_WITHIN) + 1e-4


def test_many_checks_of_another_controller_are_spread() -> None:
    moments = [handed_over_moment(PodKey("web1", f"pod-{number}"), 10.0, 100.0) for number in range(2_000)]
    assert all(320 < sum(second <= moment < second + 1 for moment in moments) < 480 for second in range(100, 105))


@given(KEYS, INTERVALS, MOMENTS, st.lists(st.floats(0, 3), min_size=1, max_size=8))
def test_two_probes_of_a_check_are_at_least_half_an_interval_apart_and_at_most_one(
    key: PodKey, interval: float, now: float, lateness: list[float]
) -> None:
    """This holds for any moment of the first probe, and however late the others are."""
    in_phase = next_on_phase(key, interval, now, 1.7e9)
    started = now
    for late in lateness:
        due = next_moment(started, in_phase, interval)
        assert interval / 2 - 1e-5 <= due - started <= interval + RESOLUTION + 1e-5
        started = due + late * interval
    for _ in range(2):
        started = next_moment(started, in_phase, interval)
    turns = (started - in_phase) / interval
    assert abs(turns - round(turns)) * interval < 1e-4, "then it is in phase again"


def test_phases_spread_over_the_interval() -> None:
    tenths = [int(phase(PodKey("web1", f"pod-{number}"), 10.0)) for number in range(2_000)]
    assert all(120 < tenths.count(tenth) < 280 for tenth in range(10))


@given(KEYS, INTERVALS, MOMENTS, st.floats(1.6e9, 1.9e9))
def test_the_next_moment_in_phase_is_after_now_and_within_one_interval(
    key: PodKey, interval: float, now: float, epoch: float
) -> None:
    due = next_on_phase(key, interval, now, epoch)
    assert now - 1e-5 <= due <= now + interval + 1e-5
    turns = (due + epoch - phase(key, interval)) / interval
    assert abs(turns - round(turns)) * interval < 1e-4


@given(KEYS, INTERVALS, MOMENTS)
def test_a_restart_does_not_shift_the_phase(key: PodKey, interval: float, pause: float) -> None:
    """Another process has another monotonic clock, and the same wall clock."""
    wall = 1.7e9 + pause
    first = next_on_phase(key, interval, 1_000.0, wall - 1_000.0) + wall - 1_000.0
    second = next_on_phase(key, interval, 77.0, wall - 77.0) + wall - 77.0
    apart = abs(first - second) % interval
    assert min(apart, interval - apart) < 1e-4


def test_an_empty_schedule_has_no_next_tick() -> None:
    schedule: Schedule[str] = Schedule()
    assert schedule.next_tick() == math.inf
    assert schedule.pop_due(1e9) == []


def test_members_due_about_the_same_time_share_a_tick() -> None:
    schedule: Schedule[str] = Schedule(grid=0.05)
    schedule.add("a", 10.01)
    schedule.add("b", 9.99)
    assert schedule.next_tick() == 10.0
    assert schedule.pop_due(10.0) == [(10.0, "a"), (10.0, "b")]


@given(st.lists(st.floats(0, 100), max_size=50), st.lists(st.floats(0, 101), max_size=20))
def test_every_member_is_handed_out_once_in_time_order_and_never_earlier_than_half_a_grid(
    dues: list[float], moments: list[float]
) -> None:
    schedule: Schedule[int] = Schedule()
    for number, due in enumerate(dues):
        schedule.add(number, due)
    taken: list[tuple[float, int]] = []
    for now in [*sorted(moments), 200.0]:
        batch = schedule.pop_due(now)
        assert all(due <= now for due, _ in batch)
        assert schedule.next_tick() > now
        taken += batch
    assert [due for due, _ in taken] == sorted(due for due, _ in taken)
    assert sorted(number for _, number in taken) == list(range(len(dues)))
    assert all(abs(due - dues[number]) <= RESOLUTION / 2 + 1e-9 for due, number in taken)
