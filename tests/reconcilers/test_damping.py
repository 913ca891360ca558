"""p2's throttle: a bucket of tokens, a quiet time, and tokens that come back in whole steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.damping import Damping, DampingRules
from reconcilers.health import HealthState, Reason
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey

WORDS = {"P": HealthState.PASSING, "C": HealthState.CRITICAL}


def written(capacity: int, updates: str, every: float = 0.0) -> str:
    """What is published for a sequence of statuses, one every `every` seconds: P, C, or u for unknown."""
    damping, out = Damping.fresh(DampingRules(capacity, 15.0, 60.0)), ""
    for number, word in enumerate(updates):
        damping = damping.after(WORDS[word], number * every)
        out += "u" if damping.quiet_for(number * every) else word
    return out


@pytest.mark.parametrize(
    ("capacity", "updates", "every", "expected"),
    [
        (2, "PCPC", 0, "Puuu"),
        (4, "PCPC", 0, "PCPu"),
        (16, "PC" * 7 + "P", 0, "PC" * 7 + "P"),
        (16, "PC" * 8, 0, "PC" * 7 + "Pu"),
        (2, "PPPPPPPP", 0, "PPPPPPPP"),
        (2, "PCPCPCPC", 15, "PCPCPCPC"),
        (2, "PCPCPCPC", 14.9, "PuuuuuPu"),
        (1, "PC", 60, "uu"),
        (0, "PCPCPC", 0, "PCPCPC"),
    ],
)
def test_the_test_vectors_of_p2_and_similar_ones(capacity: int, updates: str, every: float, expected: str) -> None:
    assert written(capacity, updates, every) == expected


def test_the_quiet_time_ends_after_its_length() -> None:
    damping = Damping.fresh(DampingRules(1, 15.0, 60.0)).after(HealthState.PASSING, 100.0)
    assert damping.quiet_for(100.0) == 60.0
    assert damping.quiet_for(159.0) == 1.0
    assert damping.quiet_for(160.0) == 0.0


def test_changes_are_counted_since_the_bucket_was_last_full() -> None:
    damping = Damping.fresh(DampingRules(4, 15.0, 60.0))
    for number, status in enumerate((HealthState.PASSING, HealthState.CRITICAL, HealthState.PASSING)):
        damping = damping.after(status, number)
    assert damping.changes == 3
    assert damping.after(HealthState.CRITICAL, 100.0).changes == 1


@given(st.lists(st.tuples(st.sampled_from(list(HealthState)), st.floats(0, 30)), max_size=60))
def test_tokens_stay_within_the_bucket_and_only_changes_take_tokens(steps: list[tuple[HealthState, float]]) -> None:
    damping, now = Damping.fresh(DampingRules(5, 15.0, 60.0)), 0.0
    for status, pause in steps:
        now += pause
        after = damping.after(status, now)
        assert 0 <= after.tokens <= 5
        assert (after is damping) == (status is damping.status)
        damping = after


def test_with_other_rules_a_pod_has_at_most_their_capacity() -> None:
    damping = Damping.fresh(DampingRules(5, 15.0, 60.0)).after(HealthState.PASSING, 100.0)
    assert damping.under(DampingRules(5, 15.0, 60.0)) is damping
    assert damping.under(DampingRules(2, 15.0, 60.0)).tokens == 2
    assert damping.under(DampingRules(9, 15.0, 60.0)).tokens == 4


def test_other_rules_shorten_a_quiet_time_in_progress_and_never_extend_it() -> None:
    damping = Damping.fresh(DampingRules(1, 15.0, 60.0)).after(HealthState.PASSING, 100.0)
    assert damping.under(DampingRules(1, 15.0, 20.0)).quiet_for(105.0) == 15.0
    assert damping.under(DampingRules(1, 15.0, 20.0)).quiet_for(120.0) == 0.0
    assert damping.under(DampingRules(1, 15.0, 600.0)).quiet_for(105.0) == 55.0
    assert damping.under(DampingRules(0, 15.0, 60.0)).quiet_for(105.0) == 0.0


KEY = PodKey("web1", "isup")
FOUR = DampingRules(4, 15.0, 60.0)


@given(st.lists(st.tuples(st.sampled_from("PC"), st.integers(0, 40)), min_size=1, max_size=20), st.integers(0, 20))
def test_another_controller_continues_a_damping_by_the_record_of_the_last_change(
    updates: list[tuple[str, int]], at: int
) -> None:
    """The other controller has another clock. The pod may be handed over after any update."""
    here, passed = Damping.fresh(FOUR), 0.0
    there: Damping | None = None
    for number, (word, after) in enumerate(updates):
        status, passed = WORDS[word], passed + after
        before = here
        here = here.after(status, passed)
        there = there.after(status, passed + 1000.0) if there else None
        if there:
            assert there.quiet_for(passed + 1000.0) == pytest.approx(here.quiet_for(passed), abs=1e-6)
            assert there.tokens == here.tokens
        if number >= at and there is None and here is not before and not before.quiet_for(passed):
            record = here.of_fleet(HealthRecord(KEY, status))
            record = record.damped(here.changes) if here.quiet_for(passed) else record
            there = Damping.of_record(FOUR, record, 0.0, passed + 1000.0).after(status, passed + 1000.0)


def test_a_record_without_a_damping_or_with_other_rules_is_no_obstacle() -> None:
    plain = HealthRecord(KEY, HealthState.PASSING)
    flapping = HealthRecord(KEY, HealthState.CRITICAL).damped(4)
    for record in (None, plain):
        assert Damping.of_record(FOUR, record, 5.0, 100.0) == Damping.fresh(FOUR)
    off = DampingRules(0)
    assert Damping.of_record(off, flapping, 5.0, 100.0) == Damping.fresh(off)
    continued = Damping.of_record(FOUR, flapping, 5.0, 100.0)
    assert continued == Damping(FOUR, 0, 95.0, 155.0, HealthState.CRITICAL, 4)
    assert Damping.of_record(FOUR, flapping, -5.0, 100.0).quiet_for(100.0) == 60.0, "the other clock is ahead"


def test_only_a_pod_that_changed_more_than_once_needs_something_in_its_record() -> None:
    record = HealthRecord(KEY, HealthState.PASSING)
    once = Damping.fresh(FOUR).after(HealthState.PASSING, 1.0)
    assert once.of_fleet(record).tokens is None
    twice = once.after(HealthState.CRITICAL, 2.0)
    assert (twice.of_fleet(record).tokens, twice.of_fleet(record).changes) == (2, 2)
    assert twice.of_fleet(record).reason is Reason.NONE
