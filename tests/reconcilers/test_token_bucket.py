"""The token bucket: a burst, then a steady rate, whatever the clock does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.token_bucket import TokenBucket


def test_a_new_bucket_is_full() -> None:
    bucket = TokenBucket(3, 10.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


def test_a_token_comes_back_every_refill_seconds() -> None:
    bucket = TokenBucket(1, 10.0)
    assert [bucket.take(now) for now in (0.0, 9.0, 10.0, 19.0, 20.0)] == [True, False, True, False, True]


def test_the_bucket_never_holds_more_than_its_capacity() -> None:
    bucket = TokenBucket(2, 1.0)
    assert [bucket.take(now) for now in (0.0, 1_000.0, 1_000.0, 1_000.0)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("taken", "later", "wait"), [(0, 0.0, 0.0), (1, 0.0, 0.0), (2, 0.0, 4.0), (2, 1.0, 3.0), (2, 9.0, 0.0)]
)
def test_the_wait_is_the_time_until_a_token_is_there(taken: int, later: float, wait: float) -> None:
    bucket = TokenBucket(2, 4.0)
    for _ in range(taken):
        assert bucket.take(50.0)
    assert bucket.wait(50.0 + later) == pytest.approx(wait)


def test_a_clock_that_steps_back_gives_no_token_twice() -> None:
    bucket = TokenBucket(1, 10.0)
    assert [bucket.take(now) for now in (100.0, 0.0, 100.0)] == [True, False, False]


def test_another_refill_holds_from_then_on() -> None:
    bucket = TokenBucket(1, 10.0)
    assert bucket.take(0.0)
    bucket.refill = 2.0
    assert bucket.take(2.0)


@given(
    st.integers(1, 5),
    st.floats(0.01, 100.0),
    st.lists(st.floats(-10.0, 1_000.0), max_size=50),
)
def test_no_more_is_given_than_the_burst_and_the_rate(capacity: int, refill: float, steps: list[float]) -> None:
    bucket = TokenBucket(capacity, refill)
    now, clock, given_away = 0.0, [0.0], int(bucket.take(0.0))
    for step in steps:
        now += step
        clock.append(now)
        given_away += bucket.take(now)
    assert given_away <= capacity + max(clock) / refill + 1e-6


@given(st.integers(1, 5), st.floats(0.01, 100.0), st.lists(st.floats(0.0, 50.0), max_size=20))
def test_after_the_wait_a_token_is_there(capacity: int, refill: float, steps: list[float]) -> None:
    bucket = TokenBucket(capacity, refill)
    now = 0.0
    for step in steps:
        now += step
        bucket.take(now)
    wait = bucket.wait(now)
    assert 0 <= wait <= refill
    assert bucket.take(now + wait + 1e-6 * refill)
