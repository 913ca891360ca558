"""How many probes may start, and which are next: with given times, without a loop."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.probes.admission import BEGIN_WITH, MOST_LAG, TURNS, Admission, DueQueue
from controller.probes.kept import WINDOW, Kept


@dataclass(slots=True)
class Check:
    name: str
    interval: float
    last: float = 0.0
    probes: int = 0


def test_more_may_start_while_the_loop_is_prompt_and_others_wait() -> None:
    admission = Admission()
    assert [admission.allow(0.01, 1_000) for _ in range(3)] == [BEGIN_WITH + 1, BEGIN_WITH + 2, BEGIN_WITH + 3]
    assert [admission.allow(0.01, 0) for _ in range(3)] == [BEGIN_WITH + 3] * 3, "nobody needs more"


def test_half_as_many_may_start_after_a_late_turn_and_then_what_was_started_before_is_let_end() -> None:
    admission = Admission()
    allowed = [admission.allow(2 * MOST_LAG, 1_000) for _ in range(TURNS + 1)]
    assert allowed == [BEGIN_WITH // 2] * TURNS + [BEGIN_WITH // 4]
    assert admission.allow(0.0, 1_000) == BEGIN_WITH // 4 + 1


def test_one_probe_may_always_start() -> None:
    admission = Admission()
    assert {admission.allow(10.0, 1) for _ in range(100)} >= {1}
    assert admission.limit == 1


@given(st.floats(0.0001, 0.01), st.floats(0.0, 0.2))
def test_the_lag_settles_below_twice_what_is_allowed_whatever_a_probe_costs(cost: float, stop: float) -> None:
    """The loop handles in each turn all that it started in the turn before. Once it is stopped for a while."""
    admission, lags = Admission(), []
    lag = stop
    for _ in range(400):
        lag = admission.allow(lag, 10_000) * cost
        lags.append(lag)
    settled = lags[-100:]
    assert max(settled) <= 2 * max(MOST_LAG, cost)
    assert sum(settled) / len(settled) >= min(MOST_LAG / 2, cost)


def test_the_check_whose_last_probe_is_the_oldest_in_its_intervals_goes_first() -> None:
    queue: DueQueue[Check] = DueQueue()
    for check in (Check("minutely", 60.0, last=0.0), Check("late", 5.0, last=80.0), Check("later", 5.0, last=70.0)):
        queue.add(check)
    assert len(queue) == 3
    assert {check.name for check in queue} == {"minutely", "late", "later"}
    assert [queue.pop(100.0).name for _ in range(3)] == ["later", "late", "minutely"]
    assert queue.age == pytest.approx(100 / 60)
    with pytest.raises(ValueError, match="empty"):
        queue.pop(100.0)


@given(st.lists(st.sampled_from([1.0, 1.1, 5.0, 30.0]), min_size=4, max_size=60), st.floats(0.2, 0.9))
def test_where_only_a_share_can_be_kept_every_check_is_probed_at_the_same_share(
    intervals: list[float], share: float
) -> None:
    checks = [Check(str(number), interval) for number, interval in enumerate(intervals)]
    capacity = share * sum(1 / check.interval for check in checks)
    queue: DueQueue[Check] = DueQueue()
    waiting, seconds, step, credit = set[str](), 600.0, 0.1, 0.0
    for tick in range(int(seconds / step)):
        now = tick * step
        for check in checks:
            if now - check.last >= check.interval and check.name not in waiting:
                waiting.add(check.name)
                queue.add(check)
        credit = min(credit + capacity * step, 1 + capacity * step)
        while credit >= 1 and queue:
            check = queue.pop(now)
            waiting.discard(check.name)
            check.last, check.probes, credit = now, check.probes + 1, credit - 1
    longest = max(intervals) / share * 2
    kept = [check.probes * check.interval / (seconds - longest) for check in checks if check.interval < 30]
    assert all(each > share * 0.6 for each in kept), kept


def test_all_probes_are_kept_when_none_was_left_out() -> None:
    kept = Kept()
    for second in range(100):
        kept.count(float(second), 10, 0)
    assert (kept.ratio, kept.is_overloaded) == (1.0, False)


def test_the_share_is_of_about_the_last_minute() -> None:
    kept = Kept()
    for second in range(30):
        kept.count(float(second), 61, 39)
    assert kept.ratio == pytest.approx(0.61)
    assert kept.is_overloaded
    assert kept.sentence() == (
        "this controller is overloaded: it keeps 61 % of the probes; intervals 1.7 times as long would fit"
    )
    assert kept.sentence(5.0) == (
        "this controller is overloaded: it keeps 61 % of the probes; an interval of 8.2 s would fit"
    )
    for second in range(30, 30 + int(WINDOW) + 10):
        kept.count(float(second), 100, 0)
    assert (kept.ratio, kept.is_overloaded) == (1.0, False)


def test_an_overload_that_is_nearly_over_goes_on() -> None:
    kept = Kept()
    kept.count(0.0, 90, 10)
    assert kept.is_overloaded
    kept.count(WINDOW + 10, 97, 3)
    assert kept.is_overloaded
    kept.count(2 * WINDOW + 20, 995, 5)
    assert not kept.is_overloaded


def test_a_controller_that_keeps_nothing_names_no_interval() -> None:
    kept = Kept()
    kept.count(0.0, 0, 10)
    assert kept.sentence(5.0) == "this controller is overloaded: it keeps 0 % of the probes"
