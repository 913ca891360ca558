"""For how long a state that is not published may be published."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.evidence import LATENESS, is_proven
from reconcilers.health import CheckHealth, HealthState, Reason
from reconcilers.spec import CheckSpec, HttpGet, PodKey, Unprobed

KEY = PodKey("web1", "isup")
SPEC = CheckSpec(KEY, HttpGet("web1", 8000, "/_status"), 10.0, 2.0, failure_threshold=3)
PASSING = CheckHealth(HealthState.PASSING, since=100.0)


@pytest.mark.parametrize(
    ("misses", "age", "proven"),
    [
        (0, 0.0, True),
        (0, 10.0 + 2.0, True),  # the next probe is under way until its timeout
        (0, 10.0 + 2.0 + LATENESS, True),
        (0, 10.0 + 2.0 + LATENESS + 0.1, False),
        (0, 3600.0, False),
        (1, 20.0 + 2.0, True),  # a missed probe extends it by an interval
        (1, 3600.0, False),  # but not for an hour
        (2, 30.0 + 2.0, True),
        (2, 30.0 + 2.0 + LATENESS + 0.1, False),
        (0, -0.5, True),
        (0, -600.0, False),  # the clock was set back meanwhile
    ],
)
def test_passing_is_proven_by_a_success_until_the_next_probe_has_ended(misses: int, age: float, proven: bool) -> None:
    for state in (HealthState.PASSING, HealthState.WARNING):
        health = CheckHealth(state, since=100.0, misses=misses, failures=misses)
        assert is_proven(SPEC, health, 5000.0, 5000.0 + age) is proven


@given(st.sampled_from([HealthState.CRITICAL, HealthState.UNKNOWN]), st.floats(0, 1e10), st.floats(0, 1e10))
def test_nothing_else_needs_a_proof(state: HealthState, last_success: float, now: float) -> None:
    assert is_proven(SPEC, CheckHealth(state, Reason.TIMEOUT, since=100.0), last_success, now)


@given(st.floats(0, 1e10))
def test_a_pod_that_is_passing_without_a_probe_needs_none(now: float) -> None:
    assert is_proven(CheckSpec(KEY, Unprobed(), 10.0, 2.0), PASSING, 0.0, now)


@given(
    st.floats(0.1, 600.0),
    st.floats(0.01, 1.0),
    st.integers(1, 10),
    st.integers(0, 9),
    st.floats(0.0, 1.0),
)
def test_in_its_cadence_a_check_that_is_passing_is_always_proven(
    interval: float, share: float, threshold: int, misses: int, moment: float
) -> None:
    """So if only the session is lost, the record can be published again at any moment."""
    spec = CheckSpec(KEY, SPEC.probe, interval, interval * share, failure_threshold=max(threshold, misses + 1))
    health = CheckHealth(HealthState.PASSING, since=100.0, misses=misses, failures=misses)
    now = 5000.0 + misses * interval + moment * (interval + spec.timeout)
    assert is_proven(spec, health, 5000.0, now)


@given(st.integers(0, 9), st.floats(0.0, 1e6))
def test_what_is_proven_is_gone_in_time_where_the_target_died_after_its_success(misses: int, freeze: float) -> None:
    """The first probe after a freeze begins at once, the others follow in their intervals; so it is later than without
    a freeze by the timeout of the one that may have been under way."""
    spec = CheckSpec(KEY, SPEC.probe, 10.0, 2.0, failure_threshold=10)
    health = CheckHealth(HealthState.PASSING, since=100.0, misses=misses, failures=misses)
    now = 5000.0 + misses * spec.interval + freeze
    if is_proven(spec, health, 5000.0, now):
        due = max(now, 5000.0 + (misses + 1) * spec.interval)
        gone = due + (spec.failure_threshold - misses - 1) * spec.interval + spec.timeout
        bound = spec.failure_threshold * spec.interval + spec.timeout + 1.0
        assert gone - 5000.0 <= bound + spec.timeout or math.isclose(gone - 5000.0, bound + spec.timeout)
