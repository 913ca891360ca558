"""All checks failing at once is evidence about this node; a few failing checks are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.isolation import MIN_CHECKS, everything_failed

NOW = 1_000.0
WINDOW = 30.0
WELL, LATELY, LONG = 0.0, 990.0, 900.0

TIMES = st.sampled_from([WELL, LATELY, LONG, 970.5, 969.5, NOW])


@pytest.mark.parametrize(
    ("failing_since", "verdict"),
    [
        ([], False),
        ([LATELY] * (MIN_CHECKS - 1), False),
        ([LATELY] * MIN_CHECKS, True),
        ([LATELY] * 100 + [WELL], False),
        ([LATELY] * MIN_CHECKS + [LONG] * 10, True),
        ([LATELY] * (MIN_CHECKS - 1) + [LONG] * 10, False),
        ([LONG] * 10, False),
        ([WELL] * 10, False),
        ([NOW - WINDOW] * MIN_CHECKS, False),
        ([NOW] * MIN_CHECKS, True),
    ],
)
def test_all_checks_that_were_well_must_fail_and_there_must_be_several(
    failing_since: list[float], verdict: bool
) -> None:
    assert everything_failed(iter(failing_since), NOW, WINDOW) is verdict


@given(st.lists(TIMES))
def test_one_check_that_is_well_clears_the_node(failing_since: list[float]) -> None:
    assert not everything_failed([*failing_since, WELL], NOW, WINDOW)


@given(st.lists(TIMES), st.integers(0, 50))
def test_checks_that_have_failed_for_long_are_ignored(failing_since: list[float], more: int) -> None:
    before = everything_failed(failing_since, NOW, WINDOW)
    assert everything_failed([LONG] * more + failing_since, NOW, WINDOW) is before


@given(st.lists(TIMES))
def test_the_order_does_not_matter(failing_since: list[float]) -> None:
    assert everything_failed(failing_since, NOW, WINDOW) is everything_failed(sorted(failing_since), NOW, WINDOW)
