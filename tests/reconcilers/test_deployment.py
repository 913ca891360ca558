"""When a version of a pod is being deployed, and when that is over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.deployment import Deployment, Reality
from reconcilers.health import HealthState

UNREAD, ABSENT, OTHER, SAME = Reality


@pytest.mark.parametrize(
    ("reality", "told", "under_way"),
    [
        (UNREAD, None, True),
        (ABSENT, None, True),
        (OTHER, None, True),
        (SAME, None, False),
        (ABSENT, HealthState.UNKNOWN, True),
        (ABSENT, HealthState.PASSING, False),
        (UNREAD, HealthState.PASSING, False),
        (OTHER, HealthState.PASSING, True),
        (OTHER, HealthState.CRITICAL, False),
        (ABSENT, HealthState.CRITICAL, False),
    ],
)
def test_a_manifest_is_being_deployed_that_does_not_run_and_of_which_nothing_was_told(
    reality: Reality, told: HealthState | None, under_way: bool
) -> None:
    assert (Deployment.begun(reality, told, 100.0) is not None) is under_way


def test_one_that_turns_out_to_run_already_was_none() -> None:
    assert Deployment(100.0, UNREAD).with_reality(SAME) is None
    assert Deployment(100.0, UNREAD).with_reality(OTHER) == Deployment(100.0, OTHER)


@pytest.mark.parametrize("before", [ABSENT, OTHER])
def test_a_version_that_was_launched_has_yet_to_start(before: Reality) -> None:
    launched = Deployment(100.0, before).with_reality(SAME)
    assert launched == Deployment(100.0, SAME)
    assert launched.after_success() is None


@pytest.mark.parametrize("reality", [UNREAD, ABSENT, SAME])
def test_the_first_success_ends_it(reality: Reality) -> None:
    assert Deployment(100.0, reality).after_success() is None


def test_a_success_of_the_version_that_runs_until_then_does_not_end_it() -> None:
    deployment = Deployment(100.0, OTHER)
    assert deployment.after_success() is deployment


@given(st.sampled_from(Reality), st.floats(0, 1e6), st.floats(-1e6, 1e6))
def test_it_excuses_failures_for_the_grace_and_no_longer(reality: Reality, grace: float, later: float) -> None:
    excused = Deployment(1e9, reality).excuses(1e9 + later, grace)
    assert excused is (0 <= (1e9 + later) - 1e9 < grace)
